"""A job as its client runs it: environment, streams, log, exit codes, and cancelling."""

import json
import os
import signal
import subprocess
import sys
import time

import job_cases
import pytest
from job_cases import JOB, QUICK, Waiting, ends, job_environment, linux_only, run_job, running

from osad.runtime.environment import variables
from osad.runtime.harness import USAGE
from osad.runtime.job import search_path

_allowed, bare_server, address = job_cases._allowed, job_cases.bare_server, job_cases.address


def test_environment_reaches_the_job(tmp_path, address):
    result = run_job(
        *QUICK, "a/b.json", address=address, cwd=tmp_path,
        OMP_NUM_THREADS="7", PYTHONHASHSEED="3", MKL_CBWR="SSE2",
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    report = json.loads((tmp_path / "a/b.json").read_text())
    assert report["environment"] == variables()
    command = [sys.executable, "-c", "print(hash('osad'))"]
    assert report["hash"] == int(subprocess.check_output(command, env={"PYTHONHASHSEED": "0"}))


def test_the_current_folder_holds_no_modules_of_a_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), "/a", str(tmp_path)])
    assert search_path() == ["/a", str(tmp_path)]  # The latter is in PYTHONPATH.
    monkeypatch.chdir("/")
    assert search_path() == sys.path


def test_the_client_imports_only_the_standard_library():
    code = (
        "import sys; before = set(sys.modules); import osad.runtime.job, osad.runtime.protocol;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    names = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert set(names) - {"osad"} <= sys.stdlib_module_names
    assert not {"json", "re", "typing", "socket", "subprocess", "ctypes", "threading"} & set(names)


def test_exit_codes_and_messages_are_equal(tmp_path, address):
    failure = tmp_path / "f.json"
    usage = run_job("doctor", "--failure", failure, address=address)
    assert usage.returncode == 2
    assert "usage: osad doctor" in usage.stderr
    assert json.loads(failure.read_text())["error"] == "SystemExit"
    unknown = run_job("nosuch", address=address)
    assert (unknown.returncode, unknown.stderr[:34]) == (2, "osad nosuch: unknown step 'nosuch'")
    (tmp_path / "file").write_text("")
    place = run_job(*QUICK, tmp_path / "file/x.json", address=address)
    assert (place.returncode, place.stderr) == (2, f"osad doctor: {tmp_path}/file: File exists\n")
    # Any other error: a traceback that begins in the package.
    bug = run_job(*QUICK, tmp_path / "x.json", "--sleep", "1e30", address=address)
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr
    assert "OverflowError" in bug.stderr
    helped = run_job("--help", address=address)
    assert (helped.returncode, helped.stdout.splitlines()[0]) == (0, USAGE)


def test_streams_directory_and_umask_are_the_clients(tmp_path, bare_server):
    script = (
        "import os, subprocess, sys; os.umask(0o077);"
        f"sys.exit(subprocess.call({[*JOB, *QUICK, 'new/x.json', '--sleep', '0.01']}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=job_environment(bare_server.address), cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0
    assert result.stderr.startswith("osad doctor: process ")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


# --- its log ----------------------------------------------------------------------------------


def test_what_a_job_says_goes_to_its_log_too(tmp_path, address):
    log = tmp_path / "logs/a b.log"
    options = ("--sleep", "0.01", "--log", log)
    good = run_job(*QUICK, tmp_path / "x.json", *options, address=address)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("osad doctor: process ")
    assert log.read_text() == good.stdout
    helped = run_job("--help", "--log", log, address=address)
    assert (helped.returncode, helped.stdout.splitlines()[0]) == (0, USAGE)
    assert log.read_text() == helped.stdout
    bad = run_job("nosuch", "--log", log, address=address)
    assert (bad.returncode, bad.stderr, bad.stdout) == (2, "", log.read_text())
    assert bad.stdout.startswith("osad nosuch: unknown step")


def test_a_log_that_cannot_be_written_is_a_failure(tmp_path, address):
    (tmp_path / "file").write_text("")
    options = ["--log", tmp_path / "file/x.log", "--failure", tmp_path / "f.json"]
    result = run_job(*QUICK, tmp_path / "x.json", *options, address=address)
    assert result.returncode == 1
    assert result.stderr.startswith(f"osad doctor: {tmp_path}/file/x.log: cannot be written (")
    assert json.loads((tmp_path / "f.json").read_text())["error"] == "LogError"
    assert not (tmp_path / "x.json").exists()


TALKING = """
import os, subprocess, sys
from osad.runtime import job
job.GRACE_SECONDS = 0.2
def run(arguments):
    if arguments == ["left"]:
        subprocess.Popen(["sleep", "60"])
    else:
        os.write(2, b"x" * 100_000)
    return 3
job.run = run
sys.exit(job.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("listener", ["full", "gone", "left"])
def test_nobody_who_listens_or_still_talks_holds_a_job_back(tmp_path, listener):
    """A full pipe, one that nobody reads any more, and a process that a job has left behind."""
    reader, writer = os.pipe()
    if listener == "gone":
        os.close(reader)
    log, start = tmp_path / "x.log", time.monotonic()
    command = [sys.executable, "-c", TALKING, listener, "--log", str(log)]
    code = subprocess.run(command, stdout=writer, timeout=60).returncode
    os.close(writer)
    assert (code, log.stat().st_size) == (3, 0 if listener == "left" else 100_000)
    assert time.monotonic() - start < 30
    if listener != "gone":
        os.close(reader)


# --- its end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("logged", [False, True])
def test_killed_job_is_explained(tmp_path, address, logged):
    log = ["--log", tmp_path / "x.log"] if logged else []
    waiting = Waiting(tmp_path, "--failure", tmp_path / "f.json", *log, address=address)
    os.kill(waiting.job, signal.SIGKILL)
    reason = "killed by signal 9 (SIGKILL); out of memory?"
    assert waiting.finish() == (1, f"osad doctor: {reason}\n")
    expected = {"step": "doctor", "reason": reason, "error": "SIGKILL"}
    assert json.loads((tmp_path / "f.json").read_text()) == expected
    if logged:
        assert (tmp_path / "x.log").read_text() == f"{waiting.line}osad doctor: {reason}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("logged", [False, True])
def test_cancelled_client_ends_its_job_first(tmp_path, address, number, logged):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("nohup has these tests ignore SIGHUP, so jobs ignore it too")
    log = ["--log", tmp_path / "x.log"] if logged else []
    waiting = Waiting(tmp_path, "--failure", tmp_path / "f.json", *log, address=address)
    waiting.client.send_signal(number)
    assert waiting.finish() == (-number, "")
    assert not running(waiting.job)
    # Neither an output nor a failure.
    assert [path.name for path in tmp_path.iterdir()] == (["x.log"] if logged else [])


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
