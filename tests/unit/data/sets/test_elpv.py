"""ELPV: out of its package, with the published counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_cases import DIGEST, build, fetch, manifest, sha256, tree

from osad.core.errors import CheckError, DataError
from osad.data import registry
from osad.data.images import open_verified
from osad.data.manifest import read_manifest
from osad.data.sets import elpv
from osad.data.source import read_source


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    root = tmp_path_factory.mktemp("elpv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        build("elpv")  # Its counts are checked.
    return root


@pytest.fixture
def elpv_project(fetched, monkeypatch):
    monkeypatch.chdir(fetched)


def test_classes_are_those_of_the_paper():
    spec = registry.get("elpv")
    assert spec.known_classes("all") == ("mono", "poly")
    assert not spec.single_class("all")
    counts = spec.expected["all"]
    assert (counts.train_normal, counts.test_normal) == (1131, 377)
    assert counts.anomalies == {"mono": 313, "poly": 402}


def test_only_what_is_used_is_copied(elpv_project):
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


def test_a_changed_image_is_found_and_a_fetch_repairs_it(elpv_project):
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


def test_other_content_is_refused(project, monkeypatch):
    monkeypatch.setattr(elpv, "CONTENT_SHA256", DIGEST)
    with pytest.raises(CheckError, match="content digest"):
        fetch("elpv")
    assert not Path("data/raw/elpv/SOURCE.json").exists()


def test_without_its_package(project, monkeypatch):
    def missing(name):
        raise elpv.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(elpv.importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"pip install elpv-dataset==1\.0\.0\.post1"):
        fetch("elpv")
    monkeypatch.setattr(elpv.importlib.metadata, "version", lambda name: "2.0")
    with pytest.raises(DataError, match=r"2\.0 is installed, expected 1\.0\.0\.post1"):
        fetch("elpv")


def test_labels(monkeypatch):
    monkeypatch.setattr(elpv, "CELLS", 4)
    lines = [
        "images/cell0001.png  1.0                 mono",
        "images/cell0002.png  0.0                 poly",
        "images/cell0003.png  0.3333333333333333  mono",
        "images/cell0004.png  1.0                 poly",
    ]
    assert elpv.parse_labels("\n".join(lines), "labels.csv") == {
        "images/cell0001.png": "mono",
        "images/cell0002.png": "good",
        "images/cell0004.png": "poly",
    }
    with pytest.raises(CheckError, match="expected 4 lines, found 3"):
        elpv.parse_labels("\n".join(lines[:3]), "labels.csv")
    with pytest.raises(DataError, match=r"labels\.csv, line 4"):
        elpv.parse_labels("\n".join([*lines[:3], "../x.png 1.0 mono"]), "labels.csv")
