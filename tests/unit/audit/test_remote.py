"""What DVC's files state of outputs."""

from pathlib import Path

import pytest

from osad.audit.remote import digests, stages
from osad.core.errors import ConfigError

KNOWN = "{runs: {cmd: a}, tables: {cmd: b}}"
FORMER = "  cells: {outs: [{path: results/scores, md5: old.dir}]}\n"
TODAY = "  runs: {outs: [{path: results/scores, md5: new.dir}]}\n"


@pytest.mark.parametrize("lines", [FORMER + TODAY, TODAY + FORMER])
def test_a_stage_that_the_pipeline_has_no_more_states_nothing(tmp_path: Path, lines: str):
    (tmp_path / "dvc.yaml").write_text(f"stages: {KNOWN}\n")
    (tmp_path / "dvc.lock").write_text(f"stages:\n{lines}")
    assert digests(tmp_path) == {"results/scores": "new.dir"}


def test_files_of_single_outputs_are_read_beside_the_lock(tmp_path: Path):
    (tmp_path / "results").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "results/own.dvc").write_text("outs: [{path: own, md5: a}]\n")
    (tmp_path / "images.dvc").write_text("outs: [{path: images, md5: b}]\n")
    assert stages(tmp_path) == []
    assert digests(tmp_path) == {"results/own": "a", "images": "b"}


def test_a_lock_without_its_pipeline_is_refused(tmp_path: Path):
    (tmp_path / "dvc.lock").write_text(f"stages:\n{TODAY}")
    with pytest.raises(ConfigError, match=r"dvc\.yaml"):
        digests(tmp_path)
