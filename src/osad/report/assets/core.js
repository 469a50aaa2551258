// What all parts share: the data, elements, loading of further scripts, the theme.
"use strict";
const osad = {
  data: null,
  loaded: new Map(), // value of each script by its path
  waiting: new Map(), // who waits for which script
};

// Make an element. Attributes that are functions are listeners; null ones are left out.
osad.make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== ""));
  return element;
};

// Columns of summary.csv by name.
osad.field = (row, name) => row.fields[osad.data.columns.indexOf(name)];
osad.place = (row) =>
  ["dataset", "category", "setting", "shots", "known_class"].map((n) => osad.field(row, n)).join("/");
osad.placeId = (row) => osad.field(row, "cell").split("/").slice(0, 3).join("/");
// A rate with three places; all digits when the pointer rests on it.
osad.short = (text) => (/\.\d{4}/.test(text) ? osad.make("span", { title: text }, Number(text).toFixed(3)) : text);
osad.number = (row) => {
  const text = osad.field(row, "auroc_mean");
  return text === "" ? null : Number(text);
};
osad.isAverage = (row) =>
  [osad.field(row, "category"), osad.field(row, "known_class")].includes(osad.data.mean);
osad.isControl = (row) => osad.data.methods[osad.field(row, "method")].control;
osad.title = (row) => osad.data.methods[osad.field(row, "method")].title;
osad.shots = (shots) =>
  shots === "0" ? "M = 0" : `M = ${shots} labelled anomal${shots === "1" ? "y" : "ies"}`;

// Load a script with data once; a promise of its value.
osad.load = (path) => {
  if (osad.loaded.has(path)) return Promise.resolve(osad.loaded.get(path));
  return new Promise((resolve, reject) => {
    const others = osad.waiting.get(path);
    if (others) {
      others.push(resolve);
      return;
    }
    osad.waiting.set(path, [resolve]);
    const script = document.createElement("script");
    script.src = path;
    script.onload = () => {
      if (!osad.loaded.has(path)) osad.loaded.set(path, true);
      for (const tell of osad.waiting.get(path)) tell(osad.loaded.get(path));
      osad.waiting.delete(path);
    };
    script.onerror = () => {
      osad.waiting.delete(path);
      reject(new Error(`${path} is missing`));
    };
    document.head.append(script);
  });
};

// The scripts with data call these.
osad.cell = (value) => osad.loaded.set(`cells/${value.cell}.js`, value);
osad.pictures = (value) => osad.loaded.set(`images/${value.cell}.js`, value);
osad.images = (value) => osad.loaded.set(`manifests/${value.category}.js`, value);
osad.gallery = (value) => osad.loaded.set(`gallery/${value.category}.js`, value);
osad.page = (value) => {
  osad.data = value;
  for (const name of Object.keys(osad.settle)) osad.settle[name]();
};
osad.settle = {}; // what each part does once the data are there

osad.copyButton = (text, what) =>
  osad.make(
    "button",
    {
      type: "button",
      class: "copy",
      "aria-label": `Copy ${what}`,
      click: async (event) => {
        const button = event.currentTarget;
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "copied";
        } catch {
          button.textContent = "select it by hand";
        }
      },
    },
    "copy",
  );

osad.settle.theme = () => {
  const button = document.getElementById("theme");
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const show = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    try {
      localStorage.setItem("osad-theme", document.documentElement.dataset.theme);
    } catch {
      // See theme.js.
    }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
};
