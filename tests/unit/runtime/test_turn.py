"""Who may run in a folder, and what the next start knows of a run that was killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from job_cases import project as project

from osad.core.errors import ConfigError
from osad.runtime import snakemake_records, turn
from osad.runtime.turn import PLACE, Turn

RUN = (
    "import os, subprocess, sys, time; from osad.runtime.turn import Turn\n"
    "turn = Turn(); turn.take([]); turn.begin()\n"
    "job = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
    "job = subprocess.Popen(job, pass_fds=[turn.file], start_new_session=True)\n"
    "print(job.pid, flush=True); time.sleep(60)\n"
)
"""A run with a job that outlives it."""


@pytest.fixture
def other():
    """A run of another process: the process, and the id of its job."""
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE) as process:
        job = int(process.stdout.readline())
        yield process, job
        process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(job, signal.SIGKILL)


def locked() -> Path:
    """Leave a lock of Snakemake's."""
    lock = Path(".snakemake/locks/0.output.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("results/a\n")
    return lock


def test_a_run_that_is_complete_leaves_nothing():
    lock, first = locked(), Turn()
    assert first.take([]) is False
    assert not lock.exists()
    first.begin()
    assert PLACE.read_text().split()[0] == str(os.getpid())
    first.complete()
    os.close(first.file)
    assert Turn().take([]) is False


def test_two_runs_cannot_be_here(other):
    lock, second = locked(), Turn()
    start = time.monotonic()
    assert second.take([]) is False
    assert time.monotonic() - start < turn.ENDING_SECONDS / 2  # The other lives: no use to wait.
    assert lock.exists()
    message = rf"^another snakemake, process {other[0].pid}, runs in this folder; wait for its end$"
    with pytest.raises(ConfigError, match=message):
        second.begin()
    second.complete()
    assert PLACE.read_text().startswith(f"{other[0].pid} ")


def test_the_next_start_waits_for_the_jobs_of_a_killed_run(other, monkeypatch):
    process, job = other
    process.kill()
    process.wait()
    monkeypatch.setattr(turn, "ENDING_SECONDS", 0.2)
    lock, second = locked(), Turn()
    assert second.take([]) is False
    assert lock.exists()
    monkeypatch.setattr(turn, "ENDING_SECONDS", 60.0)
    os.kill(job, signal.SIGKILL)
    third = Turn()
    assert third.take([]) is True  # The run before did not come to its end.
    assert not lock.exists()
    with pytest.raises(ConfigError, match=r"^another snakemake"):
        second.begin()
    third.begin()
    os.close(third.file)
    second.begin()


def test_the_lock_of_another_machine_is_left_alone():
    PLACE.parent.mkdir()
    PLACE.write_text("1 another-machine")
    lock = locked()
    assert Turn().take([]) is True
    assert lock.exists()


def test_a_lock_stays_while_jobs_of_a_cluster_may_run():
    lock = locked()
    with snakemake_records._store() as store:
        store._mark_incomplete("results/a", "4711")
        store._mark_incomplete("results/b", None)
    for outputs, left in ((["results/b", "results/a"], True), (["results/b"], False)):
        run = Turn()
        run.take(outputs)
        assert lock.exists() is left
        os.close(run.file)


def test_without_such_locks_snakemakes_must_do(monkeypatch):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("osad.runtime.turn.fcntl.flock", flock)
    lock, run = locked(), Turn()
    assert run.take([]) is False
    run.begin()
    run.complete()
    assert lock.exists()


def test_a_folder_that_cannot_be_written_to_is_named():
    Path(".osad").write_text("")
    with pytest.raises(ConfigError, match=r"^.osad/run: cannot be written \("):
        Turn().take([])
