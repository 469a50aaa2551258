"""Users' own images described by a table."""

from dataclasses import astuple
from pathlib import Path

import pytest
from data_cases import build as build_records
from data_cases import encoded, manifest, png, put
from PIL import Image

from osad.core.errors import CheckError, ConfigError, DataError
from osad.data import registry
from osad.data.layouts import listing
from osad.data.layouts.listing import parse
from osad.data.layouts.reading import orientation, read_image
from osad.data.source import read_source

SETTINGS = {
    "layout": "csv",
    "raw_path": "my/images",
    "table": "my/list.csv",
    "defect_classes": ["scratch"],
}


@pytest.fixture
def images(project):
    """A project folder with five images, a mask and no table; the current directory."""
    names = ["a.png", "b 1.PNG", "c.png", "deep/d.png", "e.png"]
    files = {name: png(number) for number, name in enumerate(names)}
    return put(project / "my/images", files | {"mask.png": png(255)})


TABLE = """path,label,class,mask
c.png,1,Scratch,mask.png
b 1.PNG,0,good,
a.png,0,,
deep/d.png,0,good,
e.png,1,dent,
"""


def build(text: str | bytes = TABLE, settings: dict | None = None) -> list[tuple[str, ...]]:
    """Run fetch and manifest; return path, label, class, split and mask of each image."""
    Path("my/list.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return [
        tuple(str(value).removeprefix("data/raw/mine/") for value in astuple(record)[:5])
        for record in build_records("mine", settings or SETTINGS)
    ]


def test_a_table_without_split_divides_the_normals(images):
    # ceil(3 / 4) = 1 of three normals is a test image; which one is scikit-learn's draw.
    rows = build()
    assert [",".join(row[:3]) for row in rows] == [
        "a.png,0,good", "b 1.PNG,0,good", "c.png,1,scratch", "deep/d.png,0,good", "e.png,1,dent",
    ]  # fmt: skip
    assert sorted(row[3] for row in rows if row[1] == "0") == ["test", "train", "train"]
    assert {row[3] for row in rows if row[1] == "1"} == {"test"}
    assert [row[4] for row in rows] == ["", "", "mask.png", "", ""]
    assert Path("data/raw/mine/table.csv").read_text() == (
        "path,label,class,split,mask\n"
        "a.png,0,good,,\nb 1.PNG,0,good,,\nc.png,1,scratch,test,mask.png\n"
        "deep/d.png,0,good,,\ne.png,1,dent,test,\n"
    )


def test_a_table_with_split_keeps_it(images):
    text = "split,class,label,path\ntest,good,0,a.png\ntrain,,0,c.png\n,scratch,1,e.png\n"
    splits = {row[0]: row[3] for row in build(text)}
    assert splits == {"a.png": "test", "c.png": "train", "e.png": "test"}


@pytest.mark.parametrize(
    "variant",
    [
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\n\n").encode(),
        ("path,label,class,mask\n" + "\n".join(sorted(TABLE.splitlines()[1:]))).encode(),
    ],
    ids=["byte order mark", "Windows newlines", "blank lines", "another order, no last newline"],
)
def test_the_form_of_a_table_does_not_matter(images, variant):
    plain, source = build(), Path("data/raw/mine/SOURCE.json").read_bytes()
    assert build(variant) == plain
    assert Path("data/raw/mine/SOURCE.json").read_bytes() == source


