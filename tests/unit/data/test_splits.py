"""Splits: nested draws, equal test sets, hard sets, duplicates, and reading them back."""

from collections import Counter
from pathlib import Path

import pytest
from data_cases import sha256
from hypothesis import given
from hypothesis import strategies as st

from osad.core.cells import Protocol
from osad.core.errors import CheckError, ConfigError, DataError
from osad.data.manifest import Record, read_manifest, write_manifest
from osad.data.splits import COLUMNS, check_training, partition, read_split, rows, write_split
from osad.pipeline.steps.split import main as split_main

HEADER = ",".join(COLUMNS) + "\n"


def digest(text: str) -> str:
    return sha256(text.encode())


def image(path: str, class_name: str, split: str = "test", content: str = "") -> Record:
    return Record(path, int(class_name != "good"), class_name, split, "", digest(content or path))


def manifest(classes: dict[str, int], train: int = 4, test: int = 3) -> list[Record]:
    records = [image(f"d/train/{number:03d}", "good", "train") for number in range(train)]
    for name, count in {"good": test, **classes}.items():
        folder = "test" if name == "good" else name
        records += [image(f"d/{folder}/{number:03d}", name) for number in range(count)]
    return records


def parts(records, protocol: str, seed: int = 0, **options):
    names = {"dataset": "d", "category": "all"} | options
    return partition(records, Protocol.parse(protocol), seed=seed, **names)


def paths(records) -> list[str]:
    return [record.path for record in records]


RECORDS = manifest({"dent": 12, "hole": 3, "scratch": 14})


@given(seed=st.integers(0, 2**31), shots=st.integers(1, 10))
def test_shots_are_nested_and_share_the_test_set(seed, shots):
    ten = parts(RECORDS, "general-m10", seed)
    few = parts(RECORDS, f"general-m{shots}", seed)
    assert few.train_anomaly == ten.train_anomaly[:shots]
    assert few.test == ten.test
    assert len(ten.test) == 3 + 29 - 10
    assert set(paths(few.withheld)) == set(paths(ten.train_anomaly[shots:]))
    assert not ten.withheld
    trained = set(paths(ten.train_anomaly)) | set(paths(ten.train_normal))
    assert trained.isdisjoint(paths(ten.test))
    assert few.train_normal == [record for record in RECORDS if record.split == "train"]


@given(seed=st.integers(0, 2**31))
def test_hard_test_set_is_all_but_the_known_class(seed):
    ten = parts(RECORDS, "hard-dent-m10", seed)
    one = parts(RECORDS, "hard-dent-m1", seed)
    assert {record.class_name for record in ten.train_anomaly} == {"dent"}
    assert len(set(paths(ten.train_anomaly))) == 10
    assert one.train_anomaly == ten.train_anomaly[:1]
    expected = [r for r in RECORDS if r.split == "test" and r.class_name != "dent"]
    assert ten.test == one.test == sorted(expected, key=lambda r: r.path)
    assert len(ten.withheld) == 2


def test_which_images_are_tested():
    normal = parts(RECORDS, "normal-m0")
    assert normal.train_anomaly == normal.withheld == []
    assert paths(normal.test) == sorted(r.path for r in RECORDS if r.split == "test")
    fewer = parts(RECORDS, "general-m1", removed=1)
    assert len(fewer.test) == 3 + 28
    assert fewer.train_anomaly == parts(RECORDS, "general-m10").train_anomaly[:1]
    used_up = parts(manifest({"dent": 10, "hole": 1}), "hard-dent-m10")
    assert paths(used_up.test) == ["d/hole/000", "d/test/000", "d/test/001", "d/test/002"]
    good = parts(manifest({}), "normal-m0")
    assert paths(good.test) == ["d/test/000", "d/test/001", "d/test/002"]
    copied = [image("d/train/000", "good", "train"), image("d/test/000", "good")]
    with pytest.raises(ConfigError, match="no anomalous test"):  # Its one anomaly does not count.
        parts([*copied, image("d/dent/000", "dent", content="d/train/000")], "normal-m0")
    for numbers, message in [((0, 3), "no normal training"), ((4, 0), "no normal test")]:
        with pytest.raises(ConfigError, match=message):
            parts(manifest({"dent": 12}, *numbers), "general-m1")


