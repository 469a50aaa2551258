"""What tests of data share: small images, archives, original layouts, and building a manifest."""

import hashlib
import io
import itertools
import json
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from osad.core.seeds import numpy_generator
from osad.data import registry
from osad.data.manifest import Record, read_manifest
from osad.data.registry import Counts
from osad.pipeline.steps.fetch import main as fetch_main
from osad.pipeline.steps.manifest import main as manifest_main

REAL = Path(os.environ.get("OSAD_REAL_DATA", Path(__file__).parents[3] / "shared/datasets"))
DIGEST = "0" * 64


def real(name: str) -> Path:
    """Return the folder of a sample of real images beside the repository, or skip the test."""
    if not (REAL / name).is_dir():
        pytest.skip(f"the sample {name} is not beside the repository")
    return REAL / name


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png(value: int, size: tuple[int, int] = (6, 4), mode: str = "L") -> bytes:
    """Return an image of one value but for its last pixel, where there are several."""
    image = Image.new(mode, size, value)
    if size != (1, 1):
        image.putpixel((size[0] - 1, size[1] - 1), value ^ 1)
    return encoded(image)


def numbered(number: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """Return a grey image whose bytes no other number below 65536 has."""
    values = np.full((size[1], size[0]), number % 256, np.uint8)
    values[0, 0] = number // 256
    # JPEG loses small differences.
    return encoded(values, kind, **({"comment": str(number)} if kind == "JPEG" else {}))


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def noise(number: int, size: int = 64) -> Image.Image:
    """Return an image of noise."""
    values = numpy_generator("picture", number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def grey() -> NDArray[np.uint8]:
    """Return a picture of 40 x 60 pixels, (40, 60) uint8, none of them above 240."""
    values = np.random.default_rng(3).integers(0, 240, (5, 8), dtype=np.uint8)
    large = np.asarray(Image.fromarray(values).resize((60, 40)), dtype=np.uint8)
    return np.minimum(large, np.uint8(240))


SAME = ["alpha.webp", "colour.bmp", "deep.png", "deep.tif", "grey.png", "palette.png", "turned.png"]
"""Kinds of images that store ``grey`` exactly."""


def every_kind(folder: str) -> dict[str, float]:
    """Write an image of every kind into a folder; return the mean intensity of each, in 0..1."""
    picture, exif = Image.fromarray(grey()), Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(grey().astype(np.uint16) * 257)
    warm = Image.merge("RGB", [Image.fromarray(grey() + shift) for shift in (0, 5, 15)])
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey.png": (picture, {}),
        "colour.bmp": (picture.convert("RGB"), {}),
        "warm.png": (warm, {}),
        "alpha.webp": (picture.convert("RGBA"), {"lossless": True}),
        "palette.png": (picture.convert("P"), {}),
        "deep.png": (deep, {}),
        "deep.tif": (deep, {}),
        "turned.png": (picture.transpose(Image.Transpose.ROTATE_90), {"exif": exif}),
        "print.jpg": (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), {"quality": 95}),
        "bit.png": (Image.new("1", (5, 3), 1), {}),
        "dot.png": (Image.new("L", (1, 1), 51), {}),
        "strip.bmp": (Image.new("L", (3, 500), 102), {}),
        "large.png": (Image.new("L", (4500, 3000), 51), {}),
    }
    Path(folder).mkdir(parents=True)
    for name, (image, options) in kinds.items():
        image.save(Path(folder, name), **options)
    mean = grey().mean() / 255
    means = dict.fromkeys(SAME, mean) | {"warm.png": mean + 20 / 3 / 255, "print.jpg": 1.0}
    return means | {"bit.png": 1.0, "dot.png": 0.2, "strip.bmp": 0.4, "large.png": 0.2}


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of the kind that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        path.write_bytes(zipped(files))
    else:
        with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(dataset: str, settings: dict[str, Any] | None = None) -> Path:
    """Run the step in the current directory; return ``SOURCE.json``."""
    source = f"data/raw/{dataset}/SOURCE.json"
    options = ["--dataset", dataset, "--settings", json.dumps(settings or {})]
    return fetch_main([*options, "--output", source])[0]