LINE = "a.png,0,good,,\ne.png,1,dent,,\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/etc/x.png,0,good,,", "path '/etc/x.png' is absolute"),
        ("../secret.png,0,good,,", r"'\.\.'"),
        ('"x\n.png",0,good,,', "control character"),
        ("x\x00.png,0,good,,", "control character"),
        (",0,good,,", "path '' is empty"),
        ("x.txt,0,good,,", "does not end in png"),
        ("c.png,normal,good,,", "label 'normal' is neither 0"),
        ("c.png,2,dent,,", "label '2' is neither 0"),
        ("c.png, 1,dent,,", "label ' 1' is neither 0"),
        ("c.png,0,dent,,", "class 'dent' does not go with label 0"),
        ("c.png,1,good,,", "class 'good' does not go with label 1"),
        ("c.png,1,,,", "class '' is not a name"),
        ("c.png,1,a/b,,", "class 'a/b' is not a name"),
        ("c.png,0,good,val,", "split 'val' is neither train nor test"),
        ("c.png,1,dent,train,", "anomalous image has split train"),
        ("c.png,0,good,,mask.png", "a normal image has the mask 'mask.png'"),
        ("c.png,1,dent,,../m.png", r"mask '\.\./m\.png' has"),
        ("a.png,1,dent,,", "'a.png' is already in line 2 with label 0, here 1"),
        ("e.png,1,dent,,", "'e.png' is already in line 3; remove"),
        ("c.png,1,dent,,e.png", "'e.png' is already in line 3"),
        ("c.png,1,dent,,c.png", "'c.png' is already in line 4"),
        ("c.png,0,good,test,", "line 2: the split of 'a.png' is empty"),
        ("c.png,0,good", "has 3 fields, the header 5"),
        ("c.png,0,good,,,", "has 6 fields, the header 5"),
        ("c.png,0," + "x" * 200_000 + ",,", "is not CSV .field larger than"),
        ("x" * 2000 + "/../y.png,0,good,,", "path 'x{60}...' has"),
        ('c.png,0,"good,,', "is not CSV .unexpected end of data"),
    ],
)
def test_hostile_lines_are_refused_with_their_number(line, message):
    content = f"path,label,class,split,mask\n{LINE}{line}\n".encode()
    number = "[0-9]+" if message.startswith("line 2") else "[456]"
    with pytest.raises(DataError, match=rf"^t\.csv, (line {number}: .*)?{message}") as refused:
        parse(content, "t.csv")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("other", ["Broken pick", "broken_Pick", "BROKEN_PICK"])
def test_a_class_is_spelt_one_way(other):
    """Two names that differ only in case or blanks could be two kinds of defect."""
    table = "path,label,class\na.png,0,good\nb.png,0,\nc.png,1,broken_pick\nd.png,1,{}\n"
    assert {row.class_name for row in parse(table.format("broken_pick").encode(), "t")} == {
        "good", "broken_pick",
    }  # fmt: skip
    message = rf"t, line 5: class '{other}' and 'broken_pick' of line 4 are both 'broken_pick'; sp"
    with pytest.raises(DataError, match=message):
        parse(table.format(other).encode(), "t")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: column 'path' is missing"),
        (b"path,label,class\n", "lists no normal image"),
        (b"path,label,class\na.png,1,dent\n", "lists no normal image"),
        (b"path;label;class\na.png;0;good\n", "'path' is missing .*separated by commas"),
        (b"path,label,class,colour\n", "line 1: unknown column 'colour'"),
        (b"path,label,class,path\n", "column 'path' is there twice"),
        (b"path,label,class\na.png,0,good\nk\xe4se.png,0,good\n", "line 3: byte 0xe4 is not UTF-8"),
        ("path,label,class\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00", "byte 0x89 is not UTF-8"),
        (b"path,label,class,split\na.png,0,good,test\nb.png,1,dent,\n", "no normal .* split train"),
    ],
)
def test_files_that_are_no_tables_are_refused(monkeypatch, content, message):
    with pytest.raises(DataError, match=rf"^t\.csv.*{message}"):
        parse(content, "t.csv")
    monkeypatch.setattr(listing, "MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"t\.csv: has 19 bytes, more than 10"):
        parse(b"path,label,class\n\n\n", "t.csv")


def test_files_must_be_there_and_inside(images, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(9))
    Path("my/images/g.png").symlink_to(tmp_path / "secret.png")
    Path("my/images/out").symlink_to(tmp_path)
    for name, message in (
        ("f.png", r"f\.png is not a file"),
        ("g.png", r"g\.png is a link to a place outside"),
        ("out/secret.png", r"out/secret\.png is a link to a place"),
    ):
        with pytest.raises(DataError, match=rf"my/list\.csv, line 7: my/images/{message}"):
            build(f"{TABLE}{name},0,good,\n")
    message = r"nowhere\.csv: cannot be read .* correct the setting table of 'mine'"
    with pytest.raises(DataError, match=message):
        build(settings=SETTINGS | {"table": "nowhere.csv"})
    with pytest.raises(DataError, match="my/photos: raw_path of 'mine' is not a folder"):
        build(settings=SETTINGS | {"raw_path": "my/photos"})


def test_every_wrong_line_and_file_is_named_at_once(images):
    Path("my/images/l.png").symlink_to("l.png")
    with pytest.raises(DataError) as caught:
        build(f"{TABLE}x.png,0,good,\nl.png,0,good,\ny.png,1,dent,\n")
    assert [line.split(";")[0] for line in str(caught.value).splitlines()] == [
        f"my/list.csv, line {line}: my/images/{name}.png is not a file"
        for line, name in ((8, "l"), (7, "x"), (9, "y"))
    ]
    with pytest.raises(DataError) as caught:
        build(f"{TABLE}a.png,1,dent,\ne.png,1,dent,\n")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "my/list.csv, line 7", "my/list.csv, line 8",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"line 7: label '3'.*\n.*line 8: label '4'"):
        build(f"{TABLE}x.png,3,good,\ny.png,4,good,\n")


