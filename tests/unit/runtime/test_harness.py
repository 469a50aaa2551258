"""How a step is found, run, and reported when it fails."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from osad.core.errors import CheckError, ConfigError
from osad.core.files import sha256_bytes, sha256_file
from osad.pipeline.steps import doctor
from osad.runtime import harness


@pytest.mark.parametrize(
    ("given", "failure", "record", "rest"),
    [
        (["s", "--failure", "f"], Path("f"), None, ["s"]),
        (["s", "--failure=f", "-x", "--record", "r"], Path("f"), Path("r"), ["s", "-x"]),
        (["s", "--failures", "f", "--rec", "--gpu"], None, None,
         ["s", "--failures", "f", "--rec", "--gpu"]),
        (["s", "--x", '{"a": -1}', "--record", "r", "--base", "-1"], None, Path("r"),
         ["s", "--x", '{"a": -1}', "--base", "-1"]),
    ],
)  # fmt: skip
def test_options_of_all_steps_are_told_from_those_of_one(given, failure, record, rest):
    shared, others = harness.split_shared(given)
    assert (shared.failure, shared.record, others) == (failure, record, rest)


def test_a_record_has_the_digests_of_what_was_written(tmp_path):
    output, record, failure = (tmp_path / name for name in ("o.json", "runs/o.json", "f.json"))
    failure.write_text("old")
    arguments = ["doctor", "--quick", "--output", str(output)]
    assert harness.main([*arguments, f"--failure={failure}", "--record", str(record)]) == 0
    content = json.loads(record.read_text())
    assert content["outputs"] == {str(output): sha256_bytes(output.read_bytes())}
    assert (content["step"], content["arguments"]) == ("doctor", arguments)
    assert content["environment"]["device"] == "cpu"
    assert content["environment"]["torch"] == "2.14.1"
    assert content["machine"]["seconds"] >= 0
    assert content["code"]["osad.pipeline.steps.doctor"] == sha256_file(doctor.__file__)
    assert all(name.startswith("osad.") for name in content["code"])
    assert not failure.exists()
    # A job that fails leaves no record of an earlier success.
    assert harness.main(["nosuch", "--record", str(record)]) == 2
    assert not record.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/x/y.csv: bad", "y.csv: bad"),
        ("two\n  lines", "two lines"),
        ("elpv/all/dra/s0: 3/4, a / b", "elpv/all/dra/s0: 3/4, a / b"),
        ("see https://x.org/a/b or ../up/x or ~/z", "see https://x.org/a/b or ../up/x or ~/z"),
        ("<T object at 0x7f00deadbeef> '/q/r'", "<T object at 0x> 'r'"),
        (f"{Path.cwd()}/data/raw/a b.png: missing", "data/raw/a b.png: missing"),
        (f"{Path.home()}/my photos/a.png: bad", "my photos/a.png: bad"),
    ],
)
def test_a_reason_is_one_line_without_places(text, expected):
    assert harness.one_line(text) == expected


def test_a_reason_is_whole_at_the_root_and_short_below_a_home_with_blanks(monkeypatch):
    monkeypatch.setenv("HOME", "/home/Jane Doe")
    monkeypatch.chdir("/")
    assert harness.one_line("/home/Jane Doe/a.png: no a/b") == "a.png: no a/b"


@pytest.mark.parametrize(
    ("error", "code", "reason", "shows_traceback"),
    [
        (CheckError("x.csv: differs; restore it"), 1, "x.csv: differs; restore it", False),
        (ConfigError("seed -1: use 0 or more"), 2, "seed -1: use 0 or more", False),
        (MemoryError(), 1, harness.MEMORY_ADVICE, False),
        (RuntimeError("Allocator: can't allocate memory"), 1, harness.MEMORY_ADVICE, False),
        (KeyError("in /a/b.py at 0x7f0000000"), 1, "KeyError: 'in b.py at 0x'", True),
        (SystemExit("no"), 1, "no", False),
        (OSError(13, "no rights", "a/b.csv"), 2, "a/b.csv: no rights", False),
        (OSError(28, os.strerror(28), "a/b.csv"), 2, f"a/b.csv: {harness.FULL}", False),
        # Neither a stream that is written to nor safetensors names the file.
        (OSError(28, os.strerror(28)), 2, harness.FULL, False),
        (RuntimeError(f"I/O error: {os.strerror(122)} (os error 122)"), 2, harness.FULL, False),
    ],
)
def test_errors_become_codes_messages_and_files(
    tmp_path, monkeypatch, capsys, error, code, reason, shows_traceback
):
    def broken(argv):
        assert argv == ["--x"]
        raise error

    monkeypatch.setattr(doctor, "main", broken)
    failure = tmp_path / "f/doctor.json"
    assert harness.main(["doctor", "--failure", str(failure), "--x"]) == code
    stderr = capsys.readouterr().err
    assert ("Traceback" in stderr) is shows_traceback
    if not shows_traceback:
        assert stderr.startswith(f"osad doctor: {reason}")
        assert stderr.count("\n") == 1
    expected = {"step": "doctor", "reason": reason, "error": type(error).__name__}
    assert json.loads(failure.read_text()) == expected


def test_wrong_usage_is_told(tmp_path, capsys):
    assert harness.main(["nosuch"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("osad nosuch: unknown step 'nosuch'; known steps: ")
    assert ", masks, metrics, predict, " in told
    assert [harness.main(arguments) for arguments in ([], ["doctor", "--failure"])] == [2, 2]
    (tmp_path / "file").write_text("")
    assert harness.main(["nosuch", "--failure", str(tmp_path / "file/f.json")]) != 0
    assert "file/f.json: cannot be written (" in capsys.readouterr().err


def test_step_never_imports_torch_to_find_it():
    code = (
        "import sys; from osad.runtime import harness\n"
        "harness.main(['x']); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n"


def test_cancelling_leaves_no_half_written_file(tmp_path):
    code = (
        "import sys, time; from osad.core import files; from osad.runtime import harness\n"
        "from osad.pipeline.steps import doctor\n"
        "def main(argv):\n"
        "    with files.replacing(argv[0]) as part:\n"
        "        part.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
        "doctor.main = main; sys.exit(harness.run(['doctor', sys.argv[1]]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
