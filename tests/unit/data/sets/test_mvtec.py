"""MVTec AD's family: original layouts in archives, fetched, listed and counted."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from mvtec_cases import CLASSES, originals_of, write_archive

from osad.core.errors import CheckError, DataError
from osad.core.files import read_json, sha256_bytes
from osad.data import registry
from osad.data.layouts import mvtec as mvtec_layout
from osad.data.manifest import read_manifest
from osad.data.masks import full_mask
from osad.data.registry import Counts
from osad.data.source import read_source
from osad.pipeline.steps.fetch import main as fetch_main
from osad.pipeline.steps.manifest import main as manifest_main
from osad.pipeline.steps.masks import pack

DATASETS = Path(__file__).resolve().parents[5] / "shared" / "datasets"
ALL = sorted(CLASSES)
TWO = {
    "mvtec": ("carpet", "zipper"),
    "mpdd": ("bracket_black", "tubes"),
    "mvtec_loco": ("breakfast_box", "splicing_connectors"),
    "mvtec_3d": ("bagel", "cable_gland"),
    "visa": ("candle", "pipe_fryum"),
}


def small(dataset: str, digest: str) -> registry.DatasetSpec:
    """Return the data set with the digest and the counts of its small copy."""
    spec = registry.get(dataset)
    [archive] = spec.archives
    archive = replace(archive, digest=f"sha256:{digest}", size=None, url="")
    counts = Counts(3, 2, dict.fromkeys(CLASSES[dataset], 2))
    return replace(
        spec,
        fetch=partial(spec.fetch, archives=(archive,)),
        archives=(archive,),
        expected=dict.fromkeys(spec.categories, counts),
    )


def fetched(root: Path, dataset: str) -> dict[str, bytes]:
    """Put the small archive where a user would, fetch it, and return the originals."""
    files = originals_of(dataset)
    [archive] = registry.get(dataset).archives
    digest = write_archive(root / "data/downloads" / dataset / archive.file, files)
    before = registry._registered[dataset]
    registry._registered[dataset] = small(dataset, digest)
    here = Path.cwd()
    os.chdir(root)
    try:
        fetch_main(["--dataset", dataset, "--output", f"data/raw/{dataset}/SOURCE.json"])
    finally:
        os.chdir(here)
        registry._registered[dataset] = before
    return files


@pytest.fixture(scope="module", params=ALL)
def fetch_of(request, tmp_path_factory):
    """A project with the small copy of one data set, fetched: root, data set, originals."""
    root = tmp_path_factory.mktemp(request.param)
    return root, request.param, fetched(root, request.param)


@pytest.fixture
def project(fetch_of, monkeypatch):
    """The same as current directory, with the counts of the small copy."""
    root, dataset, files = fetch_of
    monkeypatch.chdir(root)
    monkeypatch.setitem(registry._registered, dataset, small(dataset, "0" * 64))
    return dataset, files


def manifest(dataset: str, category: str) -> Path:
    path = Path(f"data/manifests/{dataset}/{category}.csv")
    source = f"data/raw/{dataset}/SOURCE.json"
    options = ["--dataset", dataset, "--category", category, "--source", source]
    manifest_main([*options, "--output", str(path)])
    return path


# --- from the archive to the manifest ----------------------------------------------------------


def test_an_archive_becomes_manifests(project):
    dataset, files = project
    originals = {sha256_bytes(content) for content in files.values()}
    for category in TWO[dataset]:
        records = read_manifest(manifest(dataset, category))
        expected = {("train", 0, "good"): 3, ("test", 0, "good"): 2}
        expected |= {("test", 1, name): 2 for name in CLASSES[dataset]}
        assert Counter((r.split, r.label, r.class_name) for r in records) == expected
        for record in records:
            start = f"data/raw/{dataset}/{category}/"
            assert record.path.startswith(f"{start}{record.split}/{record.class_name}/")
            assert record.sha256 == sha256_bytes(Path(record.path).read_bytes())
            assert record.sha256 in originals  # Copied byte for byte.
            assert bool(record.mask) == bool(record.label)
            if record.mask:
                name = f"{record.class_name}/{Path(record.path).stem}_mask.png"
                assert record.mask == f"{start}ground_truth/{name}"
                assert full_mask(Path(record.mask).read_bytes(), record.mask).any()


def test_nothing_else_is_copied(project):
    dataset, _ = project
    source = read_source(Path(f"data/raw/{dataset}/SOURCE.json"))
    raw = Path(f"data/raw/{dataset}")
    on_disk = {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()}
    assert on_disk == {*source.files, "SOURCE.json"}
    n_anomalous = 2 * len(CLASSES[dataset])
    assert len(source.files) == len(registry.get(dataset).categories) * (5 + 2 * n_anomalous)
    assert source.source == registry.get(dataset).archives[0].file


def test_the_archive_stays_and_what_was_unpacked_goes(project):
    dataset, _ = project
    left = {path.name for path in Path(f"data/downloads/{dataset}").iterdir()}
    assert registry.get(dataset).archives[0].file in left
    assert not {"MPDD", *registry.get(dataset).categories} & left


def test_masks_can_be_packed(project):
    dataset, _ = project
    category = TWO[dataset][0]
    source = read_source(Path(f"data/raw/{dataset}/SOURCE.json"))
    packed = pack(read_manifest(manifest(dataset, category)), source, 12)
    assert len(packed.paths) == 2 * len(CLASSES[dataset])
    assert packed.unmasked == ()


def test_a_wrong_count_stops(project, monkeypatch):
    dataset, _ = project
    category = TWO[dataset][1]
    true = registry.get(dataset).expected[category]
    for counts, message in [
        (replace(true, train_normal=4), "expected 4 normal training images, found 3"),
        (
            replace(true, anomalies={}, total=9),
            rf"expected 9 anomalous images, found {true.anomalous}",
        ),
    ]:
        spec = replace(registry.get(dataset), expected={category: counts})
        monkeypatch.setitem(registry._registered, dataset, spec)
        Path(f"data/manifests/{dataset}/{category}.csv").unlink(missing_ok=True)
        with pytest.raises(CheckError, match=f"{dataset}/{category}: {message}"):
            manifest(dataset, category)
        assert not Path(f"data/manifests/{dataset}/{category}.csv").exists()


def test_a_changed_image_is_found(project):
    dataset, _ = project
    category = TWO[dataset][0]
    [image_path] = Path(f"data/raw/{dataset}/{category}/test/good").glob("0*00.*")
    content = image_path.read_bytes()
    image_path.write_bytes(content + b"x")
    try:
        with pytest.raises(CheckError, match="content has changed"):
            manifest(dataset, category)
    finally:
        image_path.write_bytes(content)


def test_a_folder_that_a_user_has_gives_the_same_bytes(project, tmp_path, monkeypatch):
    dataset, files = project
    wanted = Path(f"data/raw/{dataset}/SOURCE.json").read_bytes()
    for name, content in files.items():
        (tmp_path / "my/copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my/copy" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for number, raw_path in enumerate(("my/copy", "my")):
        settings = json.dumps({"raw_path": raw_path})
        output = f"raw-{number}/SOURCE.json"
        fetch_main(["--dataset", dataset, "--settings", settings, "--output", output])
        assert Path(output).read_bytes() == wanted


def test_a_person_is_told_what_to_get(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        r"get MPDD\.zip from https://github\.com/stepanje/MPDD \(needs a download by hand.*\) and "
        "put it into data/downloads/mpdd"
    )
    with pytest.raises(DataError, match=message):
        fetch_main(["--dataset", "mpdd", "--output", "data/raw/mpdd/SOURCE.json"])


def test_another_archive_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive(Path("data/downloads/visa/VisA_20220922.tar"), {"a.txt": b"not VisA"})
    with pytest.raises(CheckError, match=r"VisA_20220922\.tar: its sha256 is .* expected 2eb8690c"):
        fetch_main(["--dataset", "visa", "--output", "data/raw/visa/SOURCE.json"])
    assert not Path("data/raw/visa").exists()


def test_a_set_that_lacks_a_category_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in originals_of("mpdd").items():
        if "/tubes/" not in name:
            Path("my", name).parent.mkdir(parents=True, exist_ok=True)
            Path("my", name).write_bytes(content)
    settings = json.dumps({"raw_path": "my"})
    options = ["--dataset", "mpdd", "--settings", settings]
    with pytest.raises(DataError, match=r"my/MPDD: the folder of the category 'tubes' is missing"):
        fetch_main([*options, "--output", "data/raw/mpdd/SOURCE.json"])
    assert not Path("data/raw/mpdd").exists()


def test_sources_say_nothing_of_the_machine(project):
    dataset, _ = project
    source = read_json(Path(f"data/raw/{dataset}/SOURCE.json"))
    assert set(source) == {"dataset", "source", "files"}
    assert str(Path.cwd()) not in json.dumps(source)


# --- what is published about them ---------------------------------------------------------------

TOTALS = {
    "mvtec": (3629, 467, 1258),
    "mpdd": (888, 176, 282),
    "mvtec_loco": (1778, 575, 993),
    "mvtec_3d": (2656, 249, 948),
    "visa": (8659, 962, 1200),
}


@pytest.mark.parametrize("dataset", ALL)
def test_counts_add_up_to_the_printed_totals(dataset):
    spec = registry.get(dataset)
    assert tuple(spec.expected) == spec.categories
    counts = list(spec.expected.values())
    found = (
        sum(count.train_normal for count in counts),
        sum(count.test_normal for count in counts),
        sum(count.anomalous for count in counts),
    )
    assert found == TOTALS[dataset]


def test_mvtec_has_the_counts_of_the_papers_tables():
    expected = registry.get("mvtec").expected
    printed = {
        "carpet": (280, 28, 89, 5), "grid": (264, 21, 57, 5), "leather": (245, 32, 92, 5),
        "tile": (230, 33, 84, 5), "wood": (247, 19, 60, 5), "bottle": (209, 20, 63, 3),
        "capsule": (219, 23, 109, 5), "pill": (267, 26, 141, 7), "transistor": (213, 60, 40, 4),
        "zipper": (240, 32, 119, 7), "cable": (224, 58, 92, 8), "hazelnut": (391, 40, 70, 4),
        "metal_nut": (220, 22, 93, 4), "screw": (320, 41, 119, 5), "toothbrush": (60, 12, 30, 1),
    }  # fmt: skip
    found = {
        name: (count.train_normal, count.test_normal, count.anomalous, len(count.anomalies))
        for name, count in expected.items()
    }
    assert found == printed
    assert sum(classes for *_, classes in found.values()) == 73


def test_only_two_categories_of_mvtec_have_a_hard_setting():
    spec = registry.get("mvtec")
    hard = {name: spec.known_classes(name) for name in spec.categories if spec.known_classes(name)}
    assert set(hard) == {"carpet", "metal_nut"}
    for name, classes in hard.items():
        assert set(classes) == set(spec.expected[name].anomalies)
        assert all(spec.expected[name].anomalies[known] >= 10 for known in classes)
    for dataset in set(ALL) - {"mvtec"}:
        spec = registry.get(dataset)
        assert spec.protocols == ("normal",)
        assert all(spec.single_class(category) for category in spec.categories)


def test_mvtec_screw_as_it_is():
    folder = DATASETS / "mvtec_screw"
    if not folder.is_dir():
        pytest.skip("the images of MVTec AD's screw are not beside the repository")
    items = mvtec_layout.plan_category(mvtec_layout.folder.list_files(folder))
    found = Counter(item.target.rsplit("/", 1)[0] for item in items)
    counts = registry.get("mvtec").expected["screw"]
    assert found.pop("train/good") == 94  # Of 320: the others are not in the sample.
    assert found.pop("test/good") == counts.test_normal
    assert found == {f"test/{name}": number for name, number in counts.anomalies.items()}
    some = [item for item in items if item.masks][::20]
    masks = mvtec_layout.read_masks(folder, some)
    assert masks == {item.masks[0]: (folder / item.masks[0]).read_bytes() for item in some}