def test_classes_that_speak_of_good_parts_are_believed_only_when_said(images):
    text = TABLE.replace("e.png,1,dent", "e.png,1,OK").replace("a.png,0,", "a.png,0,fine")
    said = {"normal_classes": ["fine"]}
    with pytest.raises(DataError, match="line 4: class 'fine' does not go with label 0"):
        build(text)
    with pytest.raises(ConfigError, match="the 1 images of class 'ok' would count as anomalies"):
        build(text, SETTINGS | said)
    rows = build(text, SETTINGS | said | {"defect_classes": ["ok"]})
    assert [row[2] for row in rows] == ["good", "good", "scratch", "good", "ok"]


def test_damaged_images_and_masks_of_another_size_are_refused(images):
    Path("my/images/mask.png").write_bytes(png(255, (4, 6)))
    with pytest.raises(DataError, match=r"mask\.png: the mask has 4 x 6 pixels and its image 6 x"):
        build()
    Path("my/images/a.png").write_bytes(png(1)[:-30])
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
        build()


def test_a_changed_copy_or_another_layout_is_noticed(images):
    build()
    folder = registry.get("mine", {"layout": "folder", "raw_path": "my/images"})
    with pytest.raises(DataError, match="train/good: there are no images"):
        folder.records(read_source(Path("data/raw/mine/SOURCE.json")), "all")
    copy = Path("data/raw/mine/table.csv")
    copy.write_text(copy.read_text().replace("scratch", "dent"))
    with pytest.raises(CheckError, match=r"table\.csv: has changed since the fetch"):
        manifest("mine", SETTINGS)


def turned(size: tuple[int, int], number: int | None) -> bytes:
    exif = Image.Exif()
    if number is not None:
        exif[0x0112] = number
    return encoded(Image.new("L", size, 200), exif=exif)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        # A quarter turn of an oblong image: the size tells how the mask was made.
        (turned((6, 4), 6), turned((4, 6), None), None),
        (turned((6, 4), 6), turned((6, 4), None), "6 x 4 pixels and its image 4 x 6"),
        (turned((6, 4), 6), turned((6, 4), 6), None),
        # Where it does not, the mask is refused.
        (turned((6, 4), 3), turned((6, 4), None), "orientation 1 and its image 3"),
        (turned((5, 5), 8), turned((5, 5), None), "orientation 1 and its image 8"),
        (turned((5, 5), None), turned((5, 5), 2), "orientation 2 and its image 1"),
        (turned((5, 5), 8), turned((5, 5), 8), None),
        (turned((5, 5), 1), turned((5, 5), None), None),
        (turned((5, 5), 0), turned((5, 5), None), None),
    ],
)
def test_masks_of_turned_photographs(tmp_path, image, mask, message):
    put(tmp_path, {"i.png": image, "m.png": mask})
    if message is None:
        assert read_image(tmp_path / "m.png", mask_of=tmp_path / "i.png") == mask
        return
    with pytest.raises(DataError, match=rf"m\.png: the mask has .*{message}"):
        read_image(tmp_path / "m.png", mask_of=tmp_path / "i.png")


def test_orientation_is_read_from_every_format():
    exif = Image.Exif()
    exif[0x0112] = 7
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        assert orientation(encoded(Image.new("RGB", (8, 4)), kind, exif=exif)) == 7
    assert orientation(encoded(Image.new("RGB", (8, 4)), "BMP")) == 1
