"""What receipts say of the machine."""

import sys

import pytest
import torch

from osad.runtime import facts

VERSION = (
    "NVRM version: NVIDIA UNIX {} Kernel Module  580.159.04  Release Build\nGCC version: 13.2.0"
)


@pytest.mark.parametrize("kind", ["x86_64", "Open"])
def test_the_gpu_that_was_used_its_driver_and_cuda(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    (tmp_path / "version").write_text(VERSION.format(kind))
    expected = {"gpu": "NVIDIA H100", "cuda": "13.0", "driver": "580.159.04"}
    assert facts.gpu_facts(tmp_path / "version") == expected
    assert facts.gpu_facts(tmp_path / "none") == expected | {"driver": "unknown"}
    assert facts.machine_facts()["gpu"] == facts.environment_facts()["device"] == "NVIDIA H100"


@pytest.mark.parametrize("loaded", [True, False])
def test_a_process_that_used_no_gpu_names_none(monkeypatch, loaded):
    if not loaded:
        monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert facts.gpu_facts() == {}
    assert facts.environment_facts()["device"] == "cpu"
