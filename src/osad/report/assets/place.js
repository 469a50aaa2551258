// All methods of a place, #/place/elpv/all/general-m10, and two of them, #/pair/elpv/all/general-m10/dpdl/evidence:
// intervals and differences, times, and the same images side by side.
"use strict";
{
  const competing = (place) =>
    osad.data.rows
      .filter((row) => osad.placeId(row) === place && !osad.isControl(row))
      .sort((a, b) => (osad.number(b) ?? -1) - (osad.number(a) ?? -1));
  const placeTitle = (row) => `${row.label}, ${osad.shots(osad.field(row, "shots"))}`;
  const method = (row) => osad.field(row, "method");
  const cellLink = (row) => osad.make("a", { href: `#${osad.field(row, "cell")}` }, osad.title(row));
  const pathOf = (place, a, b) => `#/pair/${place}/${a}/${b}`;

  // --- intervals -----------------------------------------------------------------------------

  const ends = (row, name) => [`${name}_low`, `${name}_high`].map((end) => osad.field(row, end));
  const known = (row) => ["seeds", "images"].flatMap((name) => ends(row, name)).filter((text) => text !== "").map(Number);

  // Both intervals of a difference, drawn between the least and the largest end of all methods.
  const drawing = (row, [low, high]) => {
    const at = (value) => `${((100 * (value - low)) / (high - low || 1)).toFixed(2)}%`;
    const bars = ["seeds", "images"].map((name) => {
      const [from, to] = ends(row, name);
      const style = `left:${at(Number(from))};right:calc(100% - ${at(Number(to))})`;
      return from === "" ? null : osad.make("span", { class: `bar-${name}`, style });
    });
    const mark = osad.make("span", { class: "bar-point", style: `left:${at(Number(osad.field(row, "difference_to_best")))}` });
    return osad.make("span", { class: "range", "aria-hidden": "true" }, osad.make("span", { class: "bar-zero", style: `left:${at(0)}` }), bars, mark);
  };

  const seconds = (row) =>
    osad.data.bench.flatMap(({ rows }) => {
      const found = rows.find((one) => one.id === method(row));
      return found ? [found.cell_s, found.peak_mb] : ["-", "-"];
    });

  const intervals = (rows) => {
    const all = [0, ...rows.flatMap(known)];
    const range = [Math.min(...all), Math.max(...all)];
    const lines = rows.map((row) => {
      const different = osad.field(row, "difference_to_best") !== "" && osad.field(row, "best") !== method(row);
      const columns = different
        ? [osad.exact(row, "difference_to_best"), osad.interval(row, "seeds"), osad.interval(row, "images"), drawing(row, range)]
        : [osad.field(row, "best") === method(row) ? "best" : "-", "", "", ""];
      const published = row.difference ? [osad.exact(row, "difference_to_published"), ` ${osad.interval(row, "to_published")}`] : ["-"];
      const rank = row.rank ? String(row.rank) : "-";
      return [cellLink(row), rank, osad.make("span", { title: osad.field(row, "auroc_mean") }, row.ours), ...columns, osad.make("span", {}, published), ...seconds(row)];
    });
    const machine = (number) => (osad.data.bench.length > 1 ? ` (${number + 1})` : "");
    const machines = osad.data.bench.flatMap((_, number) => [`run, s${machine(number)}`, `memory, MB${machine(number)}`]);
    const head = ["method", "rank", "AUROC", "to the best", "95 % over seeds", "95 % over images", "both drawn", "ours - published", ...machines];
    const notes = [
      osad.make("p", { class: "legend" }, "Differences are paired; behind ours - published stands its interval over seeds. Drawn: the wide bar is the interval over seeds, the thin one that over test images, the line is no difference. Methods of one rank are not told apart."),
      ...osad.data.bench.map((one, number) => osad.make("p", { class: "legend" }, `Time and peak memory of one run${machine(number)} were measured on ${one.machine}.`)),
    ];
    return osad.section("Intervals and differences", osad.table("Intervals and differences", head, lines, "numbers ranges"), ...notes);
  };

  // --- choosing two --------------------------------------------------------------------------

  const chooser = (place, rows, first, second) => {
    const names = rows.map(method);
    const select = (label, value) => {
      const options = rows.map((row) => osad.make("option", { value: method(row), selected: method(row) === value ? "" : null }, osad.title(row)));
      return osad.make("label", {}, `${label} `, osad.make("select", { change: () => aim() }, options));
    };
    const [a, b] = [select("Compare", first), select("with", second ?? names.find((name) => name !== first))];
    const link = osad.make("a", { class: "button" }, "on the same images");
    const aim = () => link.setAttribute("href", pathOf(place, ...[a, b].map((one) => one.querySelector("select").value)));
    aim();
    return osad.make("p", { class: "choose-two" }, a, b, link);
  };

  // What the view of one number offers.
  osad.comparing = (row) => {
    const rows = competing(osad.placeId(row));
    if (osad.isControl(row) || rows.length < 2) return null;
    const all = osad.make("p", {}, osad.make("a", { href: `#/place/${osad.placeId(row)}` }, "All methods here: intervals, times, images"));
    return osad.make("div", {}, all, osad.isAverage(row) ? null : chooser(osad.placeId(row), rows, method(row)));
  };

  // --- the same images -----------------------------------------------------------------------

  const load = async (place, rows) => {
    const [dataset, category, protocol] = place.split("/");
    const shown = await osad.load(`gallery/${dataset}/${category}.js`);
    const there = rows.filter((row) => !osad.data.absent.includes(osad.field(row, "cell")));
    const found = await Promise.all(there.map((row) => osad.load(`images/${osad.field(row, "cell")}.js`)));
    return { paths: shown.places[protocol], pictures: shown.pictures, found: new Map(there.map((row, number) => [row, found[number]])) };
  };

  const entry = (one, picture) => {
    if (!one) return "not tested";
    const scores = Object.entries(one.scores).map(([seed, score]) => `${seed}: ${score}`).join(", ");
    const image = one.heat
      ? osad.make("span", { class: "picture" }, osad.make("img", { src: picture, alt: "", loading: "lazy" }), osad.heatMap(one.heat))
      : "";
    return osad.make("span", { class: "seen" }, image, osad.make("span", { class: "name", title: `scores ${scores}` }, `outranks ${(100 * one.standing).toFixed(1)} %`),
      osad.make("span", { class: "scores" }, Object.values(one.scores).join(", ")));
  };

  const images = ({ paths, pictures, found }) => {
    const rows = [...found.keys()];
    if (!paths.length) return osad.make("p", {}, "No image is tested by every seed.");
    const common = rows.map((row) => new Map(found.get(row).common.map((one) => [one.path, one])));
    const lines = paths.map((path) => {
      const known = common.map((of) => of.get(path)).find(Boolean);
      const name = `${known?.class ?? ""} image ${path.split("/").at(-1)}`;
      const picture = osad.make("span", { class: "picture" }, osad.make("img", { src: pictures[path], alt: "" }));
      return [osad.make("span", { class: "seen" }, picture, osad.make("span", { class: "name" }, name)), ...common.map((of) => entry(of.get(path), pictures[path]))];
    });
    const box = osad.make("input", { type: "checkbox", checked: "", change: (event) => holder.classList.toggle("plain", !event.currentTarget.checked) });
    const holder = osad.make("div", {},
      osad.make("p", {}, osad.make("label", {}, box, " heat maps"), ": scores of positions, of the first seed that tested the image; dark red is what 1 of 1,000 positions of normal images exceeds. Colours are fitted to each method."),
      osad.table("The same images", ["image", ...rows.map(osad.title)], lines, "gallery"));
    return holder;
  };

  const gallery = (place, rows) =>
    osad.section("The same images",
      osad.make("p", {}, "Chosen by their digests, not by scores, of those that every seed tests. Outranks: the share of the test images that score lower, mean over seeds; below it the score of each seed."),
      osad.later(async () => images(await load(place, rows))));

  // --- views ---------------------------------------------------------------------------------

  const nothing = (id) => osad.show("No such place", id, osad.make("p", {}, "This page has no methods to compare under that address."));

  osad.openPlace = (parts) => {
    const place = parts.join("/");
    const rows = competing(place);
    if (!rows.length) return nothing(place);
    const average = osad.isAverage(rows[0]);
    return osad.show(`All methods: ${placeTitle(rows[0])}`, place, intervals(rows),
      average || rows.length < 2 ? null : chooser(place, rows, method(rows[0])), average ? null : gallery(place, rows));
  };

  // Where two methods put each image: the share of the test images that it outranks.
  const scatter = (a, b) => async () => {
    const found = await Promise.all([a, b].map((row) => osad.load(`images/${osad.field(row, "cell")}.js`)));
    if (found[0].all.images !== found[1].all.images) {
      return osad.make("p", {}, "Runs of one of them are missing, so they did not test the same images.");
    }
    return osad.scatter([a, b].map(osad.title), found.map((one) => one.all));
  };

  const bySeed = async (a, b) => {
    const cells = await Promise.all([a, b].map((row) => osad.load(`cells/${osad.field(row, "cell")}.js`)));
    const rates = cells.map((cell) => new Map(cell.runs.map((run) => [run.seed, run.metrics.auroc])));
    const lines = osad.data.seeds.map((seed) => {
      const [x, y] = rates.map((of) => of.get(seed) || "");
      const difference = x && y ? String(Number(x) - Number(y)) : "";
      return [`s${seed}`, osad.short(x || "n/a"), osad.short(y || "n/a"), difference ? osad.make("span", { title: difference }, osad.signed(difference)) : "n/a"];
    });
    return osad.table("AUROC by seed", ["seed", osad.title(a), osad.title(b), "difference"], [["mean", a.ours, b.ours, mean(a, b)], ...lines], "numbers");
  };
  const mean = (a, b) => {
    const [x, y] = [osad.number(a), osad.number(b)];
    return x === null || y === null ? "n/a" : osad.make("span", { title: String(x - y) }, osad.signed(String(x - y)));
  };

  osad.openPair = async (parts) => {
    const [place, names] = [parts.slice(0, 3).join("/"), parts.slice(3)];
    const rows = competing(place);
    const [a, b] = names.map((name) => rows.find((row) => method(row) === name));
    if (!a || !b || osad.isAverage(a)) return nothing(parts.join("/"));
    const absent = [a, b].filter((row) => osad.data.absent.includes(osad.field(row, "cell")));
    if (absent.length) {
      return osad.show(`${osad.title(a)} and ${osad.title(b)}`, parts.join("/"), osad.make("p", {}, `No run of ${osad.title(absent[0])} is done, so there is nothing to compare.`));
    }
    const best = [a, b].find((row) => osad.field(row, "best") === method(row));
    const other = best === a ? b : a;
    const interval = best
      ? osad.make("p", {}, `${osad.title(other)} - ${osad.title(best)}: 95 % over seeds ${osad.interval(other, "seeds")}, over test images ${osad.interval(other, "images")}.`)
      : osad.make("p", {}, "Intervals are made of the difference to the best, which is neither: ", osad.make("a", { href: `#/place/${place}` }, "all methods here"), ".");
    return osad.show(`${osad.title(a)} and ${osad.title(b)}: ${placeTitle(a)}`, parts.join("/"),
      osad.make("p", {}, "Each alone: ", cellLink(a), ", ", cellLink(b)),
      osad.section("AUROC", await bySeed(a, b), interval), chooser(place, rows, method(a), method(b)),
      osad.section("All test images", osad.later(scatter(a, b))), gallery(place, [a, b]));
  };
}
