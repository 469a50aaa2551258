// What a number was made of: files with digests, parameters, code, environment, commands.
"use strict";
{
  const digest = (text) => osad.make("code", { class: "digest" }, text);
  const file = (path, sha256, ...more) =>
    osad.make("span", { class: "file" }, osad.make("code", {}, path), " ", digest(sha256 ?? "digest not known"), ...more);

  const branch = (title, children, open = false) =>
    osad.make("details", { open: open ? "" : null }, osad.make("summary", {}, title), osad.make("ul", {}, children.map((child) => osad.make("li", {}, child))));

  // Digests of files that many cells share: features, manifest, weights, source.
  const shared = (cell) => {
    const [dataset, category] = cell.split("/");
    const folder = `${osad.data.results}/features/${dataset}/${category}/`;
    const manifest = category === "all" ? `data/manifests/${dataset}.csv` : `data/manifests/${dataset}/${category}.csv`;
    return Object.keys(osad.data.files)
      .filter((path) => path.startsWith(folder) || path === manifest || path === `data/raw/${dataset}/SOURCE.json` || path.startsWith("data/weights/"))
      .map((path) => {
        if (path !== manifest) return file(path, osad.data.files[path]);
        const link = osad.make("a", { href: `#/images/${dataset}/${category}` }, "all images with their digests");
        return file(path, osad.data.files[path], " ", link);
      });
  };

  const counts = (metrics) =>
    `${metrics.n_train_normal} normal and ${metrics.n_train_anomaly} anomalous training images, ` +
    `${metrics.n_test_normal} and ${metrics.n_test_anomaly} test images`;

  const ofRun = (cell, run, open) => {
    const [dataset, category, protocol] = cell.cell.split("/");
    const results = osad.data.results;
    const owner = cell.fitted || cell.cell; // Of a method fitted once for all protocols.
    const path = (kind, suffix) => `${results}/${kind}/${kind === "metrics" ? cell.cell : owner}/s${run.seed}.${suffix}`;
    const { digests } = run;
    const images = osad.make(
      "a",
      { href: `#/images/${dataset}/${category}/${protocol}/s${run.seed}` },
      counts(run.metrics),
    );
    const lines = [
      file(path("metrics", "json"), digests.metrics),
      file(path("scores", "csv"), digests.scores),
      digests.maps ? file(path("maps", "safetensors"), digests.maps) : null,
      file(path("checkpoints", "safetensors"), digests.checkpoints),
      cell.fitted ? osad.make("span", {}, "fitted on normals alone: one run serves all protocols") : null,
      digests.upstream
        ? osad.make("span", {}, "from the run of ", osad.make("a", { href: `#${cell.upstream}` }, cell.upstream), ": ",
            file(`${results}/checkpoints/${cell.upstream}/s${run.seed}.safetensors`, digests.upstream))
        : null,
      file(`${results}/splits/${dataset}/${category}/${protocol}/s${run.seed}.csv`, digests.splits, " ", images),
    ];
    return branch(`Seed ${run.seed}: AUROC ${run.metrics.auroc || "n/a"}`, lines.filter(Boolean), open);
  };

  const pairs = (values) =>
    Object.entries(values).map(([name, value]) => osad.make("span", {}, osad.make("code", {}, name), " = ", osad.make("code", {}, value)));

  const environment = (cell) => {
    const found = new Map();
    for (const run of cell.runs) {
      for (const [name, value] of Object.entries(run.environment)) {
        if (!found.has(name)) found.set(name, new Set());
        found.get(name).add(value);
      }
    }
    const facts = Object.fromEntries([...found].map(([name, values]) => [name, [...values].join(", ")]));
    const lines = pairs(facts);
    if (!lines.length) lines.push("Python, torch and device: no record of the jobs");
    return [...lines, file("requirements/numeric.lock", osad.data.lock)];
  };

  const commands = (cell) => {
    const other = osad.data.results === "results" ? "" : " --configfile FILE";
    const texts = [
      `osad audit explain ${cell}${other}`,
      `osad audit verify ${cell}${other}`,
      `osad audit verify ${cell} --rebuild${other}`,
    ];
    return texts.map((text) => osad.make("span", { class: "command" }, osad.make("code", {}, text), " ", osad.copyButton(text, "the command")));
  };

  // The tree of one table cell.
  osad.audit = (cell, row) => {
    const method = osad.data.methods[osad.field(row, "method")];
    const hyper = pairs(method.hyper);
    const modules = method.modules.map((name) => file(name, osad.data.code[name]));
    const printed = row.published
      ? [`${row.published}, ${osad.field(row, "published_source")}; files data/published/*.csv`]
      : ["none printed for this cell"];
    return osad.make(
      "div",
      { class: "tree" },
      branch(`Runs (${cell.runs.length})`, cell.runs.map((run, number) => ofRun(cell, run, number === 0)), true),
      branch("Data, weights and features", shared(cell.cell)),
      branch(`Hyper-parameters (${hyper.length})`, hyper.length ? hyper : ["none"]),
      branch(`Code (${modules.length} modules)`, modules),
      branch("Environment", environment(cell)),
      branch("Published number", printed),
      branch("Commands that explain and check it", commands(cell.cell), true),
    );
  };
}
