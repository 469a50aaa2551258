// Curves and histograms of one table cell, drawn by Observable Plot.
"use strict";
{
  // Okabe and Ito's palette, which people with any colour vision can tell apart.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const colour = (number) => COLOURS[number % COLOURS.length];
  const dash = (number) => ["", "6 2", "2 2", "8 2 2 2", "1 3", "10 3"][number % 6];

  const library = async () => {
    await osad.load("assets/d3.min.js");
    await osad.load("assets/plot.min.js");
    return globalThis.Plot;
  };

  const drawing = (label, element, ...more) => {
    for (const svg of element.matches("svg") ? [element] : element.querySelectorAll("svg")) {
      svg.setAttribute("aria-hidden", "true");
    }
    const picture = osad.make("div", { role: "img", "aria-label": label }, element);
    return osad.make("figure", { class: "chart" }, osad.make("figcaption", {}, label.split(":")[0]), picture, ...more);
  };

  const size = { width: 330, height: 270, marginLeft: 44, marginBottom: 38 };
  const rate = (label) => ({ domain: [0, 1], label, ticks: 5, tickFormat: ".1f" });

  const curves = (Plot, runs, title, [x, y], [xLabel, yLabel], diagonal) => {
    const drawn = runs.filter((run) => run.curve);
    if (!drawn.length) return osad.make("p", {}, `${title}: not defined, the test set has one class.`);
    const marks = drawn.map((run) => {
      const points = run.curve[x].map((value, number) => [value / 1000, run.curve[y][number] / 1000]);
      const number = runs.indexOf(run);
      return Plot.line(points, { stroke: colour(number), strokeDasharray: dash(number), strokeWidth: 1.6 });
    });
    const chance = diagonal ? [Plot.line([[0, 0], [1, 1]], { stroke: "currentColor", strokeOpacity: 0.4 })] : [];
    const plot = Plot.plot({
      ...size,
      grid: true,
      x: rate(xLabel),
      y: rate(yLabel),
      marks: [...chance, ...marks],
    });
    return drawing(`${title}: ${drawn.length} seed${drawn.length === 1 ? "" : "s"}`, plot);
  };

  const bars = (Plot, histogram, number) => {
    const { low, high } = histogram;
    const chosen = (counts) =>
      number === null ? counts[0].map((_, bin) => counts.reduce((sum, of) => sum + of[bin], 0)) : counts[number];
    const count = histogram.normal[0].length;
    const width = (high - low) / count;
    const series = ["normal", "anomalous"].map((kind) => {
      const counts = chosen(histogram[kind]);
      const total = counts.reduce((sum, one) => sum + one, 0) || 1;
      return counts.map((one, bin) => ({
        kind,
        x1: low + bin * width,
        x2: low + (bin + 1) * width,
        share: one / total,
      }));
    });
    const style = { normal: [COLOURS[0], 0.55], anomalous: [COLOURS[1], 0.55] };
    return Plot.plot({
      ...size,
      width: 440,
      x: { label: "score (the outermost bars hold all beyond)", domain: [low, high] },
      y: { label: "share of the class", grid: true },
      marks: [
        ...series.map((of) =>
          Plot.rectY(of, { x1: "x1", x2: "x2", y: "share", fill: style[of[0].kind][0], fillOpacity: style[of[0].kind][1] }),
        ),
        Plot.ruleY([0]),
      ],
    });
  };

  const key = (items) =>
    osad.make(
      "ul",
      { class: "key" },
      items.map(([name, fill]) =>
        osad.make("li", {}, osad.make("span", { class: "swatch", style: `background:${fill}` }), name),
      ),
    );

  // The charts of a table cell, as elements.
  osad.charts = async (cell) => {
    const Plot = await library();
    const { runs, histogram } = cell;
    const seeds = key(runs.map((run, number) => [`s${run.seed}`, colour(number)]));
    const found = [
      curves(Plot, runs, "ROC", ["fpr", "tpr"], ["false positive rate", "true positive rate"], true),
      curves(Plot, runs, "Precision and recall", ["tpr", "precision"], ["recall", "precision"], false),
    ];
    if (!histogram) return osad.make("div", { class: "charts" }, found, seeds);
    const holder = osad.make("div", { role: "img", "aria-label": "Histogram of the scores of normal and anomalous test images" });
    const draw = (value) => {
      const plot = bars(Plot, histogram, value === "" ? null : Number(value));
      plot.setAttribute("aria-hidden", "true");
      holder.replaceChildren(plot);
    };
    const select = osad.make(
      "select",
      { change: (event) => draw(event.currentTarget.value) },
      osad.make("option", { value: "" }, "all seeds"),
      runs.map((run, number) => osad.make("option", { value: String(number) }, `s${run.seed}`)),
    );
    draw("");
    const figure = osad.make(
      "figure",
      { class: "chart" },
      osad.make("figcaption", {}, "Scores ", osad.make("label", {}, "of ", select)),
      holder,
      key([["normal", COLOURS[0]], ["anomalous", COLOURS[1]]]),
    );
    return osad.make("div", { class: "charts" }, found, figure, osad.make("div", { class: "wide" }, "Seeds: ", seeds));
  };

  // Standings of all test images by two methods.
  osad.scatter = async (titles, [x, y]) => {
    const Plot = await library();
    const read = ({ standings }) => new Uint16Array(Uint8Array.from(atob(standings), (letter) => letter.charCodeAt(0)).buffer);
    const [across, up] = [read(x), read(y)];
    const points = [...x.labels].map((label, number) => [across[number] / 1000, up[number] / 1000, Number(label)]);
    const axis = (title) => ({ domain: [0, 1], label: `share outranked, ${title}`, ticks: 5, tickFormat: ".1f" });
    const plot = Plot.plot({
      ...size,
      width: 440,
      height: 420,
      grid: true,
      x: axis(titles[0]),
      y: axis(titles[1]),
      marks: [
        Plot.line([[0, 0], [1, 1]], { stroke: "currentColor", strokeOpacity: 0.4 }),
        Plot.dot(points, { x: "0", y: "1", r: 2.2, fill: (one) => COLOURS[one[2]], fillOpacity: 0.55, symbol: (one) => (one[2] ? "triangle" : "circle") }),
      ],
      symbol: { legend: false },
    });
    const label = `Standings: share of the test images that each image outranks, by ${titles.join(" and by ")}`;
    return osad.make("div", {}, drawing(label, plot), key([["normal", COLOURS[0]], ["anomalous", COLOURS[1]]]));
  };
}
