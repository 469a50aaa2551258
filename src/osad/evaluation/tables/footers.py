"""Lines below the papers' tables: how to read them, what differs, sources and licences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from osad.evaluation import published
from osad.evaluation.tables.cells import CellRow
from osad.evaluation.tables.request import Differences, Request
from osad.evaluation.tables.summary import SummaryRow

METHOD_TITLES = {
    "mahalanobis": "Mahalanobis",
    "mahalanobis_lda": "Mahalanobis + LDA",
    "mean_intensity": "Mean intensity",
    "true_labels": "True labels",
    "random": "Random",
    "constant": "Constant",
}

TEST_SETS = {
    "general": "Test sets: all test normals and all anomalies but the 10 drawn for training; the "
    "same for every number of shots, so that M = 1 and M = 10 compare.",
    "hard": "Test sets: all test normals and all anomalies of the classes other than the known "
    "one; the same for every number of shots.",
    "normal": "Test sets: all test normals and all anomalies. They are larger than those of the "
    "general setting, so the two do not compare.",
}


def method_title(method: str) -> str:
    """Return a method's name as printed, its variant in brackets.

    Example:
        >>> method_title("wt_flow"), method_title("dpdl.no_dfl")
        ('WT-Flow', 'DPDL (no dfl)')
    """
    titles = {**published.METHODS, **METHOD_TITLES}
    if method in titles:
        return titles[method]
    base, _, variant = method.partition(".")
    title = titles.get(base, base)
    return f"{title} ({variant.replace('_', ' ')})" if variant else title


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
        'epochs 20 instead of 50, dpl false instead of true'
    """
    return ", ".join(
        f"{name} {value_text(value)} instead of {value_text(other)}"
        for name, (value, other) in differences.items()
    )


def footers(
    setting: str,
    rows: Sequence[SummaryRow],
    *,
    cells: Sequence[CellRow],
    request: Request,
    methods_in_rows: bool = False,
) -> tuple[str, ...]:
    """Return the lines below a table.

    Args:
        setting: name of the table.
        rows: its rows of ``summary.csv``.
        cells: its rows of ``cells.csv``.
        request: notes and texts on data sets.
        methods_in_rows: whether the table has methods in rows, not in columns.
    """
    n_seeds = max(row.n_seeds for row in rows)
    lines = [
        f"ours: mean ± standard deviation (n-1) over n seeds; n = {n_seeds} except where shown. "
        f"Bold: the best of ours in its {'column' if methods_in_rows else 'row'}, controls apart.",
        "published: as printed, beside ours. DRA, AHL and MPFM ran 3 seeds, DPDL 5; the papers "
        "do not say whether their standard deviations use n or n-1.",
        TEST_SETS[setting],
        *_backbones(cells, request),
        *_budgets(rows, request),
        *([] if methods_in_rows else _variants(rows, request)),
        *request.notes,
        *_sources(rows, request),
    ]
    if any(row.method in request.controls for row in rows):
        lines.append(
            "Controls prove splits, labels and scoring: true labels must give 1, constant scores "
            "exactly 0.5, random scores about 0.5."
        )
    used = dict.fromkeys(row.dataset for row in rows)
    known = [request.datasets[dataset] for dataset in used if dataset in request.datasets]
    lines += [f"Data: {info.title}: {info.licence}; {info.citation}" for info in known]
    lines += dict.fromkeys(note for info in known for note in info.notes)
    return tuple(lines)


def _backbones(cells: Sequence[CellRow], request: Request) -> list[str]:
    """List the methods of each backbone; methods without one come last."""
    methods: dict[str, set[str]] = {}
    for row in cells:
        if row.method not in request.controls:
            methods.setdefault(row.backbone, set()).add(row.method)
    lines = []
    for backbone in sorted(methods, key=lambda name: (not name, name)):
        names = ", ".join(method_title(m) for m in request.methods if m in methods[backbone])
        lines.append(f"Backbone {backbone}: {names}." if backbone else f"No network: {names}.")
    return lines


def _budgets(rows: Sequence[SummaryRow], request: Request) -> list[str]:
    """Name the methods that ran with less than a full budget.

    A variant is named only where its method does not say the same already.
    """
    used = {row.method for row in rows}
    texts = []
    for method in request.methods:
        base = method.split(".")[0]
        said = request.cuts.get(base, {}) if base != method and base in used else {}
        cuts = {n: pair for n, pair in request.cuts.get(method, {}).items() if said.get(n) != pair}
        if method in used and cuts:
            texts.append(f"{method_title(method)} {differences_text(cuts)}")
    return [f"Budget cut: {'; '.join(texts)}."] if texts else []


def _variants(rows: Sequence[SummaryRow], request: Request) -> list[str]:
    """Say what makes each variant."""
    used = {row.method for row in rows}
    texts = [
        f"{method_title(method)} {differences_text(request.changes[method])}"
        for method in request.methods
        if method in used and request.changes.get(method)
    ]
    return [f"Variants: {'; '.join(texts)}."] if texts else []


def _sources(rows: Sequence[SummaryRow], request: Request) -> list[str]:
    """List the methods of each source of printed numbers, then what to know about them."""
    methods: dict[str, set[str]] = {}
    for row in rows:
        if row.published_mean is not None:
            methods.setdefault(row.published_source, set()).add(row.method)
    lines = []
    for source in sorted(methods):
        names = ", ".join(method_title(m) for m in request.methods if m in methods[source])
        lines.append(f"Published numbers of {names}: {source}.")
    quoted = {method for names in methods.values() for method in names}
    # Two methods may share a caveat; "ahl.devnet" has that of "ahl", FLOS that of DevNet.
    keys = {{"ahl.devnet": "ahl", "flos": "devnet"}.get(method, method) for method in quoted}
    return lines + [text for method, text in published.CAVEATS.items() if method in keys]