def manifest(
    dataset: str, settings: dict[str, Any] | None = None, category: str = "all"
) -> list[Record]:
    """Run the step for a data set that is fetched; return the records."""
    options = ["--dataset", dataset, "--settings", json.dumps(settings or {})]
    options += ["--category", category, "--source", f"data/raw/{dataset}/SOURCE.json"]
    output = f"data/manifests/{dataset}-{category}.csv"
    return read_manifest(manifest_main([*options, "--output", output])[0])


def build(dataset: str, settings: dict[str, Any] | None = None) -> list[Record]:
    fetch(dataset, settings)
    return manifest(dataset, settings)


def counted(records: Iterable[Record]) -> Counter[tuple[str, str]]:
    """Return the number of images by split and class."""
    return Counter((record.split, record.class_name) for record in records)


def changed(monkeypatch: pytest.MonkeyPatch, dataset: str, **fields: Any) -> None:
    """Change fields of a data set that comes with the package for one test."""
    spec = replace(registry.get(dataset), **fields)
    monkeypatch.setattr(f"osad.data.sets.{dataset}.SPEC", spec)


SIZE = (6, 4)
CLASSES = {
    "mvtec": ("cut", "hole"),
    "mpdd": ("parts_mismatch", "scratches"),
    "mvtec_loco": ("logical_anomalies", "structural_anomalies"),
    "mvtec_3d": ("combined", "crack"),
    "visa": ("anomaly",),
}


def mask(*marks: tuple[int, int, int]) -> bytes:
    """Return a grey mask with the given (row, column, value)."""
    values = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    for row, column, value in marks:
        values[row, column] = value
    return encoded(values)


def mvtec(classes: tuple[str, ...], numbers: Iterator[int]) -> dict[str, bytes]:
    """Return 3 training images, 2 good test images and 2 of each class, the masks 0 and 255."""
    files = {f"train/good/{k:03d}.png": numbered(next(numbers), SIZE) for k in range(3)}
    files |= {f"test/good/{k:03d}.png": numbered(next(numbers), SIZE) for k in range(2)}
    for name, k in itertools.product(classes, range(2)):
        files[f"test/{name}/{k:03d}.png"] = numbered(next(numbers), SIZE)
        files[f"ground_truth/{name}/{k:03d}_mask.png"] = mask((k, 1, 255))
    return files


def loco(classes: tuple[str, ...], numbers: Iterator[int]) -> dict[str, bytes]:
    """Return the same with ``validation`` and folders of masks with other grey levels."""
    files = {}
    for path, content in mvtec(classes, numbers).items():
        if path.startswith("ground_truth/"):
            folder = path.removesuffix("_mask.png")
            files[f"{folder}/000.png"] = mask((0, 0, 231), (1, 1, 231))
            files[f"{folder}/001.png"] = mask((1, 1, 5), (3, 5, 5))
        else:
            files[path] = content
    files["validation/good/000.png"] = numbered(next(numbers), SIZE)
    return files | {"defects_config.json": b"[]\n"}


def three_d(classes: tuple[str, ...], numbers: Iterator[int]) -> dict[str, bytes]:
    """Return the same as ``rgb``, ``gt`` and ``xyz``; normal images have empty masks."""
    files = {}
    for path, content in mvtec(classes, numbers).items():
        part, name, file = path.split("/")
        if part == "ground_truth":
            files[f"test/{name}/gt/{file.replace('_mask', '')}"] = content
            continue
        files[f"{part}/{name}/rgb/{file}"] = content
        files[f"{part}/{name}/xyz/{file.replace('.png', '.tiff')}"] = b"scan"
        if (part, name) == ("test", "good"):
            files[f"test/good/gt/{file}"] = mask()
    files["validation/good/rgb/000.png"] = numbered(next(numbers), SIZE)
    return files | {"calibration/camera_parameters.json": b"{}\n"}


