"""The registry of data sets, expected counts, the 3:1 division, and raw files with their list."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_cases import DIGEST, fetch_main, put, sha256

import osad
from osad.core.errors import CheckError, ConfigError, DataError
from osad.data import registry
from osad.data.manifest import Record, three_to_one
from osad.data.source import fill, read_source


def test_importing_the_registry_is_cheap():
    code = (
        "import sys; from osad.data.registry import get, names; [get(name) for name in names()];"
        "get('mine', {'layout': 'folder', 'raw_path': 'x'}); import osad.data.splits;"
        "bad = {'torch', 'sklearn', 'pandas', 'timm', 'requests'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_are_those_of_the_modules():
    for name in registry.names():
        assert registry.get(name).name == name
    with pytest.raises(ConfigError, match="no category 'carpet'"):
        registry.get("elpv").check_category("carpet")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nothing", {}, "'nothing' is unknown; known are .*elpv"),
        ("manifest", {}, "unknown"),
        ("../elpv", {}, "unknown"),
        ("elpv", {"raw_path": "x"}, "unknown setting 'raw_path'"),
        ("elpv", {"layout": "folder", "raw_path": "x"}, "comes with the package"),
        ("mine", {"layout": "tree"}, "unknown layout 'tree'"),
        ("Mine", {"layout": "folder", "raw_path": "x"}, "choose a name"),
        ("mine", {"layout": "folder"}, "'raw_path' must be a text"),
        ("mine", {"layout": "folder", "raw_path": "x", "colour": 1}, "unknown setting 'colour'"),
        ("mine", {"layout": "folder", "raw_path": "x", "table": "y"}, "unknown setting 'table'"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": "a"}, "must be a list"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": [1]}, "not 1$"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": ["good"]}, "without good"),
        ("mine", {"layout": "folder", "raw_path": "x", "defect_classes": ["a", "a"]}, "twice"),
        ("mine", {"layout": "csv", "raw_path": "x"}, "'table' must be a text"),
        ("mine", {"layout": "csv", "table": "x"}, "'raw_path' must be a text"),
        ("mine", {"layout": "csv", "raw_path": "x", "table": ["y"]}, "'table' must be a text"),
    ],
)
def test_wrong_data_sets_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        registry.get(name, settings)


TILES = """
from osad.data.layouts.reading import divided_files
from osad.data.fetch.original import published
from osad.data.registry import DatasetSpec

def raw_files(unpacked, settings):
    return divided_files({path.name: path.read_bytes for path in unpacked.glob("*.png")}) | {
        "test/crack/x.png": (unpacked / "cracks/x.png").read_bytes
    }

SPEC = DatasetSpec(name="tiles", title="Tiles", homepage="", licence="CC0", licence_note="",
    citation="", fetch=published(raw_files, source="tiles"), settings=("raw_path",),
    defect_classes={"all": ("crack", "dirt")})
"""
NETWORK = """
from dataclasses import replace
from osad.backbones.efficientnet_lite import EFFICIENTNET_LITE0

BACKBONES = (replace(EFFICIENTNET_LITE0, name="mine"),)
"""


def test_a_data_set_and_a_backbone_are_one_file_each(tmp_path):
    """In a copy of the package, whose other files stay as they are."""
    package = Path(osad.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(package, tmp_path / "src/osad", ignore=ignored)
    put(tmp_path / "src/osad", {"data/sets/tiles.py": TILES.encode(),
                                "data/sets/wrong.py": TILES.encode(),
                                "backbones/mine.py": NETWORK.encode()})  # fmt: skip
    put(tmp_path / "my", {f"{number}.png": b"%d" % number for number in range(4)})
    put(tmp_path / "my", {"cracks/x.png": b"x"})
    code = """
from osad import backbones
from osad.core.errors import ConfigError
from osad.data import registry
from osad.pipeline.steps import fetch, manifest

options = ["--dataset", "tiles", "--settings", '{"raw_path": "my"}']
[source] = fetch.main([*options, "--output", "data/raw/tiles/SOURCE.json"])
options += ["--category", "all", "--source", str(source), "--output", "m.csv"]
assert len(open(manifest.main(options)[0]).readlines()) == 6
assert registry.module("tiles") == "osad.data.sets.tiles"
assert not registry.get("tiles").single_class("all")
try:
    registry.get("wrong")
