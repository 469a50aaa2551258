"""The environment of jobs, their device, and the requests that clients send."""

import os
import random
import re
import subprocess
import sys
from typing import Any

import pytest

from osad.core.errors import ConfigError
from osad.runtime import device, protocol
from osad.runtime.environment import computing_environment, variables


def test_environment_overrides_and_removes_what_changes_numbers():
    kept = {"KMP_DUPLICATE_LIB_OK": "TRUE", "CUDA_VISIBLE_DEVICES": "1", "TORCH_HOME": "/weights"}
    harmful = (
        "OMP_NUM_THREADS", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA",
        "ATEN_CPU_CAPABILITY", "GLIBC_TUNABLES", "NVIDIA_TF32_OVERRIDE",
    )  # fmt: skip
    assert computing_environment(kept | dict.fromkeys(harmful, "8")) == kept | variables()


def test_what_lies_in_the_current_folder_is_no_module(tmp_path):
    """Jobs are ``python -m`` in the project's folder, where somebody may have a folder ``timm``."""
    (tmp_path / "local.py").write_text("print(1)")
    command = [sys.executable, "-m", "local"]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    for environment, said in ((plain, b"1\n"), (computing_environment(os.environ), b"")):
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert ran.stdout == said


def test_request_survives_packing():
    arguments = ["train", "", "a b\n", "\udcff"]
    environment = {"A": "", "B": "x=y"}
    place: dict[str, Any] = {"directory": "/\udcfe", "umask": 0o27}
    packed = protocol.pack_request(arguments, environment, **place, search_path=[])
    assert protocol.unpack_request(packed) == (arguments, environment, *place.values(), [])


@pytest.mark.parametrize(
    "content", [b"", b"/d\x0018\x002\x00a", b"/d\x0018\x000\x000\x00A", b"/d\0x"]
)
def test_incomplete_request_is_refused(content):
    with pytest.raises(ValueError):  # noqa: PT011 - of several places
        protocol.unpack_request(content)


@pytest.mark.parametrize(
    ("chosen", "count"),
    {None: 2, "": 0, "-1": 0, "0": 1, "1,0": 2, "0,5,1": 1, "0,-1,1": 1, "GPU-ab": 1}.items(),
)
def test_visible_gpus(tmp_path, monkeypatch, chosen, count):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert device.visible_gpus(tmp_path) == count


@pytest.mark.parametrize(("listing", "count"), [("GPU 0: A\\nGPU 1: B\\n", 2), ("", 0)])
def test_visible_gpus_asks_the_driver(tmp_path, monkeypatch, listing, count):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{listing}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.visible_gpus(tmp_path) == count
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device.visible_gpus(tmp_path) == 0


def test_select_device(monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.select_device(0) == torch.device("cpu")
    assert device.select_device(2) == torch.device("cuda")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("built", "chosen", "present", "reason"),
    [
        (None, None, 1, "this torch is built without CUDA"),
        ("13.0", None, 1, "torch's CUDA 13.0 does not work with the GPU or its driver"),
        ("13.0", "", 0, "CUDA_VISIBLE_DEVICES= shows none"),
        ("13.0", "7", 0, "CUDA_VISIBLE_DEVICES=7 shows none"),
        ("13.0", None, 0, "there is none"),
    ],
)
def test_why_a_gpu_is_not_used(monkeypatch, capsys, built, chosen, present, reason):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(device, "visible_gpus", lambda: present)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert device.select_device(0) == torch.device("cpu")
    assert capsys.readouterr().err == ""
    assert device.select_device(1) == torch.device("cpu")
    assert capsys.readouterr().err == f"osad: gpu=1 was granted but {reason}; using the CPU\n"
    monkeypatch.setenv(device.GRANTED, "1")
    assert device.select_device(0) == torch.device("cpu")
    with pytest.raises(ConfigError, match=re.escape(f"gpu=1 was granted but {reason}; nothing")):
        device.select_device(1)


def test_make_deterministic(monkeypatch):
    import numpy as np
    import torch

    def draw():
        old_numpy = np.random.rand()  # noqa: NPY002 - the global generator is what is tested
        return random.random(), old_numpy, torch.rand(1).item()

    threads = torch.get_num_threads()
    backends = torch.backends
    flags = (
        (backends.cudnn, "benchmark", True),
        (backends.cudnn, "deterministic", False),
        (backends.cudnn, "allow_tf32", True),
        (backends.cuda.matmul, "allow_tf32", True),
    )
    before = [getattr(target, name) for target, name, _ in flags]
    for target, name, opposite in flags:
        setattr(target, name, opposite)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")  # Restored afterwards, whatever it was.
    try:
        device.make_deterministic(2)
        assert torch.get_num_threads() == 2
        first = draw()
        device.make_deterministic()
        assert torch.get_num_threads() == 1
        assert draw() == first
        assert torch.are_deterministic_algorithms_enabled()
        assert all(getattr(target, name) is not opposite for target, name, opposite in flags)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
        for (flag, name, _), value in zip(flags, before, strict=True):
            setattr(flag, name, value)