def visa(classes: tuple[str, ...], numbers: Iterator[int]) -> dict[str, bytes]:
    """Return 5 normal and 2 anomalous photographs; the masks number the defects 1 and 2."""
    photographs = [f"Normal/{k:04d}.JPG" for k in range(5)]
    photographs += [f"Anomaly/{k:03d}.JPG" for k in range(2)]
    files = {f"Data/Images/{p}": numbered(next(numbers), SIZE, "JPEG") for p in photographs}
    files |= {f"Data/Masks/Anomaly/{k:03d}.png": mask((k, 2, k + 1)) for k in range(2)}
    return files | {"image_anno.csv": b"image,label,mask\n"}


def visa_split(category: str) -> list[str]:
    """Return the lines of ``1cls.csv``: normals 1, 3 and 4 are for training, 0 and 2 for tests."""
    start = f"{category}/Data"
    return [
        f"{category},{'test' if k in (0, 2) else 'train'},normal,{start}/Images/Normal/{k:04d}.JPG,"
        for k in (1, 4, 3, 0, 2)
    ] + [
        f"{category},test,anomaly,{start}/Images/Anomaly/{k:03d}.JPG,{start}/Masks/Anomaly/{k:03d}.png"
        for k in range(2)
    ]


LAYOUTS = {"mvtec": mvtec, "mpdd": mvtec, "mvtec_loco": loco, "mvtec_3d": three_d, "visa": visa}


def family(dataset: str) -> dict[str, bytes]:
    numbers = itertools.count()
    files: dict[str, bytes] = {"license.txt": b"read me\n"}
    categories = registry.get(dataset).categories
    for category in categories:
        made = LAYOUTS[dataset](CLASSES[dataset], numbers)
        files |= {f"{category}/{path}": content for path, content in made.items()}
    if dataset == "visa":
        lines = ["object,split,label,image,mask"]
        lines += [line for category in categories for line in visa_split(category)]
        files["split_csv/1cls.csv"] = "".join(f"{line}\r\n" for line in lines).encode()
    top = "MPDD/" if dataset == "mpdd" else ""
    return {f"{top}{path}": content for path, content in files.items()}


def sdd() -> dict[str, bytes]:
    """Four images of 9 x 4 pixels; Part3 has a mark in its last third."""
    files = {}
    for part in range(4):
        values = np.arange(36, dtype=np.uint8).reshape(9, 4) + 40 * part
        marks = np.zeros((9, 4), np.uint8)
        marks[8, 0] = part == 3
        files[f"kos01/Part{part}.jpg"] = encoded(values)
        files[f"kos01/Part{part}_label.bmp"] = encoded(marks, "BMP")
    return files


def aitex(mark: int = 9) -> dict[str, bytes]:
    """Two normal strips of 8 x 4, and one of 10 x 4 pixels with a mark in column ``mark``."""
    marks = np.zeros((4, 10), np.uint8)
    marks[0, mark] = 1
    strip = np.arange(40, dtype=np.uint8).reshape(4, 10)
    return {
        "AITEX/Defect_images/Defect_images/0001_036_00.png": encoded(strip),  # wrapped twice
        "AITEX/Mask_images/Mask_images/0001_036_00_mask.png": encoded(marks),
        "AITEX/NODefect_images/f0/0001_000_00.png": numbered(0, (8, 4)),
        "AITEX/NODefect_images/f1/0001_000_01.png": numbered(1, (8, 4)),
    }


def brainmri() -> dict[str, bytes]:
    names = ("no/1 no.JPG", "no/2.jpeg", "no/N3.PNG", "no/4.jpg", "yes/Y1.jpg", "yes/Y2.JPG")
    files = {name: numbered(number) for number, name in enumerate(names)}
    files["yes/Thumbs.db"] = b"x"
    return files | {f"brain_tumor_dataset/{name}": data for name, data in files.items()}


def headct() -> dict[str, bytes]:
    files = {f"head_ct/head_ct/{number:03d}.png": numbered(number) for number in range(6)}
    return files | {"labels.csv": b"id, hemorrhage\n0,1\n1,1\n2,0\n3,0\n4,0\n5,0\n"}