except ConfigError as error:
    assert "wrong.py has no SPEC of a data set 'wrong'" in str(error)
assert backbones.get_backbone("mine").levels[32] == 320
assert backbones.module("mine") == "osad.backbones.mine"
"""
    environment = {"PYTHONPATH": "src", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)


def test_wrong_counts_are_named():
    rows = [("a", 0, "good", "train"), ("b", 0, "good", "test"), ("c", 1, "mono", "test")]
    records = [Record(*row) for row in rows]
    registry.check_counts(records, registry.Counts(1, 1, {"mono": 1}), where="x/all")
    for counts, message in [
        (registry.Counts(2, 1, {"mono": 1}), "expected 2 normal training images, found 1"),
        (registry.Counts(1, 3, {"mono": 1}), "expected 3 normal test images, found 1"),
        (registry.Counts(1, 1, {"mono": 1, "poly": 2}), "expected 2 images of class 'poly'"),
        (registry.Counts(1, 1, {"drt": 1}, total=1), "expected 1 images of class 'drt', found 0"),
        (registry.Counts(1, 1, {}), "expected 0 images of class 'mono', found 1"),
    ]:
        with pytest.raises(CheckError, match=f"x/all: {message}"):
            registry.check_counts(records, counts, where="x/all")


@pytest.mark.parametrize("count", [2, 5, 98, 1508])
def test_three_to_one_is_the_permutation_of_scikit_learn(count):
    paths = [f"{number:04d}" for number in range(count)]
    order = np.random.RandomState(42).permutation(count)
    expected = {paths[index] for index in order[: math.ceil(count / 4)]}
    train, test = three_to_one(reversed(paths))
    assert test == expected
    assert train == set(paths) - expected
    with pytest.raises(DataError, match="at least 2"):
        three_to_one(["a"])


def test_an_interrupted_fetch_does_not_look_complete(project):
    raw = project / "data/raw/x"
    files = {"b.png": lambda: b"two", "a.png": lambda: b"one"}
    fill(raw, "x", source="test", files=files)
    first = (raw / "SOURCE.json").read_bytes()
    digests = {"a.png": sha256(b"one"), "b.png": sha256(b"two")}
    assert read_source(raw / "SOURCE.json").files == digests
    before = (raw / "a.png").stat()

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(raw, "x", source="test", files=files | {"b.png": interrupted})
    assert not (raw / "SOURCE.json").exists()
    (raw / ".b.png.123.part").write_bytes(b"tw")
    fill(raw, "x", source="test", files=files)
    assert (raw / "SOURCE.json").read_bytes() == first
    assert sorted(path.name for path in raw.iterdir()) == ["SOURCE.json", "a.png", "b.png"]
    after = (raw / "a.png").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns), "kept"
    put(raw, {"holiday.png": b"mine"})
    with pytest.raises(DataError, match=r"holiday\.png: is not a file of this data set"):
        fill(raw, "x", source="test", files=files)
    assert (raw / "holiday.png").read_bytes() == b"mine"


HOSTILE = [
    {"files": files} for files in ({}, {"../a": DIGEST}, {"/a": DIGEST}, {"a": "12"}, {"a": 12})
]


@pytest.mark.parametrize(
    "content", [[], *({"dataset": "x", "source": "s"} | h for h in ({}, *HOSTILE))]
)
def test_hostile_sources_are_refused(tmp_path, content):
    path = tmp_path / "SOURCE.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"SOURCE\.json"):
        read_source(path)


def test_settings_must_be_an_object(project):
    for text in ("[1]", "{", "1"):
        with pytest.raises(ConfigError, match="--settings"):
            fetch_main(["--dataset", "elpv", "--settings", text, "--output", "SOURCE.json"])
    with pytest.raises(ConfigError, match=r"must be SOURCE\.json"):
        fetch_main(["--dataset", "elpv", "--output", "x.json"])
