"""Faults that are injected into runs of a small grid: one function each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from disturbed import Bench, Row, Running, Skipped
from projects import Project

YEARS = 10 * 365 * 86400
DISK_BYTES = 400 << 20


def kills(bench: Bench, row: Row, times: int) -> None:
    """SIGKILL to the whole group at any moment, again and again until a run reaches its end."""
    project, anew = bench.fresh(), True
    while row.times < times:
        start, run = time.monotonic(), bench.start(project)
        if run.lives(bench.moment()):
            run.kill()
            row.times += 1
            anew = False
            # What has its name is whole; only the ledger is of the files that were there.
            made = {path: d for path, d in bench.right.items() if not path.startswith("provenance")}
            row.compare(project, made, whole=False)
        else:
            row.expect(run.outcome())
            row.compare(project, bench.right)
            if anew:  # The machine may have more time than before.
                bench.seconds = time.monotonic() - start
            project, anew = bench.fresh(), True
    bench.repeat(row, project)


def server_kills(bench: Bench, row: Row, times: int) -> None:
    """SIGKILL to the fork server or one of its jobs."""
    while row.times < times:
        project = bench.fresh()
        run = bench.start(project)
        if run.lives(bench.moment()) and (found := servers(project)):
            os.kill(bench.random.choice(found), signal.SIGKILL)
            row.times += 1
            row.expect(run.outcome(), "fork server|killed by signal")
        else:
            run.kill()
        bench.repeat(row, project)


def servers(project: Project) -> list[int]:
    """Return the ids of a project's fork server and its jobs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = (folder / "cwd").readlink() == project.root
            if here and b"osad.runtime.server" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def full_disks(bench: Bench, row: Row, times: int) -> None:
    """No byte is free any more, until the run has ended."""
    with small_disk(bench.root / "disk") as disk:
        while row.times < times:
            project = bench.fresh("disk/project")
            run = bench.start(project)
            if not run.lives(bench.moment()):
                continue
            with (disk / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
                while True:
                    stream.write(bytes(1 << 20))
            row.times += 1
            row.expect(run.outcome(), "No space left on device|disk is full")
            (disk / "filler").unlink()
            bench.repeat(row, project)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Give a small file system."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        raise Skipped("only root may mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def pairs(bench: Bench, row: Row, times: int) -> None:
    """The same command twice, the second at any moment of the first."""
    for _ in range(times):
        project = bench.fresh()
        runs = [bench.start(project)]
        runs[0].lives(bench.moment() * bench.random.choice([0.1, 1]))
        runs.append(bench.start(project))
        refusal = "runs in this folder|cannot be locked|ended here"
        done = [row.expect(run.outcome(), refusal) for run in runs]
        row.times += 1
        row.unclear += not any(done)
        row.compare(project, bench.right)


def cuts(bench: Bench, row: Row, times: int) -> None:
    """SIGKILL to `dvc push` and `dvc pull` in turn, then `osad audit push` or `pull`.

    The same of DVC alone may take a part for the whole (`osad.audit.remote`).
    """
    project, store = bench.fresh(of=bench.finished), bench.root / "store"
    project.run("git", "init", "--quiet").check()
    project.run("dvc", "remote", "add", "--default", "store", str(store)).check()
    project.run(sys.executable, "-m", "osad.cli", "audit", "save").check()
    project.commit("A run")
    seconds = {}
    clone = Project(bench.root / "clone")
    for verb in ("push", "pull"):
        where = project if verb == "push" else cloned(project, clone)
        start = time.monotonic()
        where.run("dvc", verb).check()
        seconds[verb] = time.monotonic() - start
    whole = stored(store)
    while row.times < times:
        verb = ("push", "pull")[row.times % 2]
        if verb == "push":  # DVC remembers what an older one has.
            store = bench.root / f"store{row.times}"
            project.run("dvc", "remote", "modify", "store", "url", str(store)).check()
        where = project if verb == "push" else cloned(project, clone)
        run = Running(where, "dvc", verb)
        if run.lives(bench.random.uniform(0.2, 1) * seconds[verb]):
            run.kill()
            row.times += 1
            row.wrong += sum(digest != name for name, digest in stored(store).items())
        row.expect(Running(where, sys.executable, "-m", "osad.cli", "audit", verb).outcome())
        row.wrong += len(whole.items() ^ stored(store).items())
        if verb == "pull":
            row.expect(bench.run(where))
            row.compare(where, bench.right)


def cloned(project: Project, clone: Project) -> Project:
    shutil.rmtree(clone.root, ignore_errors=True)
    project.run("git", "clone", "--quiet", str(project.root), str(clone.root)).check()
    return clone


def stored(store: Path) -> dict[str, str]:
    """Return the MD5 of each file of a DVC remote by the name that says it."""
    return {
        path.parent.name + path.name.removesuffix(".dir"): hashlib.md5(
            path.read_bytes(), usedforsecurity=False
        ).hexdigest()
        for path in store.glob("files/md5/??/*")
        if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name)
    }


