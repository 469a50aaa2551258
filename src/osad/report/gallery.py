"""The images that the page shows of every method of a place, to compare methods by them."""

from __future__ import annotations

from collections.abc import Sequence

from osad.data.manifest import NORMAL_CLASS
from osad.data.splits import SplitRow

NORMAL, ANOMALOUS = 4, 8
"""Most images of each kind."""


def chosen(splits: Sequence[Sequence[SplitRow]]) -> list[SplitRow]:
    """Return the images of a gallery: the same ones for all methods, without a look at scores.

    They are tested in every split. Those with the lowest digests are as good as drawn by chance,
    and stay the same when images are added that are not among them; defect classes take turns.

    Args:
        splits: rows of one place's splits, one a seed.

    Returns:
        anomalous images, then normal ones.

    Example:
        >>> rows = [SplitRow(c + d, d, "test", 1, c) for c in "xy" for d in "cab"]
        >>> [row.path for row in chosen([rows, rows[1:]])][:4]
        ['xa', 'ya', 'xb', 'yb']
    """
    tested = [{row.path: row for row in rows if row.role == "test"} for rows in splits]
    everywhere = [
        row for path, row in (tested[0] if tested else {}).items()
        if all(path in rows for rows in tested)
    ]  # fmt: skip
    turns: dict[str, list[SplitRow]] = {}
    for row in sorted(everywhere, key=lambda row: row.sha256):
        turns.setdefault(row.class_name, []).append(row)
    normal = turns.pop(NORMAL_CLASS, [])
    anomalous = sorted(
        (turn, name) for name, rows in turns.items() for turn in range(len(rows))
    )  # fmt: skip
    return [turns[name][turn] for turn, name in anomalous[:ANOMALOUS]] + normal[:NORMAL]
