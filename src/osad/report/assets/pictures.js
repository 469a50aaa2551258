// Pictures of images with heat maps over them, and what is filled when it comes into sight.
"use strict";
{
  // Colours of the heat maps, from nothing to dark red through yellow.
  const HEAT = [[255, 237, 160], [254, 178, 76], [240, 59, 32], [128, 0, 38]];
  const heatColour = (value) => {
    const at = (value / 255) * (HEAT.length - 1);
    const low = Math.min(Math.floor(at), HEAT.length - 2);
    return HEAT[low].map((start, channel) => Math.round(start + (at - low) * (HEAT[low + 1][channel] - start)));
  };

  osad.heatMap = (heat) => {
    const canvas = osad.make("canvas", { width: heat.width, height: heat.height, class: "heat", "aria-hidden": "true" });
    const bytes = Uint8Array.from(atob(heat.bytes), (letter) => letter.charCodeAt(0));
    const image = new ImageData(heat.width, heat.height);
    bytes.forEach((value, number) => {
      image.data.set([...heatColour(value), Math.round(0.75 * value)], 4 * number);
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  };

  const picture = (one) => {
    const name = one.path.split("/").at(-1);
    const scores = Object.entries(one.scores).map(([seed, score]) => `${seed}: ${score}`).join(", ");
    return osad.make(
      "li",
      {},
      osad.make(
        "span",
        { class: "picture" },
        osad.make("img", { src: one.picture, alt: `${one.class} image ${name}`, loading: "lazy" }),
        one.heat ? osad.heatMap(one.heat) : "",
      ),
      osad.make("span", { class: "name" }, `${one.class}: ${name}`),
      osad.make("span", { class: "scores" }, `outranks ${(100 * one.standing).toFixed(1)} %; scores ${scores}`),
    );
  };

  osad.worstPictures = (value) => {
    const list = (title, of) =>
      osad.make("div", {}, osad.make("h4", {}, title), of.length ? osad.make("ul", { class: "pictures" }, of.map(picture)) : osad.make("p", {}, "None."));
    const mapped = value.alarms.concat(value.missed).some((one) => one.heat);
    const box = osad.make("input", {
      type: "checkbox", checked: "",
      change: (event) => holder.classList.toggle("plain", !event.currentTarget.checked),
    });
    const holder = osad.make(
      "div",
      {},
      mapped
        ? osad.make("p", {}, osad.make("label", {}, box, " heat maps"), ": scores of positions, of the first seed that tested the image; dark red is what 1 of 1,000 positions of normal images exceeds.")
        : osad.make("p", {}, "The method scores whole images: there are no heat maps."),
      list("False alarms: normal images that outrank most others", value.alarms),
      list("Missed anomalies: anomalous images that outrank fewest others", value.missed),
    );
    return holder;
  };

  // Fill an element when it comes into sight.
  const lazily = (element, fill) => {
    const watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      fill().then(
        (child) => element.replaceChildren(child),
        (error) => element.replaceChildren(osad.make("p", { class: "warning" }, error.message)),
      );
    }, { rootMargin: "300px", scrollMargin: "300px" }); // A little before.
    watcher.observe(element);
    return element;
  };
  osad.later = (fill) => lazily(osad.make("div", { class: "later" }, "Loading."), fill);
}
