"""Write what the project knows of itself into the README and the pages.

    python docs/fill_tables.py            # after a run of the default grid, or an edited parameter
    python docs/fill_tables.py --check    # exit 1 and name the pages that say something else

A page holds the places, between a line of these and ``<!-- end -->``. Only what is between them is
written.

    <!-- numbers: dpdl dpdl.literal -->   of these methods, from results/tables/summary.csv
    <!-- parameters: dpdl -->             hyper-parameters of these methods, from their files
    <!-- commands: osad -->               of osad from its parsers, of make from the Makefile
    <!-- settings: params -->             keys of params.yaml, from their schema
    <!-- gpu: gpu -->                     what bench/gpu.py wrote to data/bench/gpu.json
    <!-- scale: scale -->                 what bench/scale.py wrote to data/scale.json
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(
    r"(<!-- (numbers|parameters|commands|settings|gpu|scale): ([\w. ]+) -->\n).*?(<!-- end -->)",
    re.DOTALL,
)
COLUMNS = (
    ("general", "10", ""),
    ("general", "1", ""),
    ("hard", "10", "mean"),
    ("hard", "1", "mean"),
)
HEAD = (
    "| | general, 10 seen | general, 1 seen | hard mean, 10 seen | hard mean, 1 seen |",
    "|---|---|---|---|---|",
)
Rows = Mapping[tuple[str, ...], Mapping[str, str]]


def read(path: Path) -> Rows:
    """Return the rows of ``summary.csv`` on ELPV by method, setting, shots and known class."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["method"], row["setting"], row["shots"], row["known_class"]): row
            for row in csv.DictReader(file)
            if row["dataset"] == "elpv"
        }


def value(row: Mapping[str, str]) -> str:
    """Write mean and standard deviation, and the published mean in brackets where there is one."""
    printed = f" ({float(row['published_mean']):.3f})" if row["published_mean"] else ""
    return f"{float(row['auroc_mean']):.3f} ± {float(row['auroc_std']):.3f}{printed}"


