"""What is said of cells that cannot be made again."""

from types import SimpleNamespace

import pytest

from osad.audit import rebuild
from osad.core.errors import CheckError
from osad.core.files import write_json
from osad.pipeline.rule import FAILURES


def test_the_reason_of_a_failed_rebuild_is_told(tmp_path, monkeypatch):
    ended = SimpleNamespace(returncode=1)
    monkeypatch.setattr("osad.audit.rebuild.subprocess.run", lambda *_, **__: ended)
    with pytest.raises(CheckError, match=r"^results/a: cannot be made again$"):
        rebuild._run(tmp_path, ["results/a"], [])
    for name, reason in (("a", "x.png: is missing"), ("b", "another")):
        write_json(tmp_path / FAILURES / f"{name}.json", {"reason": reason})
    with pytest.raises(CheckError, match=r"^results/a: cannot be made again; x.png: is missing$"):
        rebuild._run(tmp_path, ["results/a"], [])
    ended.returncode = 0
    rebuild._run(tmp_path, ["results/a"], [])
