"""Scores of single images that equal those of the run they would have been part of.

The last bits of a matrix product depend on the number of its rows and on the place of a row among
them. So an image of the run's own test set is put where it stood in that set, with copies of
another image in the places of those that are not asked for: its score then has the bits of the
run's. An image that the run has not seen is scored by itself: its score depends on nothing but
the image and the cell, whatever else is scored beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.data.splits import SplitRow
from osad.learn.images import Scores, State
from osad.methods.inputs import image_set
from osad.methods.registry import Method
from osad.predict.images import Found

if TYPE_CHECKING:
    import torch

    from osad.features.packs import Pack
    from osad.learn.network import Network
else:
    torch = lazy("torch")

Score = Callable[[Sequence[Found], Sequence[str]], Scores]
"""Scores images; the second argument has the path that each stands for."""


def places(images: Sequence[Found], test: Sequence[SplitRow]) -> dict[int, int]:
    """Find images in a run's test set by their digests.

    An image that is there twice is taken for the one with the same path, else the first.

    Args:
        images: n images.
        test: the test set, in its order.

    Returns:
        by number of the image, its place in the test set; images not in it are left out.

    Example:
        >>> row = SplitRow("data/a.png", "11", "test", 0, "good")
        >>> places([Found("b.png", "22"), Found("mine/a.png", "11")], [row])
        {1: 0}
    """
    exact = {(row.path, row.sha256): place for place, row in enumerate(test)}
    digest = {row.sha256: place for place, row in reversed([*enumerate(test)])}
    return {
        number: exact.get((image.path, image.sha256), digest[image.sha256])
        for number, image in enumerate(images)
        if image.sha256 in digest
    }


def scorer(
    method: Method,
    state: State,
    packs: Sequence[Pack],
    device: torch.device,
    network: Network | None = None,
) -> Score:
    """Return a function that scores images whose features are in packs, or made by a network."""

    def score(images: Sequence[Found], paths: Sequence[str]) -> Scores:
        rows = [SplitRow(image.path, image.sha256, "test", 0, "good") for image in images]
        loaded = image_set(rows, packs, device, training=False)
        if network is not None:
            loaded = network.joined(loaded).through(state)
        return method.score(state, replace(loaded, paths=tuple(paths)))

    return score


def score_all(images: Sequence[Found], test: Sequence[SplitRow], score: Score) -> Scores:
    """Score images, those of the test set in their places and each other one by itself.

    Args:
        images: n images, at least one.
        test: the run's test set in its order; empty when it is not known.
        score: see `scorer`.

    Returns:
        total and heads (n,) and, where the method gives them, maps (n, h, w), on the CPU.
    """
    known = places(images, test)
    if known:
        # Two images of equal bytes can share a place.
        at = {place: images[number] for number, place in known.items()}
        filler = next(iter(at.values()))
        whole = score(
            [at.get(place, filler) for place in range(len(test))], [row.path for row in test]
        )
    parts = [
        _one(whole, known[n]) if n in known else _one(score([image], [image.path]), 0)
        for n, image in enumerate(images)
    ]
    maps = [part.maps for part in parts if part.maps is not None]
    return Scores(
        torch.cat([part.total for part in parts]),
        {name: torch.cat([part.heads[name] for part in parts]) for name in parts[0].heads},
        torch.cat(maps) if maps else None,
    )


def _one(scores: Scores, row: int) -> Scores:
    """Return the scores of one image as a set of one."""
    rows = slice(row, row + 1)
    return Scores(
        scores.total[rows].cpu(),
        {name: value[rows].cpu() for name, value in scores.heads.items()},
        None if scores.maps is None else scores.maps[rows].detach().cpu(),
    )
