"""What differs in how an output was made, in words."""

import dataclasses
from typing import Any

import pytest

from osad.audit.changes import between, leaves
from osad.audit.ledger import Entry, Ledger
from osad.pipeline.fingerprint import Module

RUN = "results/scores/tiny/all/normal-m0/dra/s0.csv"
LINE = Entry(
    RUN, "1" * 64, 3, "run", "c1", "k1",
    {"cell": "tiny/all/normal-m0/dra/s0", "hyper": {"epochs": 3, "lr": 1, "strides": [16, 32]}},
    {"results/splits/s0.csv": "2" * 64}, {"lock": "3", "python": "3.11"},
)  # fmt: skip


def known(modules: dict[str, str], **changes: Any) -> Ledger:
    """Return a ledger of one line, whose modules have some digests of what they compute."""
    return Ledger(
        {RUN: dataclasses.replace(LINE, **changes)},
        {"c1": "a", "c2": "b"},
        {code: list(modules) for code in ("k1", "k2")},
        {name: Module(f"file of {name} {syntax}", syntax) for name, syntax in modules.items()},
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"sha256": "9" * 64, "inputs": {"results/splits/s0.csv": "8" * 64}}, []),
        ({"params": LINE.params | {"hyper": {"epochs": 4, "lr": 1.0, "strides": [16]}}},
         ["methods.dra.epochs: 3 -> 4", "methods.dra.lr: 1 -> 1.0",
          "methods.dra.strides: [16,32] -> [16]"]),
        ({"params": LINE.params | {"grid": "x" * 300}}, ["grid"]),
        ({"env": {"lock": "4", "python": "3.12"}},
         ["packages of requirements/numeric.lock", "python: 3.11 -> 3.12"]),
        ({"command": "c2"}, ["command of rule run"]),
        ({"inputs": {"results/splits/s1.csv": "2" * 64, "results/splits/s2.csv": "2" * 64}},
         ["other files of results/splits"]),
    ],
)  # fmt: skip
def test_what_is_not_the_same_is_named(changes, told):
    assert between(known({"a": "1"}), known({"a": "1"}, **changes), RUN) == told


def test_modules_that_compute_something_else_are_named():
    old = known({"a": "1", "b": "1", "c": "1"})
    new = known({"a": "1", "b": "2", "d": "1"}, code="k2")
    assert between(old, new, RUN) == ["code b", "code c", "code d"]
    # A file of which only comments changed computes the same.
    text = dataclasses.replace(old, modules=old.modules | {"a": Module("other", "1")})
    assert between(old, dataclasses.replace(text, entries=new.entries), RUN) == []


def test_settings_of_data_are_named_as_a_user_writes_them():
    old, new = (
        known({}, params={"dataset": "mine", "settings": {"title": title}}) for title in "ab"
    )
    assert between(old, new, RUN) == ["datasets.mine.title: a -> b"]


def test_values_of_another_type_differ():
    assert [*leaves({"a": 1, "b": {"c": 0}}, {"a": True, "b": {}})] == [
        ("a", 1, True), ("b.c", 0, None),
    ]  # fmt: skip
