"""What a prediction is made with, and whether it is what the ledger says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osad.audit import ledger
from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import read_metadata, sha256_file
from osad.methods import registry
from osad.pipeline.describe import PIXELS, feature_options
from osad.pipeline.fingerprint import module_digests
from osad.pipeline.grid import Grid, run_of
from osad.pipeline.rule import as_text
from osad.pipeline.rules import Rules


@dataclass(frozen=True)
class Tools:
    """All that a cell's images are scored with.

    Attributes:
        cell: the run.
        trained: the run that was fitted for it; for most methods the cell itself.
        hyper: its hyper-parameters.
        checkpoint: path of its fitted tensors.
        weights: paths of the networks' weights; none for methods that read no features.
        features: options of the features step for each pack.
        split: path of the run's split; None if it is not there.
        maps: path of the run's anomaly maps; None if it has none.
        scores: path of the run's scores; None if they are not there or not needed.
        normal: classes besides ``good`` that are normal in the cell's data set.
        notes: what could not be checked or may make scores differ, one sentence each.
        verified: the ledger has the digests of all these files.
    """

    cell: Cell
    trained: Cell
    hyper: Mapping[str, Any]
    checkpoint: Path
    weights: tuple[Path, ...]
    features: tuple[str, ...]
    split: Path | None
    maps: Path | None
    scores: Path | None = None
    normal: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    verified: bool = False

    def files(self) -> list[Path]:
        """Return the files that the scores or the maps depend on."""
        paths = (self.checkpoint, *self.weights, self.split, self.maps, self.scores)
        return [path for path in paths if path is not None]

    def arguments(self) -> list[str]:
        """Return the options of the step ``predict`` that name the tools."""
        named = {name: getattr(self, name) for name in ("split", "maps", "scores")}
        return [
            *("--cell", str(self.cell), "--trained", str(self.trained)),
            *("--hyper", as_text(self.hyper)),
            *("--checkpoint", str(self.checkpoint)),
            *("--features", as_text(self.features)),
            *(["--weights", *map(str, self.weights)] if self.weights else []),
            *(["--normal", *self.normal] if self.normal else []),
            *("--verified", "yes" if self.verified else "no", "--notes", as_text(self.notes)),
            *(text for name, path in named.items() if path for text in (f"--{name}", str(path))),
        ]


def parse_cell(text: str, grid: Grid) -> Cell:
    """Return the run that an id names.

    Raises:
        ConfigError: it is not the id of one run, or its method needs labels.
    """
    if not re.search(r"/s[0-9]+$", text):
        Cell.parse(f"{text}/s0")
        seeds = ", ".join(f"s{seed}" for seed in grid.params.seeds)
        raise ConfigError(
            f"cell {text}: is a mean over runs, whose scores have no common scale; choose one run, "
            f"for example {text}/s{grid.params.seeds[0]} (seeds: {seeds})"
        )
    cell = Cell.parse(text)
    if registry.get(cell.method).sees_test_labels:
        raise ConfigError(
            f"cell {text}: the control {cell.method} scores an image by its label, which new "
            "images do not have; choose another method"
        )
    return cell


def find_tools(rules: Rules, cell: Cell, *, scores: bool = False) -> Tools:
    """Find what a run's images are scored with and compare it with the ledger.

    The run need not be in the grid, but its checkpoint must be there. With ``scores`` those of its
    test images are among the tools, for a threshold.

    Raises:
        DataError: the checkpoint or the weights are missing.
        CheckError: a file differs from the ledger.
    """
    spec, grid, run = registry.get(cell.method), rules.grid, run_of(cell)
    checkpoint = Path(grid.artefact("checkpoints", cell))
    if not checkpoint.is_file():
        raise DataError(
            f"{checkpoint}: is missing, so cell {cell} is not trained here; run snakemake "
            f"{checkpoint} (with the --configfile of its grid) or dvc pull"
        )
    features = grid.params.features
    kinds = [(features.named.get(name), pack) for name, pack in grid.kinds(spec.test_packs)]
    weights = tuple(dict.fromkeys(Path(network.weights) for network, _ in kinds if network))
    for path in weights:
        if not path.is_file():
            raise DataError(f"{path}: is missing; make it with: snakemake --cores 1 {path}")
    split, settings = Path(grid.split(run)), grid.params.dataset_settings.get(cell.dataset, {})
    maps, scored = (Path(grid.artefact(kind, cell)) for kind in ("maps", "scores"))
    tools = Tools(
        cell=cell,
        trained=run,
        hyper=grid.params.hyper.get(cell.method) or _hyper(checkpoint),
        checkpoint=checkpoint,
        weights=weights,
        features=tuple(
            feature_options(pack, features, network) if network else PIXELS
            for network, pack in kinds
        ),
        split=split if split.is_file() else None,
        maps=maps if spec.maps and maps.is_file() else None,
        scores=scored if scores and scored.is_file() else None,
        normal=tuple(settings.get("normal_classes", ())),
    )
    return _checked(rules, tools, scores=scores)


def _hyper(checkpoint: Path) -> dict[str, Any]:
    """Return the hyper-parameters that a checkpoint was fitted with."""
    hyper = read_metadata(checkpoint).get("hyper")
    if not isinstance(hyper, dict):
        raise DataError(f"{checkpoint}: names no hyper-parameters; delete it and train again")
    return hyper


def _checked(rules: Rules, tools: Tools, *, scores: bool) -> Tools:
    """Compare the files with the ledger and say what could not be compared."""
    where = ledger.folder(rules.grid.results)
    known = ledger.read(where)
    entry = known.entries.get(str(tools.checkpoint))
    problems = ledger.check_sums(where) if known.entries else []
    if problems:
        raise CheckError(problems[0])
    notes = []
    for path in tools.files():
        line = known.entries.get(str(path))
        if line is None:
            notes.append(f"{where} has no line for {path}, so it cannot be checked")
        elif sha256_file(path) != line.sha256:
            raise CheckError(
                f"{path}: differs from the ledger (sha256 {sha256_file(path)[:12]}..., {where} "
                f"says {line.sha256[:12]}...); restore it with dvc checkout or run snakemake, "
                "then osad audit record"
            )
    verified = not notes
    # What made the run's features is to make those of new images.
    paths = [str(tools.checkpoint), *(entry.inputs if entry else ())]
    lines = [known.entries[path] for path in paths if path in known.entries]
    made = [line for line in lines if line is entry or line.rule in ("pack", "pixels")]
    changed = [
        name
        for name, stated in known.modules_of(made).items()
        if _syntax(name, rules.run.source) != stated.syntax
    ]
    if changed:
        notes.append(
            f"the code has changed since the run ({changed[0]}; {len(changed)} modules), so "
            "scores can differ from the run's"
        )
    if entry is None:
        notes.append("the run's code and versions are not known, so they cannot be checked")
    elif entry.env.get("lock") != rules.grid.versions():
        notes.append("the lock file has changed since the run, so scores can differ")
    if tools.features and "features" not in read_metadata(tools.checkpoint):
        notes.append(
            f"{tools.checkpoint} does not name the features of the run, so they cannot be checked"
        )
    if tools.split is None:
        notes.append(
            "the run's split is not there, so scores of its test images can differ from the run's "
            "in the last bits, and images that it was trained on cannot be recognised"
        )
    if tools.maps is None and registry.get(tools.cell.method).maps:
        notes.append("the run's maps are not there, so the colours fit the images given only")
    if scores and tools.scores is None:
        notes.append("the run's scores are not there, so they say nothing of false alarms")
    return replace(tools, notes=tuple(notes), verified=verified)


def _syntax(name: str, source: Path) -> str:
    """Return the digest of what a module computes; empty if it is gone or cannot be read."""
    try:
        return module_digests(name, source).syntax
    except ConfigError:
        return ""
