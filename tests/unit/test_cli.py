"""What the command line does with any terminal, any numbers and any texts."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import project_cases
import pytest
from fuzz_cases import tried
from project_cases import (
    CELLS,
    CHECKPOINT,
    LOCK,
    MANIFEST,
    METHOD,
    METRICS,
    NAME,
    RUN,
    SCORES,
    SPLIT,
    SUMMARY,
    MadeUp,
)  # fmt: skip

from osad import cli
from osad.core.errors import CheckError, ConfigError
from osad.runtime import control

made = project_cases.made
SAY = """
import sys
from osad import cli
def say(options):
    with open("file", "w") as file:
        file.write("content")
        file.flush()
        print("error ±", file=sys.stderr)
        print("said ± " + "\\udcff" * 99999)
cli.COMMANDS["methods"] = say
sys.exit(cli.main(["methods"]))
"""


FULL = "osad methods: standard output or a file: No space left on device"


@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [
        ("", 0, ["error \\xb1"]), (">/dev/full", 2, ["error \\xb1", FULL]),
        (">&-", 0, ["error \\xb1"]),
        (">&- 2>&- <&-", 0, []), ("2>/dev/full", 2, []), ("| head -c 1", 0, ["error \\xb1"]),
    ],
)  # fmt: skip
def test_any_streams_are_written_to_without_a_traceback(tmp_path, redirection, code, told):
    script = f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}'
    variables = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, SAY], cwd=tmp_path, env=variables,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()) == (code, told)
    assert ("said \\xb1 \\udcff" in done.stdout) == (not redirection)
    # What is said to a closed stream does not reach the file that is opened next.
    if code == 0:
        assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "osad methods: interrupted"),
        (OSError(28, "No space left on device", "a/b"), 2, "osad methods: a/b: No space left on d"),
        (CheckError("x: differs"), 1, "osad methods: x: differs"),
    ],
)
def test_what_ends_a_command_is_told_in_a_line(monkeypatch, capsys, error, code, message):
    def fail(_options: object) -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "methods", fail)
    assert cli.main(["methods"]) == code
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1


@pytest.mark.parametrize("seconds", ["-5", "0", "nan", "inf", "1e30", "-inf"])
def test_times_that_nobody_waits_are_refused(seconds, capsys):
    assert cli.main(["progress", "--watch", f"--every={seconds}"]) == 2
    assert "must lie in 0.1 to 86400 seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "cell", ["tiny/all/general-m10/devnet/s{}", "tiny/all/general-m{}/devnet/s0"]
)
@pytest.mark.parametrize("number", ["9" * 5000, "00", "0000000010", "1_0", "٣"])
@pytest.mark.parametrize("command", [["audit", "explain"], ["predict", "--output=o"]])
def test_numbers_of_cells_have_one_form(made: MadeUp, capsys, command, cell, number):
    images = ["in"] if command[0] == "predict" else []
    assert cli.main([*command, cell.format(number), *images]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_another_package_is_refused_by_what_records_or_computes(made: MadeUp, monkeypatch, capsys):
    monkeypatch.setattr("osad.__file__", str(made.root.parent / "old/src/osad/__init__.py"))
    for command in (
        ["audit", "verify", "--all"], ["audit", "record"], ["progress"], ["select", "devnet"],
        ["predict", RUN, "in", "--output", "out"],
    ):  # fmt: skip
        assert cli.main(command) == 2
        told = capsys.readouterr().err
        assert "old/src/osad: this package runs, not that of" in told
        assert told.count("\n") == 1


def test_jobs_get_the_interpreter_that_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    control.use_interpreter()
    asked = ["bash", "-c", "python -c 'import sys; print(sys.prefix)'"]
    assert subprocess.check_output(asked, text=True).strip() == sys.prefix
    monkeypatch.delenv("PATH")
    control.use_interpreter()
    assert os.environ["PATH"].startswith(f"{Path(sys.executable).parent}{os.pathsep}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(ConfigError, match=r"has no `python`.*source .venv/bin/activate"):
        control.use_interpreter()


# --- command lines made by chance -------------------------------------------------------------

LINES = [
    f"audit explain {RUN} --depth 1", f"audit explain {NAME} --json", "audit verify --all",
    f"audit verify {RUN} --strict", "audit verify --sample 1 --seed 3", "datasets", "audit adopt",
    f"predict {RUN} in --output out --cores 1 --gpu 0 --strict", "select devnet lr=1e-3,2e-3",
    "select devnet --criteria pseudo --seeds 0 1 --jobs 1", "tables results/tables/summary.csv",
    "progress --every 10", "methods --parameters dpdl", f"audit export {RUN} --output crate",
    "status", "diff HEAD HEAD --json", f"cite {RUN}",
]  # fmt: skip
WORDS = [
    *cli.COMMANDS, "--all", "--sample", "--json", "--configfile", "--help", "--", "params.yaml",
    ".", "in", "src", "provenance", "results/tables/cells.csv", "0", "-1", "9" * 5000, "nan",
    "1e999", "x" * 5000, "a/" * 300, "/dev/full", "\udcff\udcfe", "\x1b[31m", "é\u2028", "", "=",
    "s0", "lr=" + "[" * 100_000, "lr=\udcff", "results=1",
]  # fmt: skip


def ended(words: list[str]) -> object:
    """Return the exit code of a command; anything but a return or argparse's exit is an error."""
    try:
        return cli.main(words)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("words", ["tables /dev/zero", "progress --configfile /dev/full"])
