"""Manifests: reading, writing, hostile content."""

from __future__ import annotations

import pytest

from osad.core.errors import DataError
from osad.data.manifest import (
    COLUMNS,
    Record,
    contradictions,
    read_manifest,
    write_manifest,
)

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
        (f"/etc/passwd,{DIGEST},0,good,test,", "absolute"),
        (f"C:/x.png,{DIGEST},0,good,test,", "absolute"),
        (f"d/../../x.png,{DIGEST},0,good,test,", r"'\.\.'"),
        (f"d//x.png,{DIGEST},0,good,test,", "empty part"),
        (f"d\\x.png,{DIGEST},0,good,test,", "backslash"),
        (f'"d/x\n.png",{DIGEST},0,good,test,', "control character"),
        (f"d/x\x00.png,{DIGEST},0,good,test,", "control character"),
        (f"d/x\u2028.png,{DIGEST},0,good,test,", "control character"),
        (f",{DIGEST},0,good,test,", "is empty"),
        (f"d/a.png,{DIGEST},0,good,test,", "repeated"),
        (f"c/a.png,{DIGEST},0,good,test,", "byte order"),
        (f"e.png,{'g' * 64},0,good,test,", "sha256"),
        (f"e.png,{'A' * 64},0,good,test,", "sha256"),
        (f"e.png,{DIGEST}0,0,good,test,", "sha256"),
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
)
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
    records = [
        Record("a", 0, "good", "train", "", "1" * 64),
        Record("b", 1, "mono", "test", "", "1" * 64),
        Record("c", 1, "poly", "test", "", "2" * 64),
        Record("d", 1, "mono", "test", "", "2" * 64),
    ]
    assert contradictions(records) == [("a", "b")]
