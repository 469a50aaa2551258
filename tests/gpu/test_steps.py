"""Features, a run and a prediction on a GPU, from images to files."""

from pathlib import Path

import pytest
import torch
from step_cases import PACKS, make_all, make_project

from osad.core.files import read_csv, read_metadata
from osad.features.packs import Pack
from osad.runtime.facts import environment_facts, gpu_facts

pytestmark = pytest.mark.gpu


def test_the_same_bytes_twice_and_nearly_those_of_the_processor(tmp_path, monkeypatch, cuda):
    files = []
    for folder in ("first", "again"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        make_project()
        make_all(1)
        paths = sorted(path for path in Path("1").rglob("*") if path.is_file())
        files.append({str(path): path.read_bytes() for path in paths})
    assert len(files[0]) > 20
    assert [name for name in files[0] if files[0][name] != files[1].get(name)] == []
    make_all(0)
    assert read_metadata(Path("1/checkpoint"))["device"] == "cuda"
    for pack in PACKS:
        pack_made, pack_expected = Pack.open(f"1/{pack}"), Pack.open(f"0/{pack}")
        for name in pack_expected.info.shapes():
            torch.testing.assert_close(
                pack_made.tensor(name), pack_expected.tensor(name), rtol=1e-2, atol=1e-2
            )
    made, expected = (
        [float(row["score"]) for row in read_csv(f"{folder}/scores", ["score"])]
        for folder in (1, 0)
    )
    assert made == pytest.approx(expected, rel=0.05, abs=0.05)


def test_receipts_name_the_gpu(cuda):
    torch.zeros(1, device=cuda)
    name = torch.cuda.get_device_name()
    assert environment_facts()["device"] == gpu_facts()["gpu"] == name
    assert gpu_facts()["cuda"] == torch.version.cuda
    assert gpu_facts()["driver"] != ""