def damages(bench: Bench, row: Row, times: int) -> None:
    """Another value of one byte of one artefact: a verification must name it."""
    project = bench.fresh(of=bench.finished)
    for _ in range(times):
        name = bench.random.choice(sorted(bench.right))
        path = project.root / name
        right = path.read_bytes()
        wrong = bytearray(right)
        wrong[bench.random.randrange(len(right))] ^= bench.random.randint(1, 255)
        path.write_bytes(wrong)
        verify = Running(project, sys.executable, "-m", "osad.cli", "audit", "verify", "--all")
        outcome = verify.outcome()
        row.times += 1
        if row.expect(outcome, re.escape(f"osad audit: {name}")) or outcome.code != 1:
            row.wrong += 1
            row.notes.append(f"damaged, code {outcome.code}: {name}")
        path.write_bytes(right)


def rights(bench: Bench, row: Row, times: int) -> None:
    """A folder or a file of the results that may not be changed, where a job has to."""
    for _ in range(times):
        project = bench.fresh(of=bench.finished)
        result = results(bench)
        (project.root / "data/manifests/tiny.csv").unlink()
        for path in bench.random.sample(result, 5):
            (project.root / path).unlink()
        place = project.root / bench.random.choice(result)
        place = place if bench.random.random() < 0.5 and place.exists() else place.parent
        with unchangeable(place):
            row.times += 1
            row.expect(bench.run(project), "not permitted|denied|may be written|Write-protected")
        bench.repeat(row, project)


@contextlib.contextmanager
def unchangeable(place: Path) -> Iterator[None]:
    """Take the rights to change a file, or what is in a folder, for a while."""
    root = os.geteuid() == 0
    off, on = (["chattr", "+i"], ["chattr", "-i"]) if root else (["chmod", "a-w"], ["chmod", "u+w"])
    if subprocess.run([*off, str(place)], capture_output=True, check=False).returncode:
        raise Skipped("root may change everything, and chattr +i does not work here")
    try:
        yield
    finally:
        subprocess.run([*on, str(place)], check=True)


def clocks(bench: Bench, row: Row, times: int) -> None:
    """Times of all files at random, before now or around it, and three files lost.

    Snakemake refuses what is older than what it was made from; then the clock is right again.
    """
    for _ in range(times):
        project = bench.fresh(of=bench.finished)
        for path in bench.random.sample(results(bench), 3):
            (project.root / path).unlink()
        now, latest = time.time(), bench.random.choice([0, YEARS])
        files = [file for file in sorted(project.root.rglob("*")) if file.is_file()]
        files = [file for file in files if ".snakemake" not in file.parts]
        for file in files:
            os.utime(file, (now, now + bench.random.uniform(-YEARS, latest)))
        row.times += 1
        if not row.expect(bench.run(project), "has older modification time"):
            for file in files:
                if file.exists():
                    os.utime(file)
        bench.repeat(row, project)


def results(bench: Bench) -> list[str]:
    """Return what an undisturbed run makes of the data."""
    return sorted(path for path in bench.right if path.startswith("results/"))


FAULTS: dict[str, tuple[str, Callable[[Bench, Row, int], None]]] = {
    "KILLS": ("the run is killed", kills),
    "SERVERS": ("the fork server or one of its jobs is killed", server_kills),
    "DISKS": ("the disk is full", full_disks),
    "PAIRS": ("two runs are started", pairs),
    "CUTS": ("`dvc push` or `dvc pull` is killed", cuts),
    "DAMAGES": ("one byte of one artefact is another", damages),
    "RIGHTS": ("a file or folder of the results may not be changed", rights),
    "CLOCKS": ("files have times at random, three are lost", clocks),
}
"""By the name of its count, what is done, and what does it."""


def inject(bench: Bench, name: str, times: int) -> Row:
    """Inject a fault some times."""
    text, function = FAULTS[name]
    row, start = Row(text), time.monotonic()
    try:
        function(bench, row, times)
    except Skipped as reason:
        row.notes.append(f"skipped: {reason}")
    row.seconds = time.monotonic() - start
    return row
