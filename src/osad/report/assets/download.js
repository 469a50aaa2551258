// The rows that the filters leave as CSV, and the tables as they are shown as LaTeX.
"use strict";
{
  const save = (name, type, text) => {
    const address = URL.createObjectURL(new Blob([text], { type }));
    const link = osad.make("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };

  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  const csv = () =>
    [osad.data.columns, ...osad.shown().map((row) => row.fields)]
      .map((fields) => `${fields.map(quoted).join(",")}\n`)
      .join("");

  const escape = (text) =>
    [...text.replace(/[\s\x85]+/g, " ").replace(/([-',])(?=\1)/g, "$1\0")]
      .map((letter) => osad.data.latex[letter] ?? letter)
      .join("");

  const line = (cells) => `${cells.join(" & ")} \\\\`;

  const table = (one, number) => {
    const body = one.lines.flatMap((of) => {
      const ours = of.cells.map((row) => {
        if (!row) return "-";
        return row.rank === 1 ? `\\textbf{${escape(row.ours)}}` : escape(row.ours);
      });
      const lines = [line([escape(of.label), "ours", ...ours])];
      if (!osad.hidden(osad.PUBLISHED) && of.cells.some((row) => row && row.published)) {
        lines.push(line(["", "published", ...of.cells.map((row) => escape(row?.published ?? ""))]));
      }
      return lines;
    });
    return [
      "\\begin{table*}",
      "\\centering",
      `\\caption{${escape(osad.data.settings[one.setting])}. ${escape(one.title)}.}`,
      `\\label{tab:${one.setting}-${number}}`,
      "\\begin{adjustbox}{max totalsize={\\textwidth}{0.85\\textheight}, center}",
      `\\begin{tabular}{ll${"r".repeat(one.columns.length)}}`,
      "\\toprule",
      line(["", "", ...one.columns.map(escape)]),
      "\\midrule",
      ...body,
      "\\bottomrule",
      "\\end{tabular}",
      "\\end{adjustbox}",
      "\\end{table*}",
      "",
    ];
  };

  const latex = () => {
    const rows = osad.shown();
    const parts = [rows.filter((row) => !osad.isControl(row)), rows.filter(osad.isControl)];
    const tables = parts.flatMap(osad.arrange);
    const lines = tables.flatMap((one, number) => table(one, number + 1));
    return `${["% Needs \\usepackage{booktabs, adjustbox} and UTF-8.", "", ...lines].join("\n")}\n`;
  };

  osad.settle.download = () => {
    const listen = (id, act) => document.getElementById(id).addEventListener("click", act);
    listen("csv", () => save("osad.csv", "text/csv", csv()));
    listen("latex", () => save("osad.tex", "application/x-tex", latex()));
  };
}
