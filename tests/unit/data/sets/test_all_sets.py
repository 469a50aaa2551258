"""Every data set that comes as archives: small copies, fetched, listed and counted."""

from dataclasses import replace
from pathlib import Path

import pytest
from data_cases import (
    CLASSES,
    COUNTS,
    changed,
    counted,
    fetch,
    manifest,
    put,
    sha256,
    small,
    tree,
    write_originals,
)

from osad.core.errors import CheckError, ConfigError
from osad.data import registry
from osad.data.fetch.archives import stem
from osad.data.marks import marks
from osad.data.source import read_source
from osad.pipeline.steps.masks import pack

CONVERTED = {"sdd", "aitex", "mastcam"}
"""Sets whose images are cut or converted; those of all others are copied byte for byte."""


@pytest.fixture(scope="module", params=sorted(COUNTS))
def fetch_of(request, tmp_path_factory):
    """A project with the small copy of one data set, fetched: root, data set, originals."""
    dataset = request.param
    root = tmp_path_factory.mktemp(dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        originals = write_originals(dataset)
        small(patch, dataset)
        fetch(dataset)
    return root, dataset, originals


@pytest.fixture
def fetched(fetch_of, monkeypatch):
    """The same as current directory, with the counts of the small copy."""
    root, dataset, originals = fetch_of
    monkeypatch.chdir(root)
    small(monkeypatch, dataset)
    return dataset, originals


def test_archives_become_manifests(fetched):
    dataset, originals = fetched
    contents = {sha256(content) for files in originals.values() for content in files.values()}
    spec = registry.get(dataset)
    for category in (spec.categories[0], spec.categories[-1]):
        records = manifest(dataset, category=category)
        counts = COUNTS[dataset]
        assert counted(records) == {
            ("train", "good"): counts.train_normal,
            ("test", "good"): counts.test_normal,
            **{("test", name): number for name, number in counts.anomalies.items()},
        }
        top = f"data/raw/{dataset}/" + ("" if category == "all" else f"{category}/")
        for record in records:
            assert record.path.startswith(f"{top}{record.split}/{record.class_name}/")
            assert record.label == (record.class_name != "good")
            assert record.sha256 == sha256(Path(record.path).read_bytes())
            assert (record.sha256 in contents) != (dataset in CONVERTED)
            if record.mask:
                name = f"{record.class_name}/{Path(record.path).stem}_mask.png"
                assert record.mask == f"{top}ground_truth/{name}"
                assert marks(Path(record.mask).read_bytes(), record.mask).any()
            elif dataset in (*CLASSES, "sdd", "aitex"):
                assert record.label == 0
        packed = pack(records, read_source(Path(f"data/raw/{dataset}/SOURCE.json")), 12)
        masked = [record.path for record in records if record.mask]
        assert list(packed.paths) == masked
        assert len(packed.unmasked) == counts.anomalous - len(masked)


def test_nothing_else_is_kept(fetched):
    dataset, originals = fetched
    source = read_source(Path(f"data/raw/{dataset}/SOURCE.json"))
    assert {*tree(Path(f"data/raw/{dataset}"))} == {*source.files, "SOURCE.json"}
    assert {*tree(Path(f"data/downloads/{dataset}"))} == {*originals, "digests.json"}
    assert str(Path.cwd()) not in Path(f"data/raw/{dataset}/SOURCE.json").read_text()
    if dataset in CLASSES:
        anomalous = 2 * len(CLASSES[dataset])
        assert len(source.files) == len(registry.get(dataset).categories) * (5 + 2 * anomalous)
        assert [source.source] == [*originals]


def test_a_folder_that_a_user_has_gives_the_same_bytes(fetched, tmp_path, monkeypatch):
    dataset, originals = fetched
    expected = Path(f"data/raw/{dataset}/SOURCE.json").read_bytes()
    for file, files in originals.items():
        put(tmp_path / "my/copy" / (stem(file) if len(originals) > 1 else ""), files)
    for name, raw_path in (("a", "my/copy"), ("b", "my")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        source = fetch(dataset, {"raw_path": f"../{raw_path}"})
        assert source.read_bytes() == expected


def test_a_wrong_count_or_a_changed_image_stops(fetched, monkeypatch):
    dataset, _ = fetched
    spec, counts = registry.get(dataset), COUNTS[dataset]
    category = spec.categories[-1]
    path = Path(f"data/manifests/{dataset}-{category}.csv")
    for wrong, message in [
        (replace(counts, train_normal=7), f"7 normal training images, found {counts.train_normal}"),
        (replace(counts, test_normal=7), f"7 normal test images, found {counts.test_normal}"),
        (replace(counts, total=9), f"9 anomalous images, found {counts.anomalous}"),
    ]:
        changed(monkeypatch, dataset, expected=dict.fromkeys(spec.categories, wrong))
        path.unlink(missing_ok=True)
        with pytest.raises(CheckError, match=f"{dataset}/{category}: expected {message}"):
            manifest(dataset, category=category)
        assert not path.exists()
    folder = Path(f"data/raw/{dataset}", "" if category == "all" else category)
    image = sorted(folder.rglob("test/good/*"))[0]
    content = image.read_bytes()
    image.write_bytes(content + b"x")
    try:
        with pytest.raises(CheckError, match="content has changed"):
            manifest(dataset, category=category)
    finally:
        image.write_bytes(content)


PUBLISHED = {
    "sdd": (857, 286, 54), "aitex": (1692, 564, 183), "brainmri": (73, 25, 155),
    "headct": (75, 25, 100), "mastcam": (9302, 426, 451), "hyperkvasir": (2021, 674, 757),
    "optical": (10500, 3500, 2100), "mvtec": (3629, 467, 1258), "mpdd": (888, 176, 282),
    "mvtec_loco": (1778, 575, 993), "mvtec_3d": (2656, 249, 948), "visa": (8659, 962, 1200),
}  # fmt: skip


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_expected_counts_are_the_published_ones(dataset):
    spec = registry.get(dataset)
    assert tuple(spec.expected) == spec.categories
    numbers = [(c.train_normal, c.test_normal, c.anomalous) for c in spec.expected.values()]
    assert tuple(map(sum, zip(*numbers, strict=True))) == PUBLISHED[dataset]
    assert registry.get(dataset, {"raw_path": "part"}).expected == spec.expected
    if dataset in CLASSES:
        return
    part = registry.get(dataset, {"sample": True})
    assert part.expected is None
    assert f"{part.title}: only a part" in part.notes[-1]
    with pytest.raises(ConfigError, match="'sample' must be true or false"):
        registry.get(dataset, {"sample": "yes"})


def test_known_classes_of_the_papers():
    sizes = {name: len(registry.get(name).known_classes("all")) for name in [*PUBLISHED][:7]}
    assert sizes == {
        **{"aitex": 6, "mastcam": 9, "hyperkvasir": 4, "sdd": 1, "brainmri": 1, "headct": 1},
        "optical": 0,
    }
    assert registry.get("sdd").single_class("all")
    assert registry.get("optical").single_class("all")
    for dataset in CLASSES:
        spec = registry.get(dataset)
        if dataset != "mvtec":
            assert spec.protocols == ("normal",)
            assert all(spec.single_class(category) for category in spec.categories)
            continue
        hard = {name: spec.known_classes(name) for name in spec.categories}
        assert {name for name in hard if hard[name]} == {"carpet", "metal_nut"}
        for name, classes in hard.items():
            assert set(classes) in (set(), set(spec.expected[name].anomalies))
            assert all(spec.expected[name].anomalies[known] >= 10 for known in classes)


def test_mvtec_has_the_counts_of_the_papers_tables():
    printed = {
        "carpet": (280, 28, 89, 5), "grid": (264, 21, 57, 5), "leather": (245, 32, 92, 5),
        "tile": (230, 33, 84, 5), "wood": (247, 19, 60, 5), "bottle": (209, 20, 63, 3),
        "capsule": (219, 23, 109, 5), "pill": (267, 26, 141, 7), "transistor": (213, 60, 40, 4),
        "zipper": (240, 32, 119, 7), "cable": (224, 58, 92, 8), "hazelnut": (391, 40, 70, 4),
        "metal_nut": (220, 22, 93, 4), "screw": (320, 41, 119, 5), "toothbrush": (60, 12, 30, 1),
    }  # fmt: skip
    assert printed == {
        name: (count.train_normal, count.test_normal, count.anomalous, len(count.anomalies))
        for name, count in registry.get("mvtec").expected.items()
    }
    assert sum(classes for *_, classes in printed.values()) == 73
