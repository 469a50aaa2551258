"""Three criteria for a method's hyper-parameters, none of which sees a test image of the tables.

``development``: the test sets of data sets that no table is judged by. ``left_out``: a fifth of the
training normals against half of the seen anomalies, all but one, or those of other classes, none
of them trained on.
``pseudo``: the same normals against pseudo anomalies made of them by generators that no training
uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.core.seeds import numpy_generator
from osad.data.splits import SplitRow, read_split
from osad.evaluation.metrics import auroc
from osad.features.packs import Pack, level_name
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.methods import registry
from osad.methods.inputs import image_set, of_role, open_packs
from osad.runtime.device import make_deterministic

CRITERIA = ("development", "left_out", "pseudo")
FOLDS = 5


@dataclass(frozen=True)
class Trial:
    """One fit and what it is judged by.

    Attributes:
        criterion: one of `CRITERIA`.
        run: the run whose split, packs and hyper-parameters are taken.
        hyper: all hyper-parameters.
        base: those of the method's base, if it has one.
        split: path of the split.
        packs: paths of the feature packs, with ``holdout`` last for ``pseudo``.
        fold: which fifth of the normals, and half of the seen anomalies, is left out.
        single: of the seen anomalies only the one with this number is trained on.
        known: of the seen anomalies only those of this class are trained on.
    """

    criterion: str
    run: Cell
    hyper: Mapping[str, Any]
    base: Mapping[str, Any] | None
    split: str
    packs: Sequence[str]
    fold: int = 0
    single: int | None = None
    known: str = ""

    @property
    def group(self) -> str:
        """What means are taken over seeds and folds of."""
        part = f", {self.known} alone" if self.known else ""
        part = part if self.single is None else ", one of ten"
        return f"{self.criterion} {self.run.dataset} {self.run.protocol}{part}"


def evaluate(trial: Trial) -> dict[str, float]:
    """Fit and return the AUROC of the total and of each head, and the seconds of the fit.

    Nothing is returned where all seen anomalies are of the known class, or none is.
    """
    make_deterministic()
    spec = registry.get(trial.run.method)
    rows = read_split(Path(trial.split))
    files = [*map(Path, trial.packs)]
    holdout = Pack.open(files.pop()) if trial.criterion == "pseudo" else None
    packs = open_packs(files, spec)
    parts = _parts(trial, rows)
    if trial.known and not (parts["seen"] and parts["high"]):
        return {}
    start = time.perf_counter()
    model, state = _fit(trial, spec, packs, parts)
    seconds = time.perf_counter() - start
    scored = [
        model.score(state, _images(packs, parts[role])) for role in ("low", "high") if role in parts
    ]
    if holdout is not None:
        scored += [model.score(state, images) for images in _pseudo(holdout, parts["low"])]
    low, high = scored[0], scored[1:]
    return {"seconds": seconds, **_rates(low, high)}


def _parts(trial: Trial, rows: Sequence[SplitRow]) -> dict[str, list[SplitRow]]:
    """Return the images that are trained on and those that are ranked, by role."""
    normal, seen = of_role(rows, "train_normal"), of_role(rows, "train_anomaly")
    if trial.criterion == "development":
        test = of_role(rows, "test")
        return {
            "normal": normal,
            "seen": seen,
            "low": [row for row in test if not row.label],
            "high": [row for row in test if row.label],
        }
    order = numpy_generator("selection", trial.run.seed).permutation(len(normal))
    held = {*order[trial.fold :: FOLDS].tolist()}
    parts = {
        "normal": [row for place, row in enumerate(normal) if place not in held],
        "low": [row for place, row in enumerate(normal) if place in held],
        "seen": seen,
    }
    if trial.criterion == "left_out":
        if trial.known:
            out = {place for place, row in enumerate(seen) if row.class_name != trial.known}
        elif trial.single is None:
            out = {*range(trial.fold, len(seen), 2)}
        else:
            out = {*range(len(seen))} - {trial.single}
        parts["seen"] = [row for place, row in enumerate(seen) if place not in out]
        parts["high"] = [row for place, row in enumerate(seen) if place in out]
    return parts


def _images(packs: Sequence[Pack], rows: Sequence[SplitRow], *, training: bool = False) -> ImageSet:
    return image_set(rows, packs, torch.device("cpu"), training=training)


def _fit(
    trial: Trial,
    spec: registry.MethodSpec,
    packs: Sequence[Pack],
    parts: Mapping[str, list[SplitRow]],
) -> tuple[registry.Method, State]:
    key = f"selection/{trial.run}/{trial.fold}/{trial.known or trial.single}"
    normal, seen = (_images(packs, parts[name], training=True) for name in ("normal", "seen"))
    data = TrainingData(normal, seen, key)
    if trial.base is not None:
        base = registry.get(spec.base).build(trial.base)
        data = replace(data, base=base.fit(data))
    model = spec.build(trial.hyper)
    return model, model.fit(data)


def _pseudo(holdout: Pack, rows: Sequence[SplitRow]) -> Iterator[ImageSet]:
    """Yield the images with one kind of pseudo anomaly each."""
    index = holdout.rows([row.path for row in rows], [row.sha256 for row in rows])
    for kind in range(holdout.info.views):
        maps = {
            stride: Rows(holdout.tensor(level_name(stride))[:, kind], index, torch.device("cpu"))
            for stride in holdout.info.strides
        }
        yield ImageSet(tuple(row.path for row in rows), maps)


def _rates(low: Scores, high: Sequence[Scores]) -> dict[str, float]:
    """Return the AUROC of each part of the score, mean over kinds of anomalies."""
    result: dict[str, float] = {}
    for name in ("total", *low.heads):
        values = []
        for one in high:
            first, second = (s.total if name == "total" else s.heads[name] for s in (low, one))
            labels = [0] * len(first) + [1] * len(second)
            values.append(auroc(torch.cat([first, second]).numpy(), labels))
        result[name] = sum(value for value in values if value is not None) / len(values)
    return result
