"""Scores of single images: the bits of the run, and of nothing but the image."""

import dataclasses
import functools

import learn_cases
import pytest
import torch
from learn_cases import Packs

from osad.data.splits import SplitRow
from osad.learn.images import Scores
from osad.methods import registry
from osad.methods.trial import BUDGET
from osad.predict.images import Found
from osad.predict.scoring import places, score_all

one_thread = learn_cases.one_thread


def row(path: str, digest: str) -> SplitRow:
    return SplitRow(path, digest, "test", 0, "good")


NORMALS, ANOMALIES = tuple(range(30)), (100, 101, 102, 103)
TEST = (*range(30, 100), *range(104, 120))
"""86 images: a full batch of 64, and a rest."""
NAMES = [name for name in registry.modules() if name != "true_labels"]


@functools.cache
def packs() -> Packs:
    return Packs("predict", 100, 20)


def build(name: str):
    spec = registry.get(name)
    fields = {field.name for field in dataclasses.fields(spec.hyper)}
    return spec.build(spec.resolve({key: BUDGET[key] for key in BUDGET.keys() & fields}))


@functools.cache
def fitted(name: str):
    base = registry.get(name).base
    data = packs().training(NORMALS, ANOMALIES, "cell")
    return build(name).fit(dataclasses.replace(data, base=fitted(base) if base else None))


def made(index: int) -> str:
    return f"data/raw/made/{index:03d}.png"


def score_of(name: str):
    def score(images, paths):
        found = packs().images([int(image.sha256) for image in images])
        return build(name).score(fitted(name), dataclasses.replace(found, paths=tuple(paths)))

    return score


@functools.cache
def whole(name: str) -> Scores:
    """Return the scores of the whole test set, as the score step computes them."""
    return build(name).score(fitted(name), packs().images(TEST))


SPLIT = [row(made(index), str(index)) for index in TEST]
PARTS = [(45,), (30, 31), (99, 31, 110, 58, 119), TEST[3:70]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(len(part)))
def test_test_images_have_the_bits_of_the_run(name, part):
    images = [Found(f"elsewhere/{index}.png", str(index)) for index in part]
    found, run = score_all(images, SPLIT, score_of(name)), whole(name)
    rows = [TEST.index(index) for index in part]
    assert torch.equal(found.total, run.total[rows])
    assert list(found.heads) == list(run.heads)
    for head, values in found.heads.items():
        assert torch.equal(values, run.heads[head][rows])
    assert (found.maps is None) == (run.maps is None)
    if run.maps is not None:
        assert torch.equal(found.maps, run.maps[rows])


@pytest.mark.parametrize("name", NAMES)
def test_new_images_are_scored_alike_in_any_company(name):
    """Alone, with others, and beside test images; close to what the run would have given."""
    new = [Found(made(index), str(index)) for index in (60, 104, 31)]
    alone = [score_all([image], [], score_of(name)).total for image in new]
    known = Found("a.png", "99")
    split = [line for line in SPLIT if line.sha256 not in {image.sha256 for image in new}]
    found = score_all([new[0], known, *new[1:]], split, score_of(name)).total
    assert torch.equal(found[[0, 2, 3]], torch.cat(alone))
    expected = whole(name).total[[TEST.index(int(image.sha256)) for image in new]]
    torch.testing.assert_close(torch.cat(alone), expected, rtol=1e-3, atol=1e-4)


def test_images_are_found_in_the_test_set_by_their_digests():
    test = [row("x/a.png", "1"), row("x/b.png", "2"), row("x/c.png", "1")]
    named = [("new.png", 9), ("copy.png", 1), ("x/c.png", 1), ("x/b.png", 2), ("x/a.png", 7)]
    images = [Found(path, str(digest)) for path, digest in named]
    assert places(images, test) == {1: 0, 2: 2, 3: 1}


def test_images_stand_where_they_stood():
    asked = []

    def score(images, paths):
        asked.append(([image.path for image in images], list(paths)))
        values = torch.arange(len(images), dtype=torch.float32)
        return Scores(values, {"part": -values}, values[:, None, None])

    test = [row(f"x/{letter}.png", letter) for letter in "abcd"]
    images = [Found("new.png", "9"), Found("u/c.png", "c"), Found("u/b.png", "b")]
    scores = score_all(images, test, score)
    stood = [f"x/{letter}.png" for letter in "abcd"]
    assert asked == [
        (["u/c.png", "u/b.png", "u/c.png", "u/c.png"], stood), (["new.png"], ["new.png"]),
    ]  # fmt: skip
    assert scores.total.tolist() == [0, 2, 1]
    assert scores.heads["part"].tolist() == [0, -2, -1]
    assert scores.maps.flatten().tolist() == [0, 2, 1]
