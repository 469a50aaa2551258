"""The fork server: equal bytes, its life and end, and clients that do without it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import job_cases
import pytest
from job_cases import JOB, QUICK, Waiting, ends, job_environment, linux_only, run_job, running

from osad.runtime.control import start_server
from osad.runtime.device import visible_gpus
from osad.runtime.environment import computing_environment
from osad.runtime.server import PRELOADED

_allowed, bare_server = job_cases._allowed, job_cases.bare_server


@pytest.fixture
def server(_allowed):
    """A server of one test's own."""
    server = start_server(())
    assert server is not None
    yield server
    server.stop()


@pytest.fixture(scope="module")
def torch_server(_allowed):
    """The real server, with everything that it preloads."""
    server = start_server()
    assert server is not None
    yield server
    server.stop()


@pytest.mark.parametrize(
    "gpu",
    [
        0,
        pytest.param(1, marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(visible_gpus() == 0, reason="needs a CUDA device"),
        ]),
    ],
)  # fmt: skip
def test_same_bytes_with_and_without_the_server(tmp_path, torch_server, gpu):
    runs = {"plain": None, "a": torch_server.address, "b": torch_server.address}
    for name, address in runs.items():
        result = run_job("doctor", "--gpu", gpu, "--output", tmp_path / name, address=address)
        assert (result.returncode, result.stderr) == (0, "")
    (content,) = {(tmp_path / name).read_bytes() for name in runs}
    report = json.loads(content)
    assert report["device"] == ("cuda" if gpu else "cpu")
    assert len(set(report["trial"].values())) == 4
    assert str(tmp_path) not in content.decode()