def test_a_device_is_no_file(words, capsys):
    assert cli.main(words.split()) == 2
    assert f"{words.split()[-1]}: is a device; give a file or a folder" in capsys.readouterr().err


@pytest.mark.fuzz
def test_no_command_line_ends_in_a_traceback(made: MadeUp, monkeypatch):
    monkeypatch.setattr("os.execv", lambda *_: None)
    codes = Counter[object]()

    def one(draw: random.Random) -> None:
        words = draw.choice(LINES).split()
        for _ in range(draw.choice([0, 1, 1, 2])):
            place = draw.randrange(len(words) + 1)
            words[place : place + draw.randrange(2)] = [draw.choice(WORDS)]
        if "check-method" not in words:  # It runs what it is given.
            codes[ended(words)] += 1
        shutil.rmtree("crate", ignore_errors=True)

    tried(140, one)
    assert codes.keys() <= {0, 1, 2}
    assert codes[0] > 15
    assert codes[2] > 50


DAMAGED = [
    "params.yaml", "dvc.lock", CELLS, SUMMARY, METRICS, SCORES, SPLIT, MANIFEST, CHECKPOINT, LOCK,
    "data/raw/tiny/SOURCE.json", "provenance/tiny.jsonl", "provenance/code.json",
    "provenance/commands.json", "provenance/SHA256SUMS", METHOD,
    "workflow/schemas/params.schema.yaml",
    f".osad/runs/{METRICS}.json", f".osad/runs/{CHECKPOINT}.json", f".osad/failures/{METRICS}.json",
]  # fmt: skip
CONTENTS = [
    "", "[]", "{}", "null", "5", '"a"', "\0", "a: [", "[" * 100_000, '{"stages": [1]}', "x,y\n1\n",
    '{"outputs": [], "machine": {}}', '{"error": {}, "step": 1}', "\udcff", "def f(:\n", "\n\n",
    '{"__metadata__": []}', "stages: {a: {outs: [b]}}", "cell\n", "path,sha256\n\"", "-1" * 3000,
]  # fmt: skip


@pytest.mark.fuzz
def test_no_damaged_file_ends_in_a_traceback(made: MadeUp, monkeypatch):
    monkeypatch.setattr("os.execv", lambda *_: None)
    codes = Counter[object]()
    ledger = {path: path.read_bytes() for path in Path("provenance").iterdir()}

    def one(draw: random.Random) -> None:
        path = Path(draw.choice(DAMAGED))
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        new = draw.choice(CONTENTS).encode(errors="surrogateescape")
        if before and draw.randrange(2):  # Else only a part of it.
            place = draw.randrange(len(before))
            new = before[:place] + new[:9] + before[place + draw.randrange(9) :]
        path.write_bytes(new)
        made.refresh()
        try:
            codes[ended(draw.choice([*LINES, "audit record"]).split())] += 1
        finally:
            shutil.rmtree("crate", ignore_errors=True)
            path.write_bytes(before) if before is not None else path.unlink()
            for file, content in ledger.items():
                file.write_bytes(content)

    tried(150, one)
    assert codes.keys() == {0, 1, 2}
