"""Lines below the papers' tables: how to read them, what differs, sources and licences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from osad.evaluation import published
from osad.evaluation.comparison import DRAWS
from osad.evaluation.tables.request import Differences, Request

if TYPE_CHECKING:
    import pandas as pd

TEST_SETS = {
    "general": "Test sets: all test normals and all anomalies but the 10 drawn for training; the "
    "same for every number of shots, so that M = 1 and M = 10 compare.",
    "hard": "Test sets: all test normals and all anomalies of the classes other than the known "
    "one; the same for every number of shots.",
    "normal": "Test sets: all test normals and all anomalies. They are larger than those of the "
    "general setting, so the two do not compare.",
}


def value_text(value: Any) -> str:
    """Return a hyper-parameter's value as printed.

    Example:
        >>> value_text(0.001), value_text(False), value_text((16, 32)), value_text("mean")
        ('0.001', 'false', '16+32', 'mean')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "+".join(map(value_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def differences_text(differences: Differences) -> str:
    """Return how hyper-parameters differ.

    Example:
        >>> differences_text({"epochs": (20, 50), "dpl": (False, True)})
        'dpl false instead of true, epochs 20 instead of 50'
    """
    return ", ".join(
        f"{name} {value_text(value)} instead of {value_text(other)}"
        for name, (value, other) in sorted(differences.items())
    )


def footers(
    setting: str, rows: pd.DataFrame, *, request: Request, methods_in_rows: bool = False
) -> tuple[str, ...]:
    """Return the lines below the table of a setting, which has these rows of ``summary.csv``."""
    used = [method for method in request.methods if method in set(rows.method)]
    known = [request.datasets[name] for name in rows.dataset.unique()]
    lines = [
        f"ours: mean ± standard deviation (n-1) over n seeds; n = {rows.n_seeds.max()} except "
        f"where shown. Bold: the best of ours in its {'column' if methods_in_rows else 'row'}, "
        "controls apart, and all that are not distinguishable from it.",
        "to the best: ours minus the best of ours, and an interval that covers two of 95 %: over "
        "seeds (Student's t of the paired differences) and over test images (percentiles of "
        f"{DRAWS:,} bootstrap draws, stratified by label, the same for all methods and seeds; the "
        "mean over seeds of each draw). Not distinguishable: 0 is in one of them, so in what "
        "covers them. Both stand in comparison.csv. They are not corrected for the number of "
        "methods, nor for the best being the best of these runs.",
        "published: as printed, beside ours. DRA, AHL and MPFM ran 3 seeds, DPDL 5; the papers "
        "do not say whether their standard deviations use n or n-1.",
        *(
            ["published range: lowest and highest of what several papers print; summary.csv has "
             "every value with its sources."]
            if (rows.published_lowest < rows.published_highest).any() else []
        ),
        TEST_SETS[setting],
        *_backbones(used, request),
        *_budgets(used, request),
        *([] if methods_in_rows else _variants(used, request)),
        *request.notes,
        *_sources(rows, request),
        *(
            ["Controls prove splits, labels and scoring: true labels must give 1, constant scores "
             "exactly 0.5, random scores about 0.5."]
            if set(used) & set(request.controls) else []
        ),
        *(f"Data: {info.title}: {info.licence}; {info.citation}" for info in known),
    ]  # fmt: skip
    return (*lines, *dict.fromkeys(note for info in known for note in info.notes))


def _titles(methods: Iterable[str], request: Request) -> str:
    """Name methods, in the order of the grid."""
    return ", ".join(request.title(name) for name in request.methods if name in set(methods))


def _backbones(used: Iterable[str], request: Request) -> list[str]:
    """List the methods of each backbone; methods without one come last."""
    methods: dict[str, list[str]] = {}
    for name in used:
        if name not in request.controls:
            methods.setdefault(request.methods[name].backbone, []).append(name)
    return [
        (f"Backbone {name}: " if name else "No network: ") + f"{_titles(methods[name], request)}."
        for name in sorted(methods, key=lambda name: (not name, name))
    ]


def _budgets(used: Iterable[str], request: Request) -> list[str]:
    """Name the methods that ran with less than a full budget.

    A variant is named only where its method does not say the same already.
    """
    parts = []
    for name in used:
        base = name.split(".")[0]
        said = request.methods[base].cuts if base != name and base in used else {}
        cuts = {n: pair for n, pair in request.methods[name].cuts.items() if said.get(n) != pair}
        if cuts:
            parts.append(f"{request.title(name)} {differences_text(cuts)}")
    return [f"Budget cut: {'; '.join(parts)}."] if parts else []


def _variants(used: Iterable[str], request: Request) -> list[str]:
    """Say what makes each variant."""
    changes = {name: differences_text(request.methods[name].changes) for name in used}
    parts = [f"{request.title(name)} {text}" for name, text in changes.items() if text]
    return [f"Variants: {'; '.join(parts)}."] if parts else []


def _sources(rows: pd.DataFrame, request: Request) -> list[str]:
    """List the methods of each source of printed numbers, then what to know about them."""
    rows = rows[rows.published_mean.notna()]
    return [
        *(
            f"Published numbers of {_titles(methods, request)}: {source}."
            for source, methods in rows.groupby("published_source").method
        ),
        *(text for methods, text in published.CAVEATS if rows.method.isin(methods).any()),
    ]
