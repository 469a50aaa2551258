"""MVTec AD's family: masks, and which files of a layout are used."""

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from data_cases import SIZE, encoded, mask, numbered, put, real
from PIL import Image

from osad.core.errors import DataError
from osad.data import registry
from osad.data.images import decode
from osad.data.layouts import mvtec as mvtec_layout
from osad.data.layouts.mvtec import Item, one_mask
from osad.data.layouts.reading import list_files
from osad.data.sets import mvtec_3d, mvtec_loco, visa


def decoded(content: bytes) -> list[list[int]]:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "L"
        return np.asarray(picture).tolist()


def grid(*pixels: tuple[int, int]) -> list[list[int]]:
    return [[255 * ((row, column) in pixels) for column in range(6)] for row in range(4)]


def merged(*masks: bytes, over: bytes | None = None) -> bytes:
    """Return the one mask of an image of 6 x 4 pixels; the masks are named m0, m1."""
    named = [(f"m{number}", content) for number, content in enumerate(masks)]
    return one_mask(named, image=over or numbered(1, SIZE), name="i")


def painted(where: tuple[int, ...], value: int, kind: Any = np.uint8) -> bytes:
    values = np.zeros((4, 6, 3)[: len(where)], dtype=kind)
    values[where] = value
    return encoded(values)


def palette() -> bytes:
    picture = Image.new("P", SIZE)
    picture.putpalette([0, 0, 0, 0, 0, 0, 255, 0, 0])  # Number 1 is black, too.
    picture.putpixel((4, 0), 1)
    picture.putpixel((5, 0), 2)
    return encoded(picture)


@pytest.mark.parametrize(
    ("masks", "marked"),
    [
        ([mask((0, 0, 231), (1, 1, 231)), mask((1, 1, 5), (3, 5, 5))], [(0, 0), (1, 1), (3, 5)]),
        ([mask((2, 3, 1))], [(2, 3)]),
        ([palette()], [(0, 4), (0, 5)]),
        ([painted((1, 2, 2), 9)], [(1, 2)]),
        ([painted((3, 0), 1, np.uint16)], [(3, 0)]),
    ],
    ids=["several", "numbers", "palette", "colours", "16 bits"],
)
def test_masks_become_one_of_0_and_255(masks, marked):
    assert decoded(merged(*masks)) == grid(*marked)
    assert merged(*masks[::-1]) == merged(*masks)


def test_a_plain_mask_is_kept_and_an_empty_one_is_none(tmp_path, capsys):
    grey = mask((2, 3, 255))
    assert merged(grey) == grey
    one_bit = encoded(np.asarray(grid((0, 5))) > 0)
    assert merged(one_bit) == one_bit
    assert Image.open(io.BytesIO(one_bit)).mode == "1"
    opaque = np.dstack([np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 255, np.uint8)])
    assert merged(encoded(opaque)) == b""
    put(tmp_path, {"a.png": numbered(1, SIZE), "m.png": mask()})
    assert mvtec_layout.read_masks(tmp_path, [Item("a.png", "c/test/cut/a.png", ("m.png",))]) == {}
    assert "1 masks mark no pixel" in capsys.readouterr().err
    items = [Item("a.png", f"c/test/cut/{name}.png", (f"{name}.png",)) for name in "xy"]
    with pytest.raises(DataError, match=r"x\.png: cannot be read.*\n.*y\.png: cannot be read"):
        mvtec_layout.read_masks(tmp_path, items)


@pytest.mark.parametrize(
    ("orientation", "where", "size"),
    [(3, (3, 4), (4, 6)), (6, (1, 3), (6, 4)), (8, (4, 0), (6, 4))],
)
def test_a_mask_is_turned_with_its_image(orientation, where, size):
    # 6 x 4 pixels, (row 0, column 1) marked. 3: half a turn. 6: a quarter clockwise. 8: the other.
    values = np.zeros((4, 6, 3), dtype=np.uint8)
    values[0, 1] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(values, exif=exif)
    upright = np.asarray(decode(turned, "i"))[:, :, 0] == 255
    result = np.asarray(decoded(merged(mask((0, 1, 255)), over=turned)))
    assert result.shape == size
    assert np.argwhere(result).tolist() == [list(where)]
    assert (result == 255).tolist() == upright.tolist()


def test_a_mask_that_is_marked_as_turned_is_not_kept_as_it_is():
    """Its pixels lie over the image as they are stored; kept, they would be turned once more."""
    exif = Image.Exif()
    exif[0x0112] = 3
    values = np.asarray(grid((0, 1)), np.uint8)
    assert decoded(merged(encoded(values, exif=exif))) == grid((0, 1))
    assert "exif" not in Image.open(io.BytesIO(merged(encoded(values, exif=exif)))).info


