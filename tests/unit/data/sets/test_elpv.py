"""ELPV: out of its package, with the published counts."""

import importlib.metadata
from pathlib import Path

import pytest
from data_cases import DIGEST, fetch, manifest, sha256, tree

from osad.core.errors import CheckError, DataError
from osad.data import registry
from osad.data.images import open_verified
from osad.data.manifest import read_manifest
from osad.data.sets import elpv as elpv_set
from osad.data.source import read_source


def test_classes_are_those_of_the_paper(monkeypatch):
    spec = registry.get("elpv")
    assert spec.known_classes("all") == ("mono", "poly")
    assert not spec.single_class("all")
    counts = spec.expected["all"]
    assert (counts.train_normal, counts.test_normal) == (1131, 377)
    assert counts.anomalies == {"mono": 313, "poly": 402}
    monkeypatch.setattr(elpv_set, "CELLS", 4)
    labels = ["1.0                 mono", "0.0 poly", "0.3333333333333333  mono", "1.0 poly"]
    lines = [f"images/cell000{n}.png  {label}" for n, label in enumerate(labels, start=1)]
    assert elpv_set.parse_labels("\n".join(lines), "labels.csv") == {
        "images/cell0001.png": "mono", "images/cell0002.png": "good", "images/cell0004.png": "poly",
    }  # fmt: skip
    with pytest.raises(CheckError, match="expected 4 lines, found 3"):
        elpv_set.parse_labels("\n".join(lines[:3]), "labels.csv")
    with pytest.raises(DataError, match=r"labels\.csv, line 4"):
        elpv_set.parse_labels("\n".join([*lines[:3], "../x.png 1.0 mono"]), "labels.csv")


def test_only_what_is_used_is_copied(elpv):
    records = read_manifest("data/manifests/elpv-all.csv")
    assert len({r.sha256 for r in records}) == len(records) == 2223
    first = records[0]
    assert first.path == "data/raw/elpv/images/cell0001.png"
    assert first.sha256 == sha256(Path(first.path).read_bytes())
    image = open_verified(Path(first.path), first.sha256)
    assert (image.mode, image.size) == ("RGB", (300, 300))
    source = read_source(Path("data/raw/elpv/SOURCE.json"))
    assert source.source == "elpv-dataset==1.0.0.post1"
    assert {*tree(Path("data/raw/elpv"))} == {*source.files, "SOURCE.json"}
    assert len(source.files) == 2224


def test_a_changed_image_is_found_and_a_fetch_repairs_it(elpv):
    source, image = Path("data/raw/elpv/SOURCE.json"), Path("data/raw/elpv/images/cell0002.png")
    before, content = source.read_bytes(), image.read_bytes()
    image.write_bytes(content[:100])
    Path("data/manifests/elpv-all.csv").rename("m.csv")
    with pytest.raises(CheckError, match=r"cell0002\.png: its content has changed"):
        manifest("elpv")
    assert not Path("data/manifests/elpv-all.csv").exists()
    Path("m.csv").rename("data/manifests/elpv-all.csv")
    source.unlink()
    fetch("elpv")
    assert source.read_bytes() == before
    assert image.read_bytes() == content


def test_other_content_or_another_package_is_refused(project, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(elpv_set, "CONTENT_SHA256", DIGEST)
        with pytest.raises(CheckError, match="content digest"):
            fetch("elpv")
    assert not Path("data/raw/elpv/SOURCE.json").exists()
    for version, message in (
        (missing, r"pip install elpv-dataset==1\.0\.0\.post1"),
        (lambda name: "2.0", r"2\.0 is installed, expected 1\.0\.0\.post1"),
    ):
        monkeypatch.setattr(importlib.metadata, "version", version)
        with pytest.raises(DataError, match=message):
            fetch("elpv")