def table(names: Sequence[str], rows: Rows) -> str:
    """Write one line per method.

    Raises:
        KeyError: a method has no row in the summary.
    """
    lines = list(HEAD)
    for name in names:
        cells = [value(rows[(name, *column)]) for column in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parameters(names: Sequence[str]) -> str:
    """Write one line per hyper-parameter; where there are several methods, with the method."""
    from osad.methods import fields, registry

    method = ["method"] if len(names) > 1 else []
    lines = [[*method, "parameter", "default", "range", ""]]
    lines.append(["---"] * len(lines[0]))
    for spec in map(registry.registered, names):
        whole = fields.table(spec.hyper, spec.resolve() | {**spec.full_budget})
        for row, full in zip(fields.table(spec.hyper, spec.resolve()), whole, strict=True):
            name, default, limits, text = row
            default += f" (full budget {full[1]})" if full[1] != default else ""
            lines.append([*([spec.name] if method else []), f"`{name}`", default, limits, text])
    return rows_of(lines)


def rows_of(lines: Sequence[Sequence[str]]) -> str:
    """Write the lines of a table."""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def commands(names: Sequence[str]) -> str:
    """Write the targets of make, or a section for each command of osad."""
    if names == ["make"]:
        text = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = re.findall(r"^([a-z-]+):.*## (.*)", text, re.MULTILINE)
        return rows_of(
            [("target", "what it does"), ("---",) * 2, *((f"`{a}`", b) for a, b in targets)]
        )
    from osad.cli import parser

    return "\n".join(map(section, leaves(parser())))


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Return the parsers that have no commands below them, in their order."""
    below = [one.choices for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    for choices in below:
        for one in choices.values():
            yield from leaves(one)
    if not below:
        yield parser


def section(parser: argparse.ArgumentParser) -> str:
    """Write what ``--help`` says of one command; argparse's own layout differs between Pythons."""
    lines = []
    for one in parser._actions:
        if isinstance(one, argparse._HelpAction):
            continue
        value = str(one.metavar or (one.dest.upper() if one.nargs != 0 else ""))
        if one.choices:
            value = f"{{{','.join(map(str, one.choices))}}}"
        name = " ".join([*one.option_strings[-1:], *filter(None, [value])])
        name += " ..." * (one.nargs in ("+", "*"))
        must = one.required if one.option_strings else one.nargs not in ("?", "*")
        # The number of processors differs between machines.
        fixed = one.default not in (None, False, [], 0) and one.dest != "cores"
        default = f"default {shown(one.default)}" if fixed else ""
        text = "; ".join(filter(None, [one.help, default, "required" * must]))
        lines.append((f"`{name}`", text))
    table = "\n" + rows_of([("argument", ""), ("---",) * 2, *lines]) if lines else ""
    return f"### {parser.prog}\n{parser.description}\n{table}"


def shown(value: Any) -> str:
    """Write a default value; those that are too long for a table are only counted."""
    plain = str(value) if isinstance(value, Path) else value
    text = plain if isinstance(plain, str) else json.dumps(plain)
    return f"`{text}`" if len(text) < 60 else f"{len(plain)} of them"


def settings(names: Sequence[str]) -> str:
    """Write one line per key of the parameters, from their schema and ``params.yaml``."""
    import yaml

    folder = ROOT / "workflow" / "schemas"
    schema = yaml.safe_load((folder / f"{names[0]}.schema.yaml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((ROOT / f"{names[0]}.yaml").read_text(encoding="utf-8"))
    head = [("key", "type", "default", ""), ("---",) * 4]
    return rows_of([*head, *keys(schema, schema, defaults)])


def keys(
    part: Mapping[str, Any], schema: Mapping[str, Any], values: Any, place: str = ""
) -> Iterator[tuple[str, ...]]:
    """Return the lines of the keys of an object, and of those below them."""
    for name, child in part["properties"].items():
        child = resolved(child, schema)
        known = isinstance(values, dict) and name in values
        inner, path = values[name] if known else None, place + name
        must = not known and name in part.get("required", ())
        default = shown(inner) if known else "required" if must else ""
        items = resolved(child.get("items", {}), schema)
        nested = "properties" in child
        yield (f"`{path}`", kind(child, schema), "" if nested else default, child["description"])
        if nested:
            yield from keys(child, schema, inner, f"{path}.")
        if "properties" in items:
            yield from keys(items, schema, None, f"{path}[].")


def resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with what its reference names."""
    found: Any = schema
    for step in part.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return {**(found if "$ref" in part else {}), **part}


TYPES = {"string": "text", "object": "mapping", "null": "null"}


def kind(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say of which type a value is, and in which limits."""
    part = resolved(part, schema)
    if "if" in part:
        return " or ".join(kind(part[name], schema) for name in ("then", "else"))
    if values := part.get("enum", [part["const"]] if "const" in part else []):
        return ", ".join(f"`{value}`" for value in values)
    types = part["type"] if isinstance(part["type"], list) else [part["type"]]
    text = " or ".join(str(TYPES.get(name, name)) for name in types)
    if "array" in types:
        items = part.get("items") or {"type": "object"}
        each = "pairs" if "prefixItems" in items else kind(items, schema)
        return f"list of {each}"
    limits = [str(part[name]) for name in ("minimum", "maximum") if name in part]
    between = " to ".join(limits) if len(limits) == 2 else "at least " + "".join(limits)
    return f"{text}, {between}" if limits else text


def gpu(names: Sequence[str]) -> str:
    """Write what a comparison of a GPU with the processor found; one line if there was none."""
    path = ROOT / "data" / "bench" / f"{names[0]}.json"
    if not path.is_file():
        return "No GPU was measured.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    columns = {
        "auroc": ".4f", "auroc_cpu": ".4f", "difference": ".1e", "cell_s": ".1f",
        "cell_s_cpu": ".1f", "peak_mb": ".0f", "peak_mb_cpu": ".0f",
    }  # fmt: skip
    head = ("method", "AUROC", "on CPU", "scores differ", "s", "on CPU", "MB", "on CPU", "repeats")
    lines: list[Sequence[str]] = [head, ("---",) * len(head)]
    for name, line in found["methods"].items():
        values = [format(line[key], form) for key, form in columns.items()]
        lines.append((f"`{name}`", *values, ", ".join(line["changed"]) or "yes"))
    speeds = "; ".join(
        f"{size}: " + ", ".join(f"{value} on {role}" for role, value in sorted(speed.items()))
        for size, speed in found["speed"].items()
    )
    steps = "".join(
        f" A step of `{what.replace(' ', '` at ', 1)} takes {line['step_s']:.2f} s"
        f" ({line['images_s']:.0f} images per second) and {line['peak_mb']:,} MB,"
        f" so a run of the published budget {line['run_s']} s."
        for what, line in found["trained"].items()
    )
    return f"{found['machine']}. Images per second: {speeds}.{steps}\n\n{rows_of(lines)}"


def scale(names: Sequence[str]) -> str:
    """Write what a benchmark of grids of several sizes found."""
    found = json.loads((ROOT / "data" / f"{names[0]}.json").read_text(encoding="utf-8"))
    sizes = sorted(found.values(), key=lambda size: size["runs"])
    head = ("", *(f"{size['runs']:,} runs" for size in sizes))
    lines = [head, ("---",) * len(head)]
    lines.append(("jobs", *(f"{size['jobs']:,}" for size in sizes)))
    for name in [name for name, value in sizes[0].items() if isinstance(value, dict)]:
        told = [f"{size[name]['cpu_s']:.0f} s, {size[name]['peak_mb']:,} MB" for size in sizes]
        lines.append((f"`{name}`", *told))
    for name, text in (("ledger_mb", "ledger"), ("largest_shard_mb", "its largest file")):
        lines.append((text, *(f"{size[name]:.1f} MB" for size in sizes)))
    return rows_of(lines)


OTHERS = {
    "parameters": parameters, "commands": commands, "settings": settings, "gpu": gpu,
    "scale": scale,
}  # fmt: skip


def filled(text: str, rows: Rows) -> str:
    """Return a page with its places filled."""

    def content(place: re.Match[str]) -> str:
        names = place[3].split()
        return table(names, rows) if place[2] == "numbers" else OTHERS[place[2]](names)

    return PLACE.sub(lambda place: place[1] + content(place) + place[4], text)


def pages() -> list[Path]:
    """Return the files that hold places."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if PLACE.search(path.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    """Write or check all pages; return 1 when a checked one differs."""
    rows = read(ROOT / "results" / "tables" / "summary.csv")
    stale, check = [], "--check" in arguments
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = filled(text, rows)
        if new != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'differs, run python docs/fill_tables.py' if check else 'written'}")
    return int(bool(stale) and check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
