// One number in detail, in a dialog that the address names: #elpv/all/general-m10/dpdl.
"use strict";
{
  const dialog = document.getElementById("view");
  const METRICS = [
    ["auroc", "AUROC"],
    ["average_precision", "average precision"],
    ["pixel_auroc", "pixel AUROC"],
    ["aupro", "AUPRO"],
    ["n_train_normal", "normal, training"],
    ["n_train_anomaly", "anomalous, training"],
    ["n_test_normal", "normal, test"],
    ["n_test_anomaly", "anomalous, test"],
  ];
  const ROLES = { n: "train_normal", a: "train_anomaly", t: "test", "-": "unused" };
  let opener = "";

  const table = (label, head, lines, kind = "numbers") =>
    osad.make(
      "div",
      { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
      osad.make(
        "table",
        { class: kind },
        osad.make("thead", {}, osad.make("tr", {}, head.map((text) => osad.make("th", { scope: "col" }, text)))),
        osad.make("tbody", {}, lines.map(([first, ...rest]) =>
          osad.make("tr", {}, osad.make("th", { scope: "row" }, first), rest.map((one) => osad.make("td", {}, one))))),
      ),
    );

  const section = (title, ...children) =>
    osad.make("section", {}, osad.make("h3", {}, title), ...children);

  const show = (title, id, ...children) => {
    const close = osad.make("button", { type: "button", class: "close", click: () => dialog.close() }, "Close");
    const heading = osad.make("h2", { id: "view-title", tabindex: "-1" }, title);
    dialog.replaceChildren(
      osad.make("div", { class: "bar" }, heading, close),
      osad.make("p", { class: "id" }, osad.make("code", {}, id), " ", osad.copyButton(id, "the id")),
      ...children.filter(Boolean),
    );
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    heading.focus();
  };

  const signed = (text) => `${text.startsWith("-") ? "\u2212" : "+"}${Math.abs(Number(text)).toFixed(3)}`;

  // The 95 % interval in two columns of summary.csv.
  const interval = (row, name) => {
    const ends = [`${name}_low`, `${name}_high`].map((end) => osad.field(row, end));
    return ends.includes("") ? "none" : `[${ends.map(signed).join(", ")}]`;
  };

  const summary = (row) => {
    const lines = [["Ours", row.ours, `mean ± standard deviation over ${osad.field(row, "n_seeds")} seeds`]];
    const [best, method] = [osad.field(row, "best"), osad.field(row, "method")];
    if (best && best !== method && osad.field(row, "difference_to_best")) {
      const where = `95 % over seeds ${interval(row, "seeds")}, over test images ${interval(row, "images")}`;
      const mark = row.rank === 1 ? "; not distinguishable" : "";
      lines.push(["To the best", signed(osad.field(row, "difference_to_best")), `${osad.data.methods[best].title}: ${where}${mark}`]);
    }
    if (row.rank) lines.push(["Rank", `${row.rank} of ${row.of}`, "controls left out; methods that the intervals do not tell apart share a rank"]);
    if (row.published) {
      lines.push(["Published", row.published, osad.field(row, "published_source")]);
      lines.push(["Ours - published", row.difference.replace("-", "\u2212"), `95 % over seeds ${interval(row, "to_published")}; see what differs in the protocol: notes of the page`]);
      const ends = ["published_lowest", "published_highest"].map((name) => Number(osad.field(row, name)).toFixed(3));
      // Nothing is added where the one paper above is all.
      const several = row.printed.length > 1 || row.printed[0].includes(" / ");
      if (several) lines.push(["All published", [...new Set(ends)].join("\u2013"), osad.make("ul", {}, row.printed.map((text) => osad.make("li", {}, text)))]);
    }
    return table("Summary", ["", "AUROC", ""], lines, "facts");
  };

  const perSeed = (cell, row) => {
    const runs = new Map(cell.runs.map((run) => [run.seed, run]));
    const used = METRICS.filter(([name]) => cell.runs.some((run) => run.metrics[name] !== ""));
    const lines = osad.data.seeds.map((seed) => {
      const run = runs.get(seed);
      const problem = osad.data.problems[`${osad.field(row, "cell")}/s${seed}`];
      const state = problem ? problem.join(": ") : "ok";
      return [`s${seed}`, ...used.map(([name]) => (run && !problem ? run.metrics[name] || "n/a" : "n/a")), state];
    });
    return table("Runs", ["seed", ...used.map(([, title]) => title), "status"], lines, "numbers runs");
  };

  const heads = (cell) => {
    const names = Object.keys(cell.runs[0]?.heads ?? {});
    if (!names.length) return null;
    const lines = cell.runs.map((run) => [`s${run.seed}`, ...names.map((name) => run.heads[name] || "n/a")]);
    return section("Parts of the score", osad.make("p", {}, "AUROC of each part alone."), table("Parts of the score", ["seed", ...names], lines));
  };

  // Colours of the heat maps, from nothing to dark red through yellow.
  const HEAT = [[255, 237, 160], [254, 178, 76], [240, 59, 32], [128, 0, 38]];
  const heatColour = (value) => {
    const at = (value / 255) * (HEAT.length - 1);
    const low = Math.min(Math.floor(at), HEAT.length - 2);
    return HEAT[low].map((start, channel) => Math.round(start + (at - low) * (HEAT[low + 1][channel] - start)));
  };

  const heatMap = (heat) => {
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
        one.heat ? heatMap(one.heat) : "",
      ),
      osad.make("span", { class: "name" }, `${one.class}: ${name}`),
      osad.make("span", { class: "scores" }, `outranks ${(100 * one.standing).toFixed(1)} %; scores ${scores}`),
    );
  };

  const pictures = (value) => {
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
    });
    watcher.observe(element);
    return element;
  };
  const later = (fill) => lazily(osad.make("div", { class: "later" }, "Loading."), fill);

  const average = (row) => {
    const parts = osad.data.rows.filter((one) => {
      if (osad.isAverage(one)) return false;
      const facets = osad.field(row, "known_class") === osad.data.mean ? "known_class" : "category";
      return ["dataset", "category", "setting", "shots", "known_class", "method"]
        .filter((name) => name !== facets)
        .every((name) => osad.field(one, name) === osad.field(row, name));
    });
    const lines = parts.map((one) => [
      osad.make("a", { href: `#${osad.field(one, "cell")}` }, osad.field(one, "cell")), one.ours, one.published || "-",
    ]);
    return section("The mean of", table("Parts of the mean", ["cell", "ours", "published"], lines));
  };

  const openCell = async (row) => {
    const id = osad.field(row, "cell");
    const title = `${osad.title(row)}, ${row.label}, ${osad.shots(osad.field(row, "shots"))}`;
    if (osad.isAverage(row)) {
      show(title, id, summary(row), average(row));
      return;
    }
    const empty = { cell: id, runs: [], histogram: null, fitted: "", upstream: "" };
    const here = !osad.data.absent.includes(id);
    const cell = here ? await osad.load(`cells/${id}.js`) : empty;
    const runs = section("Runs", perSeed(cell, row));
    if (!cell.runs.length) {
      show(title, id, summary(row), runs, section("Made of", osad.make("p", {}, "No run of this cell is done, so there is nothing to show.")));
      return;
    }
    show(
      title,
      id,
      summary(row),
      runs,
      section("Curves and scores", later(() => osad.charts(cell))),
      section("The most wrong images", later(async () => pictures(await osad.load(`images/${id}.js`)))),
      heads(cell),
      section("Made of", osad.audit(cell, row)),
    );
  };

  // All images of a category with their digests, or those of a split with their roles.
  const openImages = async ([dataset, category, protocol, seed]) => {
    const value = await osad.load(`manifests/${dataset}/${category}.js`);
    const path = protocol ? `${osad.data.results}/splits/${dataset}/${category}/${protocol}/${seed}.csv` : value.manifest[0];
    const [sha256, roles] = protocol ? value.splits[path] : [value.manifest[1], null];
    const role = osad.make("select", { change: () => fill() }, ["all", ...Object.values(ROLES)].map((name) => osad.make("option", {}, name)));
    const holder = osad.make("div", {});
    const fill = () => {
      const lines = value.images
        .map(([name, digest, kind], number) => [name, kind, roles ? ROLES[roles[number]] : "", osad.make("code", { class: "digest" }, digest)])
        .filter((line) => !roles || role.value === "all" || line[2] === role.value)
        .map((line) => (roles ? line : [line[0], line[1], line[3]]));
      const head = roles ? ["image", "class", "role", "sha256"] : ["image", "class", "sha256"];
      holder.replaceChildren(osad.make("p", { role: "status" }, `${lines.length} images`), table("Images", head, lines, "images"));
    };
    fill();
    const back = osad.make("button", { type: "button", click: () => history.back() }, "Back");
    show(
      protocol ? `Images of the split ${protocol}/${seed}` : `Images of ${dataset}/${category}`,
      path,
      osad.make("p", {}, "sha256 ", osad.make("code", { class: "digest" }, sha256)),
      osad.make("p", {}, back, " ", roles ? osad.make("label", {}, "Role ", role) : ""),
      holder,
    );
  };

  const route = async () => {
    const address = decodeURIComponent(location.hash.slice(1));
    if (address.startsWith("/images/")) {
      await openImages(address.split("/").slice(2));
      return;
    }
    const row = osad.data.rows.find((one) => osad.field(one, "cell") === address);
    if (row) {
      opener = opener || address;
      await openCell(row);
    } else if (address.split("/").length === 4) {
      show("No such table cell", address, osad.make("p", {}, "This page has none of that id."));
    } else if (dialog.open) dialog.close();
  };

  const report = (error) =>
    show("Not available", decodeURIComponent(location.hash.slice(1)), osad.make("p", { class: "warning" }, error.message));

  osad.settle.view = () => {
    dialog.addEventListener("close", () => {
      const link = [...document.querySelectorAll("a.ours")].find((one) => one.getAttribute("href") === `#${opener}`);
      opener = "";
      if (location.hash) history.pushState(null, "", location.pathname + location.search);
      link?.focus();
    });
    // A click beside the dialog's content is on the dialog itself.
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    addEventListener("hashchange", () => route().catch(report));
    addEventListener("popstate", () => {
      if (!location.hash && dialog.open) dialog.close();
    });
    route().catch(report);
  };
}
