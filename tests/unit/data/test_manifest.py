"""Manifests: reading, writing, hostile content."""

import pytest

from osad.core.errors import DataError
from osad.data.manifest import COLUMNS, Record, contradictions, read_manifest, write_manifest

HEADER = ",".join(COLUMNS) + "\n"
DIGEST = "0" * 64


def test_manifest_round_trip_is_sorted_by_bytes(tmp_path):
    records = [
        Record("d/é, x.png", 1, "mono", "test", "d/m.png", DIGEST),
        Record("d/a.png", 0, "good", "train", "", DIGEST),
        Record("d/Z.png", 0, "good", "test", "", DIGEST),
    ]
    path = tmp_path / "m.csv"
    write_manifest(path, records)
    assert path.read_text(encoding="utf-8") == (
        HEADER
        + f"d/Z.png,{DIGEST},0,good,test,\n"
        + f"d/a.png,{DIGEST},0,good,train,\n"
        + f'"d/é, x.png",{DIGEST},1,mono,test,d/m.png\n'
    )
    assert read_manifest(path) == [records[2], records[1], records[0]]
    with pytest.raises(DataError, match="repeated"):
        write_manifest(path, [records[1], records[1]])
    with pytest.raises(DataError, match="not 64"):
        write_manifest(path, [Record("a", 0, "good", "test")])


GOOD_LINE = f"d/a.png,{DIGEST},0,good,train,\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *((f"{path},{DIGEST},0,good,test,", message) for path, message in (
            ("/etc/passwd", "absolute"), ("C:/x.png", "absolute"), ("d/../../x.png", r"'\.\.'"),
            ("d//x.png", "empty part"), ("d\\x.png", "backslash"), ("", "is empty"),
            ('"d/x\n.png"', "control character"), ("d/x\x00.png", "control character"),
            ("d/x\u2028.png", "control character"), ("d/a.png", "repeated"),
            ("c/a.png", "byte order"),
        )),
        *((f"e.png,{digest},0,good,test,", "sha256") for digest in ("g" * 64, "A" * 64, "0" * 65)),
        (f"e.png,{DIGEST},2,good,test,", "label"),
        (f"e.png,{DIGEST},,good,test,", "label"),
        (f"e.png,{DIGEST},1,good,test,", "does not go with label 1"),
        (f"e.png,{DIGEST},0,mono,test,", "does not go with label 0"),
        (f"e.png,{DIGEST},1,Mono x,test,", "class"),
        (f"e.png,{DIGEST},1,mono,train,", "split 'train'"),
        (f"e.png,{DIGEST},0,good,val,", "split"),
        (f"e.png,{DIGEST},1,mono,test,../m.png", "mask"),
        (f"e.png,{DIGEST},0,good,test,m.png", "a normal image has the mask"),
        (f"e.png,{DIGEST},0,good", "number of fields"),
        (f"e.png,{DIGEST},0,good,test,,", "number of fields"),
    ],
)  # fmt: skip
def test_hostile_manifests_are_refused(tmp_path, line, message):
    path = tmp_path / "m.csv"
    path.write_text(HEADER + GOOD_LINE + line + "\n", encoding="utf-8", newline="")
    with pytest.raises(DataError, match=rf"m\.csv, line 3: .*{message}"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER, "lists no images"),
        ("", "missing"),
        ("path,label\nx,0\n", "column 'sha256' is missing"),
        ("extra," + HEADER + "1," + GOOD_LINE, "unknown column 'extra'"),
    ],
)
def test_manifests_need_their_columns(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_contradictions():
    rows = [
        ("a", 0, "good", "1"),
        ("b", 1, "mono", "1"),
        ("c", 1, "poly", "2"),
        ("d", 1, "mono", "2"),
    ]
    records = [
        Record(path, label, name, "test", "", digit * 64) for path, label, name, digit in rows
    ]
    assert contradictions(records) == [("a", "b")]
