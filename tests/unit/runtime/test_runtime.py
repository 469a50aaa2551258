"""Jobs: their environment, the two ways to run them, cancelling, failing, and the fork server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import osad
from osad.pipeline import steps
from osad.runtime.control import start_server
from osad.runtime.device import visible_gpus
from osad.runtime.environment import computing_environment, variables
from osad.runtime.server import PRELOADED

PYTHON = sys.executable
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux offers this")


@pytest.fixture(scope="module", autouse=True)
def _allowed():
    """Let the server start on every system and ignore one that the caller may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSAD_FORK_SERVER", "1")
        patch.delenv("OSAD_SERVER", raising=False)
        yield


@pytest.fixture(scope="module")
def torch_server(_allowed):
    """The real server, with everything that it preloads."""
    server = start_server()
    assert server is not None
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bare_server(_allowed):
    """A server that preloads nothing, so that it starts at once."""
    server = start_server(())
    assert server is not None
    yield server
    server.stop()


@pytest.fixture(params=["plain", "server"])
def address(request, bare_server):
    """Both ways to run a job: None for a plain process, or the server's address."""
    return bare_server.address if request.param == "server" else None


def job_environment(address=None, **extra):
    environment = {**os.environ, **extra}
    environment.pop("OSAD_SERVER", None)
    return environment if address is None else environment | {"OSAD_SERVER": address}


