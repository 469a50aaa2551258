// What of the tables is shown: filters, hidden columns, order of rows; and all of it in the address.
"use strict";
{
  const form = document.getElementById("filters");
  const FIELDS = ["dataset", "setting", "shots", "layout"];
  const SETTINGS = ["general", "hard", "normal"];
  const hidden = new Set(); // titles of columns
  osad.PUBLISHED = "published values"; // stands among the columns
  osad.sorted = new Map(); // by title of a table: column and direction
  osad.hidden = (column) => hidden.has(column);

  const boxes = (id) => [...form.querySelectorAll(`#${id} input`)];
  const checked = (id) => boxes(id).filter((box) => box.checked).map((box) => box.value);
  const initial = (select) => ([...select.options].find((one) => one.defaultSelected) ?? select.options[0]).value;

  // The rows that the filters leave, in the order of summary.csv.
  osad.shown = () => {
    const wanted = ["dataset", "setting", "shots"].map((name) => [name, form.elements[name].value]);
    const methods = new Set(checked("method-boxes"));
    return osad.data.rows.filter(
      (row) =>
        methods.has(osad.field(row, "method")) &&
        wanted.every(([name, value]) => value === "" || osad.field(row, name) === value),
    );
  };

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };

  // An address is #PATH?QUERY. The path says which view is open, the query what the tables show.
  osad.address = () => {
    const [path, ...query] = location.hash.slice(1).split("?");
    return { path: decoded(path), query: query.length ? query.join("?") : null };
  };

  const query = () => {
    const found = new URLSearchParams();
    for (const name of FIELDS) {
      const field = form.elements[name];
      if (field.value !== initial(field)) found.set(name, field.value);
    }
    const methods = checked("method-boxes");
    if (methods.length < osad.data.order.length) found.set("methods", methods.join(","));
    for (const column of hidden) found.append("hide", column);
    for (const [table, { column, sign }] of osad.sorted) found.append("sort", [table, column, sign].join("|"));
    return found.toString().replaceAll("%2C", ",").replaceAll("%7C", "|");
  };

  osad.link = (path) => {
    const text = query();
    return path || text ? `#${encodeURI(path)}${text ? `?${text}` : ""}` : location.pathname + location.search;
  };
  osad.remember = () => history.replaceState(null, "", osad.link(osad.address().path));

  // Show what the query of an address says; values that there are not count for nothing.
  const apply = (text) => {
    const asked = new URLSearchParams(text);
    for (const name of FIELDS) {
      const field = form.elements[name];
      const value = asked.get(name);
      field.value = [...field.options].some((one) => one.value === value) ? value : initial(field);
    }
    const methods = asked.get("methods")?.split(",");
    for (const box of boxes("method-boxes")) box.checked = !methods || methods.includes(box.value);
    hidden.clear();
    for (const column of asked.getAll("hide")) hidden.add(column);
    osad.sorted.clear();
    for (const [table, column, sign] of asked.getAll("sort").map((one) => one.split("|"))) {
      osad.sorted.set(table, { column, sign: sign === "1" ? 1 : -1 });
    }
  };
  osad.applyQuery = (text) => {
    apply(text);
    osad.drawTables();
  };
  osad.redraw = () => {
    osad.drawTables();
    osad.remember();
  };

  const say = (id, text) => {
    document.getElementById(id).textContent = text;
  };

  const tickBox = (value, text, on) =>
    osad.make("label", {}, osad.make("input", { type: "checkbox", value, checked: on ? "" : null }), text);

  // The columns that can be hidden: those of the tables as they are laid out.
  osad.offerColumns = (names) => {
    const offered = [osad.PUBLISHED, ...names];
    const holder = document.getElementById("column-boxes");
    if (boxes("column-boxes").map((box) => box.value).join("|") !== offered.join("|")) {
      holder.replaceChildren(...offered.map((name) => tickBox(name, name, true)));
    }
    for (const box of boxes("column-boxes")) box.checked = !hidden.has(box.value);
    const gone = offered.filter((name) => hidden.has(name)).length;
    say("hidden-columns", gone ? `(${gone} hidden)` : "(all)");
    const [some, all] = [checked("method-boxes").length, osad.data.order.length];
    say("chosen", some === all ? "(all)" : `(${some} of ${all})`);
  };

  osad.settle.filters = () => {
    const data = osad.data;
    const options = (field, values, label) => {
      for (const value of values) {
        form.elements[field].append(osad.make("option", { value }, label(value)));
      }
    };
    const present = (field) => [...new Set(data.rows.map((row) => osad.field(row, field)))];
    const titles = new Map(data.rows.map((r) => [osad.field(r, "dataset"), r.label.split(/[:/]/)[0].trim()]));
    options("dataset", data.datasets, (value) => titles.get(value));
    options("setting", SETTINGS.filter((s) => present("setting").includes(s)), (value) => value);
    options("shots", present("shots").sort((a, b) => b - a), (value) => value);
    document.getElementById("method-boxes").append(
      ...data.order.map((method) => tickBox(method, data.methods[method].title, true)),
    );
    const narrow = matchMedia("(max-width: 60rem)").matches;
    // Many methods beside few data would be one line that is wider than any window.
    const competing = data.rows.filter((row) => !osad.isControl(row));
    const lines = Math.max(
      ...SETTINGS.map((setting) => {
        const of = competing.filter((row) => osad.field(row, "setting") === setting);
        return new Set(of.map((row) => row.label)).size;
      }),
    );
    const methods = osad.byMethod(competing).length;
    const inRows = data.methodsInRows || narrow || (methods > 8 && methods > lines);
    form.elements.layout.querySelector(`[value=${inRows ? "methods" : "papers"}]`).defaultSelected = true;
    const tick = (value) => () => {
      for (const box of boxes("method-boxes")) box.checked = value;
      osad.redraw();
    };
    document.getElementById("all-methods").addEventListener("click", tick(true));
    document.getElementById("no-methods").addEventListener("click", tick(false));
    form.addEventListener("change", () => {
      for (const box of boxes("column-boxes")) hidden[box.checked ? "delete" : "add"](box.value);
      osad.redraw();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => {
      osad.sorted.clear();
      hidden.clear();
      setTimeout(osad.redraw); // After the fields have their first values again.
    });
    apply(osad.address().query ?? "");
    osad.drawTables();
  };
}
