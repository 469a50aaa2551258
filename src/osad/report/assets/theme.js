// The colours that were chosen last, before anything is drawn.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("osad-theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser may refuse storage to files; then the system decides.
  }
})();