def test_many_clients_at_once(tmp_path, bare_server):
    environment = job_environment(bare_server.address)
    clients = [
        subprocess.Popen([*JOB, *QUICK, str(tmp_path / f"{n}.json")], env=environment)
        for n in range(20)
    ]
    assert [client.wait(60) for client in clients] == [0] * 20
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("kind", ["nothing", "file", "dead socket", "other interpreter"])
def test_client_falls_back_to_a_plain_process(tmp_path, kind):
    path, other = tmp_path / "s", None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if kind == "file":
        path.write_text("")
    elif kind == "dead socket":
        listener.bind(str(path))
    elif kind == "other interpreter":
        script = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
            "s.listen(); print('ready', flush=True); c, _ = s.accept();"
            "c.send(b'osad 1 /elsewhere 0 0 []\\n'); print(len(c.recv(99)))"
        )
        command = [sys.executable, "-c", script, str(path)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "ready\n"
    with listener:
        result = run_job(*QUICK, tmp_path / "o.json", address=str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "o.json").exists()
    if other is not None:
        assert other.communicate(timeout=10)[0] == "0\n"  # It was told nothing.


def test_edited_sources_and_other_copies_are_seen_by_a_running_server(tmp_path, bare_server):
    version = job_cases.copy_of_package(tmp_path / "lib")
    path = str(tmp_path / "lib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        own = start_server(())
    assert own is not None
    try:
        for number, server in enumerate((own, own, bare_server)):
            version.write_text(f'__version__ = "edit {number}"\n')
            output = tmp_path / f"{number}.json"
            result = run_job(*QUICK, output, address=server.address, PYTHONPATH=path)
            assert result.returncode == 0, result.stderr
            assert json.loads(output.read_text())["osad"] == f"edit {number}"
    finally:
        own.stop()


@pytest.mark.usefixtures("_allowed")
def test_the_server_holds_what_it_is_to_hold_until_it_ends():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    server = start_server((), keep=[writer])
    os.close(writer)
    try:
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        server.stop()
        assert os.read(reader, 1) == b""  # Nobody can write to it any more.
    finally:
        server.stop()
        os.close(reader)


def test_server_ends_with_its_owner(tmp_path):
    script = (
        "import sys; from osad.runtime.control import start_server; s = start_server(());"
        "print(s.address, s.process.pid, flush=True); sys.stdin.read(); import os; os._exit(0)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        address, process = owner.stdout.readline().split()
        waiting = Waiting(tmp_path, address=address)
        assert Path(address).parent.stat().st_mode & 0o777 == 0o700
        owner.stdin.close()
        owner.wait(10)
    assert ends(int(process))
    assert not Path(address).parent.exists()
    assert waiting.finish()[0] == 1
    assert ends(waiting.job)


def test_stop_ends_jobs_and_removes_the_socket(tmp_path, server):
    waiting = Waiting(tmp_path, address=server.address)
    server.stop()
    server.stop()
    assert server.process.returncode == 0
    assert not Path(server.address).parent.exists()
    assert waiting.finish() == (1, "osad doctor: killed by signal 15 (SIGTERM)\n")
    assert not running(waiting.job)


@linux_only
def test_server_that_dies_is_reported_and_the_job_not_run_twice(tmp_path, server, capfd):
    waiting = Waiting(tmp_path, "--failure", tmp_path / "f.json", address=server.address)
    server.process.kill()
    reason = "the fork server ended while the job ran; run the job again"
    assert waiting.finish() == (1, f"osad doctor: {reason}\n")
    assert json.loads((tmp_path / "f.json").read_text())["error"] == "ServerDied"
    assert ends(waiting.job)
    assert not (tmp_path / "out.json").exists()
    server.stop()
    message = "osad: the fork server ended with status -9; jobs start one by one\n"
    assert capfd.readouterr().err == message


def test_server_that_is_switched_off_or_cannot_start_is_none(monkeypatch, tmp_path, capfd):
    for program in (str(tmp_path / "missing"), shutil.which("false")):
        monkeypatch.setattr(sys, "executable", program)
        assert start_server(()) is None
        assert capfd.readouterr().err.startswith("osad: ")
    monkeypatch.setenv("OSAD_FORK_SERVER", "0")
    assert start_server(()) is None
    assert capfd.readouterr().err == ""


@linux_only
def test_server_has_one_thread_and_no_stray_clients(torch_server):
    assert run_job("--help", address=torch_server.address).returncode == 0  # It has imported.
    status = Path(f"/proc/{torch_server.process.pid}/status").read_text()
    assert "\nThreads:\t1\n" in status


def test_preloading_leaves_cuda_usable_in_a_fork():
    """Neither is CUDA initialised nor its devices counted, which no fork could use it after."""
    code = (
        "import os, sys; from osad.runtime.server import preload, PRELOADED\n"
        "import torch; asked = []\n"
        "for name in ('_cuda_init', '_cuda_getDeviceCount', '_cuda_getDriverVersion'):\n"
        "    setattr(torch._C, name, lambda *_, name=name: asked.append(name) or 0)\n"
        "assert not torch.cuda.is_available() and asked; asked.clear()  # It sees what asks.\n"
        "preload(PRELOADED); child = os.fork()\n"
        "if child == 0: os._exit(torch.cuda._is_in_bad_fork())\n"
        "loaded = {'timm', 'torchvision'} & set(sys.modules)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sorted(loaded), asked)"
    )
    environment = computing_environment(os.environ)
    assert "torch" in PRELOADED
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True) == "0 [] []\n"


@linux_only
@pytest.mark.usefixtures("_allowed")
def test_more_jobs_than_processors_wait_for_their_turn(tmp_path):
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    try:
        server = start_server(())  # It inherits that it may use one processor.
    finally:
        os.sched_setaffinity(0, everything)
    assert server is not None
    try:
        first = Waiting(tmp_path, address=server.address)
        environment = job_environment(server.address)
        second, third = (
            subprocess.Popen([*JOB, *QUICK, str(tmp_path / name)], env=environment)
            for name in ("second.json", "third.json")
        )
        third.terminate()  # Gone before its turn: it never runs.
        time.sleep(1.0)
        assert second.poll() is None
        assert not (tmp_path / "second.json").exists()
        first.client.terminate()
        first.client.communicate(timeout=20)
        assert second.wait(20) == 0
        third.wait(20)
        assert (tmp_path / "second.json").exists()
        assert not (tmp_path / "third.json").exists()
    finally:
        server.stop()