def test_wrong_masks_are_named():
    with pytest.raises(DataError, match="m0: the mask has 6 x 4 pixels and its image 4 x 6"):
        merged(mask(), over=encoded(np.zeros((6, 4, 3), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"m0: [0-9]+ pixels of the mask are neither 0"):
        merged(numbered(1, SIZE, "JPEG"))
    with pytest.raises(DataError, match="m0: cannot be decoded"):
        merged(mask()[:40])
    with pytest.raises(DataError, match="i: cannot be decoded"):
        merged(mask(), over=numbered(1, SIZE)[:40])


def test_where_a_mask_goes():
    assert Item("x", "candle/test/anomaly/000.JPG").mask_target == (
        "candle/ground_truth/anomaly/000_mask.png"
    )
    assert Item("x", "test/cut/000.png", ("m",)).below("carpet") == Item(
        "carpet/x", "carpet/test/cut/000.png", ("carpet/m",)
    )


def test_the_masks_of_loco_are_those_of_the_images_folder():
    masks = [f"ground_truth/logical_anomalies/000/00{number}.png" for number in range(2)]
    names = [f"{name}/000.png" for name in ("test/good", "test/logical_anomalies", "train/good")]
    others = ["ground_truth/logical_anomalies/000/._000.png", "validation/good/000.png",
              "ground_truth/structural_anomalies/000/000.png"]  # fmt: skip
    assert mvtec_loco.plan_category([*names, *masks[::-1], *others]) == [
        Item(name, name, tuple(masks) if "logical" in name else ()) for name in names
    ]
    with pytest.raises(DataError, match=r"logical_anomalies/000\.png: an anomalous image without"):
        mvtec_loco.plan_category([*names, others[1]])


def test_of_3d_only_colours_are_used():
    paths = [
        "train/good/rgb/000.png", "train/good/xyz/000.tiff", "validation/good/rgb/000.png",
        "test/good/rgb/000.png", "test/good/gt/000.png", "test/hole/rgb/007.png",
        "test/hole/xyz/007.tiff", "test/hole/gt/007.png", "calibration/camera_parameters.json",
    ]  # fmt: skip
    assert mvtec_3d.plan_category(paths) == [
        Item("test/good/rgb/000.png", "test/good/000.png"),
        Item("test/hole/rgb/007.png", "test/hole/007.png", ("test/hole/gt/007.png",)),
        Item("train/good/rgb/000.png", "train/good/000.png"),
    ]
    with pytest.raises(DataError, match=r"007\.png: an anomalous image without a mask"):
        mvtec_3d.plan_category([path for path in paths if "/hole/gt/" not in path])
    with pytest.raises(DataError, match="train/good: there are no images"):
        mvtec_3d.plan_category(paths[3:])


LINE = "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("candle,test", "lamp,test"), "line 3: object 'lamp' is not a category"),
        (LINE.replace(",test,", ",val,"), "line 3: split 'val' or label 'anomaly' is unknown"),
        (LINE.replace(",anomaly,", ",odd,"), "line 3: split 'test' or label 'odd' is unknown"),
        (LINE.replace(",test,", ",train,"), "line 3: an anomalous image is for training"),
        (LINE.replace("candle/Data/I", "../candle/I"), r"line 3: path '\.\./candle/I"),
        (LINE.replace("candle/Data/M", "/Data/M"), r"line 3: path '/Data/M.*is absolute"),
        ("candle,test,normal,,", "line 3: the image has no path"),
        ("candle,test", "line 3: wrong number of fields"),
        (LINE, "an image is listed twice"),
        ("candle,test,anomaly,candle/Data/Images/Anomaly/001.JPG,", "without a mask"),
        ("candle,test,normal,candle/Data/Images/Normal/1.JPG,m.png", "the mask of a normal image"),
    ],
)
def test_a_wrong_split_of_visa_is_refused(tmp_path, line, message):
    text = f"object,split,label,image,mask\n{LINE}\n{line}\n"
    put(tmp_path, {"split_csv/1cls.csv": text.encode()})
    with pytest.raises(DataError, match=message):
        visa.plan(tmp_path, ["candle"])


def test_the_folder_of_the_categories_is_found(tmp_path):
    for name in ("top/a", "top/b", "__MACOSX/a"):
        (tmp_path / name).mkdir(parents=True)
    for root in (tmp_path, tmp_path / "top"):
        assert mvtec_layout.category_root(root, ["a", "b"]) == tmp_path / "top"
    with pytest.raises(DataError, match=r"top: the folder of the category 'c' is missing \(1 of 3"):
        mvtec_layout.category_root(tmp_path, ["a", "b", "c"])
    with pytest.raises(DataError, match="no folder in it holds c"):
        mvtec_layout.category_root(tmp_path, ["c", "a"])
    put(tmp_path, {"a/test/good/0.png": numbered(1, SIZE)})
    with pytest.raises(DataError, match=r"/a: train/good: there are no images"):
        mvtec_layout.plan_all(tmp_path, ["a"])


def test_mvtec_screw_as_it_is():
    folder = real("mvtec_screw")
    items = mvtec_layout.plan_category(list_files(folder))
    places = Counter(item.target.rsplit("/", 1)[0] for item in items)
    counts = registry.get("mvtec").expected["screw"]
    assert places.pop("train/good") == 94  # Of 320: the others are not in the sample.
    assert places.pop("test/good") == counts.test_normal
    assert places == {f"test/{name}": number for name, number in counts.anomalies.items()}
    some = [item for item in items if item.masks][::20]
    masks = mvtec_layout.read_masks(folder, some)
    assert masks == {item.masks[0]: (folder / item.masks[0]).read_bytes() for item in some}
