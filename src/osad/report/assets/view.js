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

  const table = osad.table = (label, head, lines, kind = "numbers") =>
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

  const section = osad.section = (title, ...children) =>
    osad.make("section", {}, osad.make("h3", {}, title), ...children);

  const show = osad.show = (title, id, ...children) => {
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

  const signed = osad.signed = (text) => `${text.startsWith("-") ? "\u2212" : "+"}${Math.abs(Number(text)).toFixed(3)}`;

  // The 95 % interval in two columns of summary.csv.
  const interval = osad.interval = (row, name) => {
    const ends = [`${name}_low`, `${name}_high`].map((end) => osad.field(row, end));
    return ends.includes("") ? "none" : `[${ends.map(signed).join(", ")}]`;
  };

  // A difference with three places, and with all digits when the pointer rests on it.
  const exact = osad.exact = (row, name) => osad.make("span", { title: osad.field(row, name) }, signed(osad.field(row, name)));

  const summary = (row) => {
    const digits = ["auroc_mean", "auroc_std"].map((name) => osad.field(row, name)).filter(Boolean).join(" \u00b1 ");
    const lines = [["Ours", osad.make("span", { title: digits }, row.ours), `mean ± standard deviation over ${osad.field(row, "n_seeds")} seeds`]];
    const [best, method] = [osad.field(row, "best"), osad.field(row, "method")];
    if (best && best !== method && osad.field(row, "difference_to_best")) {
      const where = `95 % over seeds ${interval(row, "seeds")}, over test images ${interval(row, "images")}`;
      const mark = row.rank === 1 ? "; not distinguishable" : "";
      lines.push(["To the best", exact(row, "difference_to_best"), `${osad.data.methods[best].title}: ${where}${mark}`]);
    }
    if (row.rank) lines.push(["Rank", `${row.rank} of ${row.of}`, "controls left out; methods that the intervals do not tell apart share a rank"]);
    if (row.published) {
      lines.push(["Published", row.published, osad.field(row, "published_source")]);
      lines.push(["Ours - published", row.difference ? exact(row, "difference_to_published") : "n/a", `95 % over seeds ${interval(row, "to_published")}; see what differs in the protocol: notes of the page`]);
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
      return [`s${seed}`, ...used.map(([name]) => (run && !problem ? osad.short(run.metrics[name] || "n/a") : "n/a")), state];
    });
    return table("Runs", ["seed", ...used.map(([, title]) => title), "status"], lines, "numbers runs");
  };

  const heads = (cell) => {
    const names = Object.keys(cell.runs[0]?.heads ?? {});
    if (!names.length) return null;
    const lines = cell.runs.map((run) => [`s${run.seed}`, ...names.map((name) => osad.short(run.heads[name] || "n/a"))]);
    return section("Parts of the score", osad.make("p", {}, "AUROC of each part alone."), table("Parts of the score", ["seed", ...names], lines));
  };

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
      show(title, id, summary(row), osad.comparing(row), average(row));
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
      osad.comparing(row),
      runs,
      section("Curves and scores", osad.later(() => osad.charts(cell))),
      section("The most wrong images", osad.later(async () => osad.worstPictures(await osad.load(`images/${id}.js`)))),
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
    const { path } = osad.address();
    const [, kind, ...rest] = path.split("/");
    const row = osad.data.rows.find((one) => osad.field(one, "cell") === path);
    const views = { images: openImages, place: osad.openPlace, pair: osad.openPair };
    if (row || Object.hasOwn(views, kind)) opener = opener || path;
    if (row) await openCell(row);
    else if (path.startsWith("/") && Object.hasOwn(views, kind)) await views[kind](rest);
    else if (path.split("/").length === 4) show("No such table cell", path, osad.make("p", {}, "This page has none of that id."));
    else if (dialog.open) dialog.close();
    else if (path) document.getElementById(path)?.scrollIntoView();
  };

  // Whoever copies the address gets the filters too.
  const arrive = async () => {
    const { query } = osad.address();
    if (query !== null) osad.applyQuery(query);
    await route();
    if (query === null && osad.link("").startsWith("#")) osad.remember();
  };

  const report = (error) =>
    show("Not available", osad.address().path, osad.make("p", { class: "warning" }, error.message));

  osad.settle.view = () => {
    dialog.addEventListener("close", () => {
      const link = [...document.querySelectorAll("main a")].find((one) => one.getAttribute("href") === `#${opener}`);
      opener = "";
      if (osad.address().path.includes("/")) history.pushState(null, "", osad.link(""));
      link?.focus();
    });
    // A click beside the dialog's content is on the dialog itself.
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    addEventListener("hashchange", () => arrive().catch(report));
    addEventListener("popstate", () => {
      if (!osad.address().path && dialog.open) dialog.close();
    });
    route().catch(report);
  };
}
