"""The command ``osad select``: compare hyper-parameters of a method without test images."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from osad.core.cells import Cell, Protocol
from osad.core.errors import ConfigError, DataError
from osad.core.files import parse_json
from osad.methods import registry
from osad.pipeline import config
from osad.pipeline.fingerprint import check_running
from osad.pipeline.grid import Grid
from osad.select.criteria import CRITERIA, Trial, evaluate


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``osad select`` to its parser."""
    command.add_argument("method", metavar="METHOD", help="its name")
    command.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE,VALUE", help="compared; JSON values, ; in lists"
    )
    command.add_argument(
        "--criteria",
        nargs="+",
        choices=CRITERIA,
        default=[*CRITERIA],
        help="what they are judged by",
    )
    command.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1], metavar="SEED", help="of the runs"
    )
    command.add_argument("--jobs", type=int, default=2, metavar="N", help="processes")
    command.add_argument(
        "--configfile", type=Path, default=Path("configs/select.yaml"), metavar="FILE",
        help="grid with the development sets: those that params.yaml does not name",
    )  # fmt: skip


def candidates(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of ``key=value,value`` texts; lists are written [16;32].

    Raises:
        ConfigError: a text has another form.

    Example:
        >>> candidates(["lr=1e-3,2e-3", "strides=[16;32]"])
        [{'lr': 0.001, 'strides': [16, 32]}, {'lr': 0.002, 'strides': [16, 32]}]
    """
    options: list[list[tuple[str, Any]]] = []
    for text in texts:
        name, _, values = text.partition("=")
        if any(name == pairs[0][0] for pairs in options):
            raise ConfigError(f"{text!r}: {name} is given twice; name all its values at once")
        try:
            options.append([(name, _value(value)) for value in values.split(",")])
        except ValueError as error:
            raise ConfigError(
                f"{text[:200]!r}: expected KEY=VALUE,VALUE with JSON values"
            ) from error
    return [dict(pairs) for pairs in itertools.product(*options)]


def _value(text: str) -> Any:
    """Return a JSON value; a bare word is a string."""
    word = text.isidentifier() and text not in ("true", "false")
    return text if word else parse_json(text.replace(";", ","))


def trials(
    grid: Grid,
    tables: Sequence[str],
    method: str,
    values: Mapping[str, Any],
    options: argparse.Namespace,
) -> Iterator[Trial]:
    """Yield the fits that a setting of a method is judged by.

    Args:
        grid: of the development sets and those of the tables.
        tables: data sets of the tables.
        method: its name.
        values: the setting.
        options: of the command.
    """
    spec, known = registry.get(method), grid.params.hyper
    given = {**known[method], **values} if method in known else {**values}
    hyper = spec.resolve(given)
    spec.build(hyper)  # Ranges are checked before anything is fitted.
    base = known.get(spec.base) or registry.get(spec.base).resolve() if spec.base else None
    for dataset, category in grid.categories:
        for protocol in config.protocols(grid.params, dataset, category):
            if (protocol.setting == "normal") != spec.normal_only:
                continue
            for seed in options.seeds:
                run = Cell(dataset, category, str(protocol), method, seed)
                common: dict[str, Any] = {
                    "run": run, "hyper": hyper, "base": base,
                    "split": grid.split(run), "packs": grid.packs_of(run),
                }  # fmt: skip
                if dataset not in tables:
                    kinds: Iterator[dict[str, Any]] = iter([{"criterion": "development"}])
                else:
                    kinds = _inside(grid, protocol, common, first=seed == options.seeds[0])
                yield from (
                    Trial(**common | kind)
                    for kind in kinds
                    if kind["criterion"] in options.criteria
                )


def _inside(
    grid: Grid, protocol: Protocol, common: Mapping[str, Any], *, first: bool
) -> Iterator[dict[str, Any]]:
    """Yield what criteria inside the training data add to a run.

    That a single one of ten anomalies is trained on, which costs a fit and ranks nine, is tried in
    the ``first`` split alone.
    """
    run = common["run"]
    if protocol.shots > 1:
        yield {"criterion": "left_out", "fold": run.seed % 2}
        if protocol.setting == "general":
            others = config.protocols(grid.params, run.dataset, run.category)
            for known in dict.fromkeys(o.known_class for o in others if o.known_class):
                yield {"criterion": "left_out", "known": known}
        if first:
            yield {"criterion": "left_out", "single": (3 * run.seed + 1) % protocol.shots}
    spec = registry.get(run.method)
    if protocol.setting != "hard" and not {"pixels", "pooled"} & {*spec.packs}:
        network = str(grid.params.features.first)
        holdout = grid.pack(run.dataset, run.category, network, "holdout")
        yield {"criterion": "pseudo", "packs": [*common["packs"], holdout]}


def run(options: argparse.Namespace) -> None:
    """Evaluate every setting and print it, best last.

    Raises:
        OsadError: an unknown method or key, or a missing file.
    """
    if options.jobs < 1 or min(options.seeds) < 0:
        raise ConfigError("--jobs must be 1 or more and --seeds 0 or more")
    if registry.get(options.method).on_images:
        raise ConfigError(
            f"--method {options.method}: is trained on images, hours each time; choose a method on "
            "cached features"
        )
    if len({*options.seeds}) < len(options.seeds):  # A copy would make the spread smaller.
        raise ConfigError("--seeds: names a seed twice; name each once")
    root = Path()
    check_running(root / "src")
    grid = Grid(config.load(root, options.configfile), root)
    tables = config.load(root).datasets
    settings = candidates(options.settings)
    work = [
        (place, trial)
        for place, values in enumerate(settings)
        for trial in trials(grid, tables, options.method, values, options)
    ]
    if not work:
        raise ConfigError(f"{options.configfile}: no criterion applies to {options.method}")
    files = dict.fromkeys(path for _, trial in work for path in (trial.split, *trial.packs))
    missing = [path for path in files if not Path(path).is_file()]
    if missing:
        targets = " ".join(missing[:3])
        raise DataError(
            f"{len(missing)} files are missing, the first: {missing[0]}; make them with: snakemake "
            f"splits features --cores 2 --configfile {options.configfile}, packs of pseudo "
            f"anomalies by their names: snakemake {targets} --cores 2 --configfile "
            f"{options.configfile}; or leave a criterion out with --criteria"
        )
    found: list[dict[str, list[dict[str, float]]]] = [{} for _ in settings]
    with ProcessPoolExecutor(min(options.jobs, len(work))) as pool:
        results = pool.map(evaluate, [trial for _, trial in work])
        for done, ((place, trial), result) in enumerate(zip(work, results, strict=True), 1):
            if result:
                found[place].setdefault(trial.group, []).append(result)
            print(f"{done}/{len(work)} fits", end="\r", file=sys.stderr)
    order = sorted(zip(settings, found, strict=True), key=lambda pair: overall(pair[1]))
    for values, groups in order:
        print(f"{overall(groups):.4f}  {json.dumps(values)}")
        for group, rates in groups.items():
            print(f"    {group:44} {line(rates)}")


def overall(groups: Mapping[str, Sequence[Mapping[str, float]]]) -> float:
    """Return the mean over groups of the mean AUROC."""
    return mean(mean(rate["total"] for rate in rates) for rates in groups.values())


def line(rates: Sequence[Mapping[str, float]]) -> str:
    """Return mean and spread over splits and folds, and the means of heads and seconds.

    Example:
        >>> line([{"total": 0.8, "seconds": 1.0}, {"total": 0.9, "seconds": 2.0}])
        '0.850 ± 0.050  1.5 s'
    """
    names = [name for name in rates[0] if name not in ("total", "seconds")]
    heads = ", ".join(f"{name} {mean(rate[name] for rate in rates):.3f}" for name in names)
    totals, seconds = ([rate[name] for rate in rates] for name in ("total", "seconds"))
    note = f"  ({heads})" if heads else ""
    return f"{mean(totals):.3f} ± {pstdev(totals):.3f}{note}  {mean(seconds):.1f} s"
