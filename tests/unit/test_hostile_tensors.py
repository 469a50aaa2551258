"""Made-up safetensors and files of weights: read, or refused by one message with their name."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz_cases import changed, damaged, tried

from osad.backbones.registry import load_state
from osad.core.arrays import read_arrays
from osad.core.cells import Cell
from osad.core.errors import DataError
from osad.core.files import read_metadata, read_tensors, write_tensors
from osad.data import masks
from osad.evaluation import maps
from osad.features import packs
from osad.pipeline.steps.run import FEATURES, check_checkpoint, check_features
from osad.predict import check

pytestmark = pytest.mark.fuzz
SHA, IMAGES = "0" * 64, ("a.png", "b.png")
CELL = "x/all/normal-m0/patchcore/s0"
INFO = packs.PackInfo(
    "plain", IMAGES, (SHA, SHA), "cpu", "tf_efficientnet_lite0", SHA, 32, (16,), (2,)
)


def write_maps(path: Path) -> None:
    values = np.zeros((2, 2, 2), np.float32)
    maps.write(path, maps.AnomalyMaps(CELL, IMAGES, (SHA, SHA), 32, values), cell=CELL)


def read_maps(path: Path) -> None:
    found = maps.read(path)
    maps.check(found, [(image, SHA) for image in IMAGES], cell=CELL, where=path)
    found.select(IMAGES)


def write_masks(path: Path) -> None:
    bits = masks.pack_bits([np.ones((9, 9), bool)], 9)
    masks.write_masks(path, masks.MaskPack(("a.png",), (SHA,), (SHA,), ("b.png",), 9, bits))


def read_masks(path: Path) -> None:
    found = masks.read_masks(path)
    for image in IMAGES:
        found.mask(image, SHA, where=path)


def write_pack(path: Path) -> None:
    packs.write_pack(path, {"s16": torch.zeros(2, 2, 2, 2, dtype=torch.float16)}, INFO)


def read_pack(path: Path) -> None:
    found = packs.Pack.open(path)
    found.rows(IMAGES, (SHA, SHA))
    assert found.tensor("s16").shape == (2, 2, 2, 2)


def write_checkpoint(path: Path) -> None:
    features = [{name: getattr(INFO, name) for name in FEATURES}]
    write_tensors(
        path, {"bank": torch.ones(2, 3)},
        {"format": 1, "cell": CELL, "hyper": {"a": 1}, "device": "cpu", "features": features},
    )  # fmt: skip


def read_checkpoint(path: Path) -> None:
    check._hyper(path)
    metadata = read_metadata(path)
    check_checkpoint(metadata, Cell.parse(CELL), {"a": 1}, path)
    check_features(metadata, [INFO], path)
    read_tensors(path)
    read_arrays(path)


FILES: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "maps": (write_maps, read_maps),
    "masks": (write_masks, read_masks),
    "pack": (write_pack, read_pack),
    "checkpoint": (write_checkpoint, read_checkpoint),
}


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, and what follows."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("maps", "paths", 5), ("maps", "cell", "\ud800"), ("maps", "image_size", "32"),
        ("masks", "image_size", "9"), ("masks", "unmasked", {}), ("pack", "strides", [0]),
        ("pack", "strides", [16, 32]), ("pack", "paths", 5), ("checkpoint", "features", 5),
        ("checkpoint", "features", [{}]), ("checkpoint", "features", [{"pack": []}]),
    ],
)  # fmt: skip
def test_the_smallest_descriptions_that_once_ended_in_a_traceback(tmp_path, kind, key, value):
    write, read = FILES[kind]
    path = tmp_path / "file.safetensors"
    write(path)
    header, rest = parts(path.read_bytes())
    about = json.loads(header["__metadata__"]["osad"]) | {key: value}
    text = json.dumps(header | {"__metadata__": {"osad": json.dumps(about)}}).encode()
    path.unlink()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    with pytest.raises(DataError, match=r"^[^;]*file\.safetensors: "):
        read(path)


def rebuilt(content: bytes, draw: random.Random) -> bytes:
    """Change the description in a safetensors file, or its header, or the header's length."""
    header, rest = parts(content)
    if draw.randrange(3):
        about = json.loads(header["__metadata__"]["osad"])
        header["__metadata__"]["osad"] = json.dumps(changed(about, draw)[0])
    else:
        header, _ = changed(header, draw)
    text = json.dumps(header).encode()
    told = draw.choice([len(text)] * 5 + [0, 2**63, len(text) + 1, 2**40])
    return told.to_bytes(8, "little") + text + rest


@pytest.mark.parametrize("kind", FILES)
def test_any_safetensors_are_read_or_refused(tmp_path, kind):
    write, read = FILES[kind]
    path = tmp_path / "file.safetensors"
    write(path)
    read(path)
    whole = path.read_bytes()

    def one(draw: random.Random) -> None:
        content = rebuilt(whole, draw) if draw.randrange(3) else damaged(whole, draw)
        path.unlink()  # It may be mapped into memory.
        path.write_bytes(content)
        read(path)

    messages, _ = tried(80, one)
    assert len(messages) > 40
    assert [message for message in messages if "file.safetensors" not in message] == []


@pytest.mark.filterwarnings("ignore")  # Those of torch; a run goes on, too.
@pytest.mark.parametrize("old", [False, True])
def test_any_weights_are_read_or_refused(tmp_path, old):
    path = tmp_path / "w.pth"
    state = {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3, dtype=torch.float64)}
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    assert load_state(path).keys() == state.keys()
    whole = path.read_bytes()

    def one(draw: random.Random) -> None:
        content = damaged(whole, draw)
        path.unlink()
        path.write_bytes(content)
        load_state(path)

    messages, _ = tried(60, one)
    assert len(messages) > 20
    assert [message for message in messages if "w.pth" not in message] == []