def test_the_draw_depends_on_its_names_only():
    first = paths(parts(RECORDS, "general-m10").train_anomaly)
    assert paths(parts(list(reversed(RECORDS)), "general-m10").train_anomaly) == first
    for other in ({"seed": 1}, {"dataset": "e"}, {"category": "a"}):
        assert paths(parts(RECORDS, "general-m10", **other).train_anomaly) != first
    everyone = set()
    for seed in range(60):
        everyone |= set(paths(parts(RECORDS, "general-m10", seed).train_anomaly))
    assert everyone == {r.path for r in RECORDS if r.label == 1}, "every anomaly can be drawn"


@pytest.mark.parametrize(
    ("classes", "protocol", "options", "message"),
    [
        ({"dent": 30}, "general-m11", {}, "11 shots, but only 10 anomalies leave"),
        ({"dent": 10}, "general-m1", {}, "10 anomalies leave .* only 10; lower `removed`"),
        ({"dent": 9, "hole": 3}, "hard-dent-m10", {}, "10 shots, but the class has only 9 images"),
        ({"dent": 12}, "hard-dent-m10", {}, "only one; use the general setting"),
        ({"dent": 12, "hole": 1}, "hard-rust-m1", {}, "no class 'rust'; classes are dent, hole"),
        ({"dent": 12}, "general-m1", {"seed": -1}, "seed -1"),
        ({"dent": 12}, "general-m1", {"removed": 0}, "removed 0"),
    ],
)
def test_impossible_protocols_are_refused(classes, protocol, options, message):
    with pytest.raises(ConfigError, match=f"d/all/{protocol}: .*{message}"):
        parts(manifest(classes), protocol, **options)


def test_duplicates_leave_the_test_set():
    twins = [image(f"d/twins/{number}", "dent", content="same") for number in range(2)]
    records = [
        *manifest({"hole": 11}),
        image("d/train/x", "good", "train", content="normal twin"),
        image("d/test/x", "good", content="normal twin"),
        *twins,
    ]
    hits = 0
    for seed in range(20):
        ten, one = parts(records, "general-m10", seed), parts(records, "general-m1", seed)
        assert ten.test == one.test, "also the anomalies not trained on count as outside"
        taken = set(paths(ten.train_anomaly)) & set(paths(twins))
        expected = ["d/test/x"]
        if len(taken) == 1:
            expected += sorted(set(paths(twins)) - taken)
            hits += 1
        assert paths(ten.duplicates) == expected
        outside = {r.sha256 for r in [*ten.train_normal, *ten.train_anomaly]}
        assert outside.isdisjoint(r.sha256 for r in ten.test)
        assert len(ten.test) == 3 + 13 - 10 - (len(taken) == 1)
    assert hits > 0
    assert paths(parts(records, "normal-m0").duplicates) == ["d/test/x"]
    assert {"d/twins/0", "d/twins/1"} <= set(paths(parts(records, "normal-m0").test))


def test_hard_duplicates_of_the_known_class_leave_the_test_set():
    records = [*manifest({"dent": 12, "hole": 3}), image("d/hole/x", "hole", content="d/dent/005")]
    for seed in range(5):
        for protocol in ("hard-dent-m1", "hard-dent-m10"):
            found = parts(records, protocol, seed)
            assert paths(found.duplicates) == ["d/hole/x"]
            assert len(found.test) == 3 + 3


def test_split_round_trip(tmp_path):
    split = rows(parts(RECORDS, "hard-dent-m1", 3))
    path = tmp_path / "s3.csv"
    write_split(path, split)
    assert path.read_text().splitlines()[:2] == [
        HEADER.strip(),
        f"{split[0].path},{split[0].sha256},train_anomaly,1,dent",
    ]
    assert read_split(path) == split
    assert paths(split) == sorted(paths(split))
    assert Counter(row.role for row in split) == {"train_normal": 4, "train_anomaly": 1, "test": 20}