def run_job(*arguments, address=None, cwd=None, **extra):
    return subprocess.run(
        [PYTHON, "-m", "osad.runtime.job", *map(str, arguments)],
        env=job_environment(address, **extra),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


class Waiting:
    """A job that has started and waits: the client's process and the job's process id."""

    def __init__(self, folder, *arguments, address=None):
        command = [PYTHON, "-m", "osad.runtime.job", "doctor", "--quick", "--sleep", "60"]
        self.client = subprocess.Popen(
            [*command, "--output", str(folder / "out.json"), *map(str, arguments)],
            env=job_environment(address),
            stderr=subprocess.PIPE,
            text=True,
            # Under `&` or nohup the tests inherit that Control-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        line = self.client.stderr.readline()
        assert line.startswith("osad doctor: process "), line
        self.job = int(line.split()[3])

    def finish(self):
        _, stderr = self.client.communicate(timeout=30)
        return self.client.returncode, stderr


def running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return sys.platform != "linux"


def ends(process, seconds=10.0):
    deadline = time.monotonic() + seconds
    while running(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(process)


def test_environment_reaches_the_job(tmp_path, address):
    result = run_job(
        "doctor", "--quick", "--output", "a/b.json", address=address, cwd=tmp_path,
        OMP_NUM_THREADS="7", PYTHONHASHSEED="3", MKL_CBWR="SSE2",
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    report = json.loads((tmp_path / "a/b.json").read_text())
    assert report["environment"] == variables()
    reference = [PYTHON, "-c", "print(hash('osad'))"]
    assert report["hash"] == int(subprocess.check_output(reference, env={"PYTHONHASHSEED": "0"}))


# --- both ways to run a job ---


def test_job_imports_only_the_standard_library():
    code = (
        "import sys; before = set(sys.modules); import osad.runtime.job, osad.runtime.protocol;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    names = subprocess.check_output([PYTHON, "-c", code], text=True).split()
    assert set(names) - {"osad"} <= sys.stdlib_module_names
    assert not {"json", "re", "typing", "socket", "subprocess", "ctypes"} & set(names)


def test_exit_codes_and_messages_are_equal(tmp_path, address):
    failure = tmp_path / "f.json"
    usage = run_job("doctor", "--failure", failure, address=address)
    assert usage.returncode == 2
    assert "usage: osad doctor" in usage.stderr
    assert json.loads(failure.read_text())["error"] == "SystemExit"
    unknown = run_job("nosuch", address=address)
    assert (unknown.returncode, unknown.stderr[:34]) == (2, "osad nosuch: unknown step 'nosuch'")
    # Any other error: a traceback that begins in the package.
    (tmp_path / "file").write_text("")
    bug = run_job("doctor", "--quick", "--output", tmp_path / "file/x.json", address=address)
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr
    assert "FileExistsError" in bug.stderr
    helped = run_job("--help", address=address)
    assert (helped.returncode, helped.stdout.splitlines()[0]) == (0, steps.USAGE)


def test_same_bytes_with_and_without_the_server(tmp_path, torch_server):
    plain = run_job("doctor", "--output", tmp_path / "plain.json")
    forked = run_job("doctor", "--output", tmp_path / "a.json", address=torch_server.address)
    again = run_job("doctor", "--output", tmp_path / "b.json", address=torch_server.address)
    assert [r.returncode for r in (plain, forked, again)] == [0, 0, 0], forked.stderr
    content = (tmp_path / "plain.json").read_bytes()
    assert len(set(json.loads(content)["trial"].values())) == 4
    assert (tmp_path / "a.json").read_bytes() == content
    assert (tmp_path / "b.json").read_bytes() == content
    assert str(tmp_path) not in content.decode()


@pytest.mark.gpu
@pytest.mark.skipif(visible_gpus() == 0, reason="needs a CUDA device")
def test_same_bytes_on_a_gpu_with_and_without_the_server(tmp_path, torch_server):
    options = ("doctor", "--gpu", "1", "--output")
    plain = run_job(*options, tmp_path / "plain.json")
    forked = run_job(*options, tmp_path / "forked.json", address=torch_server.address)
    assert (plain.stderr, forked.stderr) == ("", "")
    content = (tmp_path / "plain.json").read_bytes()
    assert json.loads(content)["device"] == "cuda"
    assert (tmp_path / "forked.json").read_bytes() == content


def test_many_clients_at_once(tmp_path, bare_server):
    command = [PYTHON, "-m", "osad.runtime.job", "doctor", "--quick", "--output"]
    environment = job_environment(bare_server.address)
    clients = [
        subprocess.Popen([*command, str(tmp_path / f"{n}.json")], env=environment)
        for n in range(20)
    ]
    assert [client.wait(60) for client in clients] == [0] * 20
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert len(list(tmp_path.iterdir())) == 20


def test_streams_directory_and_umask_are_the_clients(tmp_path, bare_server):
    script = (
        "import os, subprocess, sys; os.umask(0o077);"
        "sys.exit(subprocess.call([sys.executable, '-m', 'osad.runtime.job', 'doctor', '--quick',"
        " '--sleep', '0.01', '--output', 'new/x.json']))"
    )
    result = subprocess.run(
        [PYTHON, "-c", script],
        env=job_environment(bare_server.address),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert result.stderr.startswith("osad doctor: process ")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_killed_job_is_explained(tmp_path, address):
    failure = tmp_path / "f.json"
    waiting = Waiting(tmp_path, "--failure", failure, address=address)
    os.kill(waiting.job, signal.SIGKILL)
    reason = "killed by signal 9 (SIGKILL); out of memory?"
    assert waiting.finish() == (1, f"osad doctor: {reason}\n")
    expected = {"step": "doctor", "reason": reason, "error": "SIGKILL"}
    assert json.loads(failure.read_text()) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancelled_client_ends_its_job_first(tmp_path, address, number):
    waiting = Waiting(tmp_path, "--failure", tmp_path / "f.json", address=address)
    waiting.client.send_signal(number)
    assert waiting.finish() == (-number, "")
    assert not running(waiting.job)
    assert list(tmp_path.iterdir()) == []  # Neither an output nor a failure.


@linux_only
def test_killed_client_ends_its_job(tmp_path, address):
    waiting = Waiting(tmp_path, address=address)
    waiting.client.kill()
    waiting.client.wait()
    ended = ends(waiting.job)
    waiting.finish()
    assert ended


def test_job_that_ignores_cancelling_is_killed(tmp_path, address):
    waiting = Waiting(tmp_path, address=address)
    os.kill(waiting.job, signal.SIGSTOP)  # It cannot act on SIGTERM any more.
    waiting.client.terminate()
    assert waiting.finish()[0] == -signal.SIGTERM
    assert ends(waiting.job)


# --- the server ---


@pytest.mark.parametrize("kind", ["nothing", "file", "dead socket", "other interpreter"])
def test_client_falls_back_to_a_plain_process(tmp_path, kind):
    import socket

    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    other = None
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
        command = [PYTHON, "-c", script, str(path)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "ready\n"
    with listener:
        result = run_job("doctor", "--quick", "--output", tmp_path / "o.json", address=str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "o.json").exists()
    if other is not None:
        assert other.communicate(timeout=10)[0] == "0\n"  # It was told nothing.


def test_edited_sources_are_seen_by_a_running_server(tmp_path):
    package = tmp_path / "lib/osad"
    shutil.copytree(
        Path(osad.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    path = str(package.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        server = start_server(())
    assert server is not None
    try:
        for version in ("0.1.0", "9.8.7-edited"):
            (package / "__init__.py").write_text(f'"""Package."""\n\n__version__ = "{version}"\n')
            output = tmp_path / f"{version}.json"
            result = run_job(
                "doctor", "--quick", "--output", output, address=server.address, PYTHONPATH=path
            )
            assert result.returncode == 0, result.stderr
            assert json.loads(output.read_text())["osad"] == version
    finally:
        server.stop()


def test_client_of_another_copy_gets_its_own_sources(tmp_path, bare_server):
    package = tmp_path / "lib/osad"
    shutil.copytree(
        Path(osad.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "__init__.py").write_text('__version__ = "copy"\n')
    result = run_job(
        "doctor", "--quick", "--output", tmp_path / "o.json",
        address=bare_server.address, PYTHONPATH=str(package.parent),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "o.json").read_text())["osad"] == "copy"


def test_server_ends_with_its_owner(tmp_path):
    script = (
        "import sys; from osad.runtime.control import start_server; s = start_server(());"
        "print(s.address, s.process.pid, flush=True); sys.stdin.read(); import os; os._exit(0)"
    )
    with subprocess.Popen(
        [PYTHON, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        address, server = owner.stdout.readline().split()
        waiting = Waiting(tmp_path, address=address)
        assert Path(address).parent.stat().st_mode & 0o777 == 0o700
        owner.stdin.close()
        owner.wait(10)
    assert ends(int(server))
    assert not Path(address).parent.exists()
    assert waiting.finish()[0] == 1
    assert ends(waiting.job)


def test_stop_ends_jobs_and_removes_the_socket(tmp_path):
    server = start_server(())
    assert server is not None
    waiting = Waiting(tmp_path, address=server.address)
    server.stop()
    server.stop()
    assert server.process.returncode == 0
    assert not Path(server.address).parent.exists()
    assert waiting.finish() == (1, "osad doctor: killed by signal 15 (SIGTERM)\n")
    assert not running(waiting.job)


@linux_only
def test_server_that_dies_is_reported_and_the_job_not_run_twice(tmp_path, capfd):
    server = start_server(())
    assert server is not None
    failure = tmp_path / "f.json"
    waiting = Waiting(tmp_path, "--failure", failure, address=server.address)
    server.process.kill()
    code, stderr = waiting.finish()
    assert code == 1
    assert stderr == "osad doctor: the fork server ended while the job ran; run the job again\n"
    assert json.loads(failure.read_text())["error"] == "ServerDied"
    assert ends(waiting.job)
    assert not (tmp_path / "out.json").exists()
    server.stop()
    assert capfd.readouterr().err == (
        "osad: the fork server ended with status -9; jobs start one by one\n"
    )


def test_server_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("OSAD_FORK_SERVER", "0")
    assert start_server(()) is None


def test_server_that_cannot_start_is_none(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    assert start_server(()) is None
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert start_server(()) is None
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("osad: ") for line in lines)


@linux_only
def test_server_has_one_thread_and_no_stray_clients(torch_server):
    assert run_job("--help", address=torch_server.address).returncode == 0  # It has imported.
    status = Path(f"/proc/{torch_server.process.pid}/status").read_text()
    assert "\nThreads:\t1\n" in status


def test_preloading_leaves_cuda_usable_in_a_fork():
    code = (
        "import os, sys; from osad.runtime.server import preload, PRELOADED; preload(PRELOADED)\n"
        "import torch; child = os.fork()\n"
        "if child == 0: os._exit(torch.cuda._is_in_bad_fork())\n"
        "loaded = {'timm', 'torchvision'} & set(sys.modules)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sorted(loaded))"
    )
    environment = computing_environment(os.environ)
    assert "torch" in PRELOADED
    assert subprocess.check_output([PYTHON, "-c", code], env=environment, text=True) == "0 []\n"


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
        command = [PYTHON, "-m", "osad.runtime.job", "doctor", "--quick", "--output"]
        environment = job_environment(server.address)
        second, third = (
            subprocess.Popen([*command, str(tmp_path / name)], env=environment)
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
