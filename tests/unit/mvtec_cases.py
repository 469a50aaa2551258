"""Small copies of the original layouts of MVTec AD's family, in archives of the original kind."""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from osad.data import registry

SIZE = (6, 4)
CLASSES = {
    "mvtec": ("cut", "hole"),
    "mpdd": ("parts_mismatch", "scratches"),
    "mvtec_loco": ("logical_anomalies", "structural_anomalies"),
    "mvtec_3d": ("combined", "crack"),
    "visa": ("anomaly",),
}


def image(number: int, kind: str = "PNG") -> bytes:
    """Return an image whose bytes no other number has."""
    values = np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
    values[0, 0] = (number // 256, number % 256, 7)
    options = {"comment": str(number)} if kind == "JPEG" else {}  # JPEG loses small differences.
    return encode(values, kind, **options)


def mask(*pixels: tuple[int, int, int]) -> bytes:
    """Return a grey mask with the given (row, column, value)."""
    values = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    for row, column, value in pixels:
        values[row, column] = value
    return encode(values, "PNG")


def encode(values: np.ndarray, kind: str, **options: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def decoded(content: bytes) -> list[list[int]]:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "L"
        return np.asarray(picture).tolist()


def mvtec(category: str, classes: tuple[str, ...], numbers: itertools.count) -> dict[str, bytes]:
    """Return 3 training images, 2 good test images and 2 of each class, the masks 0 and 255."""
    files = {f"train/good/{k:03d}.png": image(next(numbers)) for k in range(3)}
    files |= {f"test/good/{k:03d}.png": image(next(numbers)) for k in range(2)}
    for name in classes:
        for k in range(2):
            files[f"test/{name}/{k:03d}.png"] = image(next(numbers))
            files[f"ground_truth/{name}/{k:03d}_mask.png"] = mask((k, 1, 255))
    return {f"{category}/{path}": content for path, content in files.items()}


def loco(category: str, classes: tuple[str, ...], numbers: itertools.count) -> dict[str, bytes]:
    """Return the same with ``validation`` and folders of masks with other grey levels."""
    files = {}
    for path, content in mvtec(category, classes, numbers).items():
        if "/ground_truth/" in path:
            folder = path.removesuffix("_mask.png")
            files[f"{folder}/000.png"] = mask((0, 0, 231), (1, 1, 231))
            files[f"{folder}/001.png"] = mask((1, 1, 5), (3, 5, 5))
        else:
            files[path] = content
    files[f"{category}/validation/good/000.png"] = image(next(numbers))
    files[f"{category}/defects_config.json"] = b"[]\n"
    return files


def three_d(category: str, classes: tuple[str, ...], numbers: itertools.count) -> dict[str, bytes]:
    """Return the same as ``rgb``, ``gt`` and ``xyz``; normal images have empty masks."""
    files = {}
    for path, content in mvtec(category, classes, numbers).items():
        if "/ground_truth/" in path:
            _, _, name, file = path.split("/")
            files[f"{category}/test/{name}/gt/{file.replace('_mask', '')}"] = content
            continue
        _, part, name, file = path.split("/")
        files[f"{category}/{part}/{name}/rgb/{file}"] = content
        files[f"{category}/{part}/{name}/xyz/{file.replace('.png', '.tiff')}"] = b"scan"
        if (part, name) == ("test", "good"):
            files[f"{category}/test/good/gt/{file}"] = mask()
    files[f"{category}/validation/good/rgb/000.png"] = image(next(numbers))
    files[f"{category}/calibration/camera_parameters.json"] = b"{}\n"
    return files


def visa(category: str, classes: tuple[str, ...], numbers: itertools.count) -> dict[str, bytes]:
    """Return 5 normal and 2 anomalous photographs; the masks number the defects 1 and 2."""
    files = {f"Data/Images/Normal/{k:04d}.JPG": image(next(numbers), "JPEG") for k in range(5)}
    for k in range(2):
        files[f"Data/Images/Anomaly/{k:03d}.JPG"] = image(next(numbers), "JPEG")
        files[f"Data/Masks/Anomaly/{k:03d}.png"] = mask((k, 2, k + 1))
    files["image_anno.csv"] = b"image,label,mask\n"
    return {f"{category}/{path}": content for path, content in files.items()}


def visa_split(category: str) -> list[str]:
    """Return the lines of ``1cls.csv``: normals 1, 3 and 4 are for training, 0 and 2 for tests."""
    parts = {1: "train", 4: "train", 3: "train", 0: "test", 2: "test"}
    start = f"{category}/Data"
    lines = [
        f"{category},{part},normal,{start}/Images/Normal/{k:04d}.JPG," for k, part in parts.items()
    ]
    return lines + [
        f"{category},test,anomaly,{start}/Images/Anomaly/{k:03d}.JPG,{start}/Masks/Anomaly/{k:03d}.png"
        for k in range(2)
    ]


LAYOUTS: dict[str, Callable[[str, tuple[str, ...], itertools.count], dict[str, bytes]]] = {
    "mvtec": mvtec,
    "mpdd": mvtec,
    "mvtec_loco": loco,
    "mvtec_3d": three_d,
    "visa": visa,
}


def originals_of(dataset: str) -> dict[str, bytes]:
    """Return all files of a data set's small copy by their paths in its archive."""
    numbers = itertools.count()
    files: dict[str, bytes] = {"license.txt": b"read me\n"}
    categories = registry.get(dataset).categories
    for category in categories:
        files |= LAYOUTS[dataset](category, CLASSES[dataset], numbers)
    if dataset == "visa":
        lines = ["object,split,label,image,mask"]
        lines += [line for category in categories for line in visa_split(category)]
        files["split_csv/1cls.csv"] = "".join(f"{line}\r\n" for line in lines).encode()
    top = "MPDD/" if dataset == "mpdd" else ""
    return {f"{top}{path}": content for path, content in files.items()}


def write_archive(path: Path, files: dict[str, bytes]) -> str:
    """Write an archive of the kind that the name says; return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()