def test_a_run_serves_splits_with_its_training_normals(tmp_path):
    fitted = rows(parts(RECORDS, "normal-m0"))
    check_training(rows(parts(RECORDS, "general-m1")), fitted, where=tmp_path)
    for other in (RECORDS[1:], [image("d/train/000", "good", "train", "other"), *RECORDS[1:]]):
        with pytest.raises(CheckError, match="d/train/000 is a training normal here or in"):
            check_training(rows(parts(other, "general-m1")), fitted, where=tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"../c,{digest('c')},test,0,good", r"'\.\.'"),
        (f"b,{digest('c')},test,0,good", "repeated"),
        (f"a,{digest('c')},test,0,good", "byte order"),
        (f"c,{digest('c')},val,0,good", "role 'val'"),
        (f"c,{digest('c')},train_normal,1,dent", "does not go with label 1"),
        (f"c,{digest('c')},train_anomaly,0,good", "does not go with label 0"),
        (f"c,{digest('c')},test,1,good", "class 'good'"),
        ("c,12,test,0,good", "sha256"),
        (f"c,{digest('b')},test,0,good", r"equal bytes \(see line 2\)"),
    ],
)
def test_hostile_splits_are_refused(tmp_path, line, message):
    path = tmp_path / "s0.csv"
    path.write_text(f"{HEADER}b,{digest('b')},train_normal,0,good\n{line}\n")
    with pytest.raises(DataError, match=rf"s0\.csv, line 3: .*{message}"):
        read_split(path)


def run(protocol: str, seed: int, output: str, listed: str = "elpv-all") -> Path:
    arguments = ["--manifest", f"data/manifests/{listed}.csv", "--dataset", "elpv"]
    arguments += ["--category", "all", "--protocol", protocol, "--seed", str(seed)]
    split_main([*arguments, "--output", output])
    return Path(output)


@pytest.mark.parametrize(
    ("protocol", "trained", "tested"),
    [
        ("general-m10", 10, 705), ("general-m1", 1, 705), ("hard-mono-m10", 10, 402),
        ("hard-mono-m1", 1, 402), ("hard-poly-m10", 10, 313), ("hard-poly-m1", 1, 313),
        ("normal-m0", 0, 715),
    ],
)  # fmt: skip
def test_elpv_has_the_published_counts(elpv, capsys, protocol, trained, tested):
    expected = {("train_normal", 0): 1131, ("test", 0): 377, ("test", 1): tested}
    for seed in (0, 4):
        rows = read_split(run(protocol, seed, f"results/splits/elpv/all/{protocol}/s{seed}.csv"))
        counts = Counter((row.role, row.label) for row in rows)
        assert counts == Counter(expected | {("train_anomaly", 1): trained})
    assert capsys.readouterr().err == "", "ELPV has no duplicates"


def test_elpv_draw_never_changes(elpv):
    """The first draw, fixed: another one would silently change every published number."""
    drawn = [row for row in read_split(run("general-m10", 0, "a.csv")) if row.label == 1]
    cells = [row.path[-8:-4] for row in drawn if row.role == "train_anomaly"]
    assert cells == ["0208", "0248", "0384", "0455", "0661", "0741", "0742", "0865", "1639", "1654"]
    assert run("general-m10", 0, "b.csv").read_bytes() == Path("a.csv").read_bytes()


def test_the_step_tells_about_duplicates(project, capsys):
    records = [*manifest({"dent": 12}), image("d/test/x", "good", content="d/train/000")]
    write_manifest("data/manifests/made.csv", records)
    assert len(read_manifest("data/manifests/made.csv")) == len(records)
    rows = read_split(run("general-m1", 0, "s0.csv", "made"))
    assert "d/test/x" not in paths(rows)
    message = capsys.readouterr().err
    assert message.startswith("s0.csv: 1 test images left out")
    assert "d/test/x" in message