def hyperkvasir() -> dict[str, bytes]:
    top = "labeled-images/upper-gi-tract"
    normal = [(name, k) for name in ("pylorus", "retroflex-stomach", "z-line") for k in range(2)]
    paths = [f"{top}/anatomical-landmarks/{name}/{k}.jpg" for name, k in normal]
    classes = registry.get("hyperkvasir").known_classes("all")
    paths += [f"{top}/pathological-findings/{name}/0.jpg" for name in classes]
    paths.append("labeled-images/lower-gi-tract/anatomical-landmarks/cecum/0.jpg")
    return {path: numbered(number) for number, path in enumerate(paths)}


def optical(number: int) -> dict[str, bytes]:
    """Per part two normal images and one with a defect; every second class is wrapped."""
    files = {}
    for part in ("Train", "Test"):
        top = f"Class{number}/{part}" if number % 2 else part
        for index in range(3):
            content = numbered(number * 20 + 5 * (part == "Test") + index)
            files[f"{top}/{index + 1:04d}.PNG"] = content
        files[f"{top}/Label/0002_label.PNG"] = numbered(255 if number > 1 else 0)
        files[f"{top}/Label/Labels.txt"] = (
            b"1\r\n1\t0\t0001.PNG\t0\t0\r\n2\t1\t0002.PNG\t0\t0002_label.PNG\r\n"
            b"3\t0\t0003.PNG\t0\t0\r\n"
        )
    return files


def saved(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def array(value: int) -> bytes:
    values = np.zeros((64, 64, 6), np.uint8)
    values[:, :, 0], values[:, :, 2], values[:, :, 5] = value, 2, 99
    return saved(values)


def mastcam(part: str) -> dict[str, bytes]:
    if part == "train_typical":
        return {f"train_typical/{number}.npy": array(number) for number in range(3)}
    if part == "test_typical":
        return {"9.npy": array(9)}
    novel = {"drt/a": 20, "drt/b": 21, "veins/a": 20, "broken-rock/c": 22}
    files = {f"test_novel/{name}.npy": array(value) for name, value in novel.items()}
    return files | {f"test_novel/all/{name[-1]}.npy": array(v) for name, v in novel.items()}


SINGLE = {f.__name__: f for f in (sdd, aitex, brainmri, headct, hyperkvasir)}
COUNTS = {
    **{name: Counts(3, 2, dict.fromkeys(classes, 2)) for name, classes in CLASSES.items()},
    "sdd": Counts(8, 3, {"defect": 1}),
    "aitex": Counts(3, 1, {"weft_crack": 1}),
    "brainmri": Counts(3, 1, {"tumor": 2}),
    "headct": Counts(3, 1, {"hemorrhage": 2}),
    "hyperkvasir": Counts(4, 2, dict.fromkeys(registry.get("hyperkvasir").known_classes("all"), 1)),
    "optical": Counts(30, 10, {f"class{index}": 2 for index in range(10)}),
    "mastcam": Counts(3, 1, {"broken-rock": 1, "drt": 2, "veins": 1}),
}
"""Counts of each category of the small copies."""


def originals_of(dataset: str) -> dict[str, dict[str, bytes]]:
    """Return the files of a data set's small copy, by archive and by their paths in it."""
    files = [archive.file for archive in registry.get(dataset).archives]
    if dataset == "optical":
        return {file: optical(number) for number, file in enumerate(files, start=1)}
    if dataset == "mastcam":
        return {file: mastcam(file.removesuffix(".zip")) for file in files}
    return {files[0]: SINGLE[dataset]() if dataset in SINGLE else family(dataset)}


def write_originals(dataset: str) -> dict[str, dict[str, bytes]]:
    """Write the archives of a data set's small copy for the fetch; return their files."""
    originals = originals_of(dataset)
    for file, files in originals.items():
        write_archive(Path("data/downloads", dataset, file), files)
    return originals


def small(monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    """Give a data set the archives and the counts of its small copy."""
    spec = registry.get(dataset)
    archives = tuple(replace(a, digest="", size=None, url="") for a in spec.archives)
    expected = dict.fromkeys(spec.categories, COUNTS[dataset])
    changed(monkeypatch, dataset, archives=archives, expected=expected)
