"""A run taken from that of another protocol: the same file, the same rows, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from osad.core.errors import CheckError
from osad.core.files import write_csv, write_tensors
from osad.data.splits import SplitRow, write_split
from osad.pipeline.steps import share

DIGESTS = {name: letter * 64 for name, letter in zip("abcdef", "abcdef", strict=True)}
COLUMNS = ("path", "sha256", "label", "class", "score", "score_part")
CELL = "made/all/general-m1/patchcore/s0"
SOURCE = "made/all/normal-m0/patchcore/s0"


def row(name: str, role: str, label: int) -> SplitRow:
    return SplitRow(f"{name}.png", DIGESTS[name], role, label, "dent" if label else "good")


NORMALS = [row("a", "train_normal", 0), row("b", "train_normal", 0)]
TEST = [row("c", "test", 0), row("d", "test", 1), row("e", "test", 1)]


def line(image: SplitRow, score: float) -> dict[str, object]:
    values = (image.path, image.sha256, image.label, image.class_name, score, -score)
    return dict(zip(COLUMNS, values, strict=True))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_split(tmp_path / "source.csv", [*NORMALS, *TEST])
    write_split(tmp_path / "split.csv", [*NORMALS, TEST[0], row("d", "train_anomaly", 1), TEST[2]])
    lines = [line(image, 0.1 + number) for number, image in enumerate(TEST)]
    write_csv(tmp_path / "source-scores.csv", COLUMNS, lines)
    write_tensors(tmp_path / "source.safetensors", {"x": torch.ones(3)}, {"cell": SOURCE})
    return tmp_path


def run(files: Path, **changed: str) -> list[Path]:
    options = {
        "cell": CELL,
        "split": f"{files}/split.csv",
        "source-split": f"{files}/source.csv",
        "source-checkpoint": f"{files}/source.safetensors",
        "source-scores": f"{files}/source-scores.csv",
        "checkpoint": f"{files}/out.safetensors",
        "output": f"{files}/out.csv",
    }
    pairs = (options | {key.replace("_", "-"): value for key, value in changed.items()}).items()
    return share.main([text for key, value in pairs for text in (f"--{key}", value)])


def test_the_checkpoint_is_the_same_and_the_rows_of_the_test_images_stay(files: Path) -> None:
    assert run(files) == [files / "out.csv", files / "out.safetensors"]
    assert (files / "out.safetensors").read_bytes() == (files / "source.safetensors").read_bytes()
    assert (files / "out.csv").read_text() == (
        "path,sha256,label,class,score,score_part\n"
        f"c.png,{'c' * 64},0,good,0.1,-0.1\n"
        f"e.png,{'e' * 64},1,dent,2.1,-2.1\n"
    )


def test_other_training_normals_are_refused(files: Path) -> None:
    write_split(files / "source.csv", [NORMALS[0], *TEST])
    with pytest.raises(CheckError, match=r"split\.csv: b\.png is a training normal here or in"):
        run(files)
    assert not (files / "out.safetensors").exists()


@pytest.mark.parametrize(
    "image",
    [
        SplitRow("e.png", "f" * 64, "test", 1, "dent"),
        SplitRow("e.png", "e" * 64, "test", 1, "scratch"),
        SplitRow("f.png", "f" * 64, "test", 1, "dent"),
    ],
)
def test_an_image_that_the_shared_run_did_not_score_is_refused(files, image) -> None:
    write_split(files / "split.csv", [*NORMALS, TEST[0], image])
    with pytest.raises(CheckError, match=rf"source-scores\.csv: has no row of {image.path}"):
        run(files)
    assert not (files / "out.csv").exists()


@pytest.mark.parametrize(
    "cell",
    [
        "made/all/general-m1/patchcore/s1",
        "made/all/general-m1/mahalanobis/s0",
        "other/all/general-m1/patchcore/s0",
    ],
)
def test_a_checkpoint_of_another_run_is_refused(files: Path, cell: str) -> None:
    with pytest.raises(CheckError, match=rf"is of cell {SOURCE}, not one of {cell}'s"):
        run(files, cell=cell)
