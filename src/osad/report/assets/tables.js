// The tables: layouts, order of rows, columns.
"use strict";
{
  const form = document.getElementById("filters");
  const SETTINGS = ["general", "hard", "normal"];
  const collator = new Intl.Collator("en");

  const group = (items, key) => {
    const groups = new Map();
    for (const item of items) {
      const name = key(item);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(item);
    }
    return groups;
  };

  osad.byMethod = (rows) => {
    const present = new Set(rows.map((row) => osad.field(row, "method")));
    return osad.data.order.filter((name) => present.has(name));
  };

  // Tables as in the papers: one a number of labelled anomalies, methods in columns.
  const papers = (rows) =>
    [...group(rows, (row) => osad.field(row, "shots"))]
      .sort(([a], [b]) => Number(b) - Number(a))
      .map(([shots, ofShots]) => {
        const methods = osad.byMethod(ofShots);
        const lines = [...group(ofShots, osad.place)].map(([, ofPlace]) => ({
          label: ofPlace[0].label,
          average: osad.isAverage(ofPlace[0]),
          place: osad.placeId(ofPlace[0]),
          cells: methods.map((name) => ofPlace.find((row) => osad.field(row, "method") === name)),
        }));
        const columns = methods.map((name) => osad.data.methods[name].title);
        return { title: osad.shots(shots), head: "Data", columns, lines };
      });

  // One table a data set and category, methods in rows, protocols in columns.
  const methodsInRows = (rows) =>
    [...group(rows, (row) => `${osad.field(row, "dataset")}/${osad.field(row, "category")}`)].map(
      ([, ofData]) => {
        const known = (row) => osad.field(row, "known_class");
        const places = [...group(ofData, osad.place).values()].map((of) => of[0]);
        const cells = group(ofData, (row) => osad.field(row, "method"));
        const label = known(places[0]) ? places[0].label.split(": ")[0] : places[0].label;
        return {
          title: label,
          head: "Method",
          places: places.map(osad.placeId),
          columns: places.map((row) => {
            const shots = osad.shots(osad.field(row, "shots"));
            return known(row) ? `${known(row)}, ${shots}` : shots;
          }),
          lines: osad.byMethod(ofData).map((name) => {
            const { title, changes } = osad.data.methods[name];
            return {
              label: osad.data.methodsInRows && changes ? `${title}: ${changes}` : title,
              average: false,
              cells: places.map((at) =>
                cells.get(name).find((row) => osad.place(row) === osad.place(at)),
              ),
            };
          }),
        };
      },
    );

  // A table without the columns that are hidden.
  const without = (table) => {
    const kept = (items) => items?.filter((_, number) => !osad.hidden(table.columns[number]));
    return {
      ...table,
      columns: kept(table.columns),
      places: kept(table.places),
      lines: table.lines.map((line) => ({ ...line, cells: kept(line.cells) })),
    };
  };

  // The tables of some rows: title, columns and lines of cells.
  osad.arrange = (rows) => arranged(rows).map(without);

  const arranged = (rows) => {
    const places = osad.data.datasets;
    const ordered = [...rows].sort(
      (a, b) =>
        places.indexOf(osad.field(a, "dataset")) - places.indexOf(osad.field(b, "dataset")),
    );
    const layout = form.elements.layout.value === "methods" ? methodsInRows : papers;
    return SETTINGS.flatMap((setting) => {
      const ofSetting = ordered.filter((row) => osad.field(row, "setting") === setting);
      return ofSetting.length
        ? layout(ofSetting).map((table) => ({ ...table, setting, lines: inOrder(table, setting) }))
        : [];
    });
  };

  const name = (table, setting) => `${setting}, ${table.title}`;

  const inOrder = (table, setting) => {
    const order = osad.sorted.get(name(table, setting));
    if (!order) return table.lines;
    const column = table.columns.indexOf(order.column);
    const lines = [...table.lines];
    if (order.column === table.head) {
      lines.sort((a, b) => order.sign * collator.compare(a.label, b.label));
    } else if (column >= 0) {
      const value = (line) => (line.cells[column] ? osad.number(line.cells[column]) : null);
      // Lines without a number come last in both directions.
      lines.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return order.sign * (x - y);
      });
    }
    return lines;
  };

  const problemsOf = (row) =>
    osad.data.seeds
      .map((seed) => osad.data.problems[`${osad.field(row, "cell")}/s${seed}`])
      .filter(Boolean);

  // What a screen reader hears of a number.
  const spoken = (row, few) => {
    const parts = [`${osad.title(row)}, ${row.label}, ${osad.shots(osad.field(row, "shots"))}`];
    parts.push(`ours ${row.ours}${few}`);
    if (row.rank) parts.push(`rank ${row.rank} of ${row.of}`);
    return parts.join(": ");
  };

  // Mean and deviation with all their digits.
  const full = (row) => ["auroc_mean", "auroc_std"].map((name) => osad.field(row, name)).filter(Boolean).join(" \u00b1 ");

  const compare = (place, text, label) => osad.make("a", { class: "place", href: `#/place/${place}`, "aria-label": label }, text);

  const entry = (row, letters) => {
    if (!row) return osad.make("td", { class: "absent" }, "-");
    const runs = Number(osad.field(row, "n_seeds"));
    const few = runs > 0 && runs < osad.data.seeds.length ? ` (n=${runs})` : "";
    const problems = osad.isAverage(row) ? [] : problemsOf(row);
    const kind = problems.length ? problems[0][0] : "";
    const rank = row.rank > 3 && row.rank * 2 <= row.of ? 4 : row.rank <= 3 ? row.rank : 0;
    const published = row.published && !osad.hidden(osad.PUBLISHED)
      ? osad.make(
          "span",
          { class: "published" },
          osad.make("span", { class: "hidden" }, ". Published "),
          row.published,
          osad.make("sup", {}, letters.get(osad.field(row, "published_source"))),
          " ",
          row.difference
            ? osad.make(
                "span",
                { class: row.difference.startsWith("-") ? "lower" : "higher", title: osad.field(row, "difference_to_published") },
                osad.make("span", { class: "hidden" }, "difference "),
                row.difference.replace("-", "\u2212"),
              )
            : "",
        )
      : "";
    return osad.make(
      "td",
      { class: rank ? `rank r${rank}` : "rank" },
      osad.make(
        "a",
        { class: "ours", href: `#${osad.field(row, "cell")}`, title: full(row), "aria-label": spoken(row, few) },
        row.rank === 1 ? osad.make("strong", {}, row.ours) : row.ours,
        few,
      ),
      kind
        ? osad.make(
            "span",
            { class: "problem", title: problems.map((p) => p.join(": ")).join("\n") },
            `${problems.length} ${kind}`,
          )
        : "",
      published,
    );
  };

  const heading = (setting) => osad.data.settings[setting].split(":")[0];

  const letterOf = (number) => String.fromCharCode(97 + (number % 26));

  const draw = (table) => {
    const key = name(table, table.setting);
    const order = osad.sorted.get(key);
    const sources = [
      ...new Set(
        table.lines
          .flatMap((line) => line.cells)
          .filter((row) => row && row.published && !osad.hidden(osad.PUBLISHED))
          .map((row) => osad.field(row, "published_source")),
      ),
    ];
    const letters = new Map(sources.map((source, number) => [source, letterOf(number)]));
    const header = (column) => {
      const active = order && order.column === column;
      const direction = active ? (order.sign < 0 ? "descending" : "ascending") : null;
      return osad.make(
        "th",
        { scope: "col", "aria-sort": direction },
        osad.make(
          "button",
          {
            type: "button",
            class: "sort",
            title: `Sort by ${column}`,
            click: () => {
              const first = column === table.head ? 1 : -1;
              const next = !active ? first : order.sign === first ? -first : 0;
              if (next) osad.sorted.set(key, { column, sign: next });
              else osad.sorted.delete(key);
              osad.redraw();
              const again = [...document.querySelectorAll("table[data-name]")]
                .filter((one) => one.dataset.name === key)
                .flatMap((one) => [...one.querySelectorAll("button.sort")]);
              again.find((one) => one.dataset.column === column)?.focus();
            },
            "data-column": column,
          },
          column,
          osad.make("span", { class: "arrow", "aria-hidden": "true" }, active ? (order.sign < 0 ? "\u25bc" : "\u25b2") : ""),
        ),
      );
    };
    const competing = !table.lines.flatMap((line) => line.cells).some((row) => row && osad.isControl(row));
    const body = table.lines.map((line) =>
      osad.make(
        "tr",
        { class: line.average ? "average" : null },
        osad.make("th", { scope: "row" }, line.place && competing
          ? compare(line.place, line.label, `${line.label}: compare all methods, ${table.title}`) : line.label),
        line.cells.map((row) => entry(row, letters)),
      ),
    );
    const title = `${heading(table.setting)}, ${table.title}`;
    return osad.make(
      "div",
      { class: "block" },
      osad.make(
        "div",
        { class: "scroll", role: "region", "aria-label": title, tabindex: "0" },
        osad.make(
          "table",
          { class: "numbers", "data-name": key },
          osad.make("caption", {}, osad.make("span", {}, table.title)),
          osad.make("thead", {}, osad.make("tr", {}, [table.head, ...table.columns].map(header))),
          osad.make("tbody", {}, body),
          table.places?.length && competing
            ? osad.make("tfoot", {}, osad.make("tr", {}, osad.make("th", { scope: "row" }, "Compare all"),
                table.places.map((place, number) => osad.make("td", {},
                  compare(place, "intervals, images", `intervals, images of all methods: ${table.title}, ${table.columns[number]}`)))))
            : null,
        ),
      ),
      sources.length
        ? osad.make(
            "p",
            { class: "sources" },
            "Published: ",
            sources.map((source) => `${letters.get(source)}: ${source}`).join("; "),
          )
        : "",
    );
  };

  osad.drawTables = () => {
    const rows = osad.shown();
    const competing = rows.filter((row) => !osad.isControl(row));
    osad.offerColumns([...new Set(arranged(rows).flatMap((table) => table.columns))]);
    const fill = (id, of) => {
      const parts = [...group(osad.arrange(of), (table) => table.setting)].flatMap(
        ([setting, tables]) => [
          osad.make("h3", {}, osad.data.settings[setting]),
          osad.make("div", { class: "blocks" }, tables.map(draw)),
        ],
      );
      const none = osad.make("p", {}, "Nothing is left by the filters.");
      document.getElementById(id).replaceChildren(...(parts.length ? parts : [none]));
    };
    fill("competing", competing);
    fill("control-tables", rows.filter(osad.isControl));
    document.getElementById("count").textContent =
      `${rows.length} of ${osad.data.rows.length} table cells are shown.`;
  };
}
