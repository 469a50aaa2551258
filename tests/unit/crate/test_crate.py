"""A validator accepts crates, two exports have equal bytes, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from crate_cases import METADATA, NAME, Entities, MadeUp, entities, export, files, ids
from crate_validator import fill_cache, validate

from osad.core.errors import CheckError, ConfigError, DataError, OsadError

RUN = f"{NAME}/s0"
SCORES = f"results/scores/{RUN}.csv"
needs_validator = pytest.mark.skipif(
    importlib.util.find_spec("rocrate_validator") is None, reason="roc-validator is not installed"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    """A project that is not to be changed."""
    return MadeUp(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def crates(made: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Crates of a run and of a mean, not to be changed."""
    folder = tmp_path_factory.mktemp("crates")
    found = {RUN: folder / "run", NAME: folder / "mean"}
    for name, output in found.items():
        export(made, name, output)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contexts for the validator."""
    path = tmp_path_factory.mktemp("cache") / "http"
    fill_cache(path)
    return path


@needs_validator
@pytest.mark.slow
@pytest.mark.parametrize(("name", "actions"), [(RUN, 9), (NAME, 13)])
def test_validator_accepts_and_misses_only_what_nobody_knows(
    crates: dict[str, Path], cache: Path, name: str, actions: int
) -> None:
    # Four jobs of the data, four of each run, and the run of the workflow.
    verdict = validate(crates[name], cache, "recommended")
    assert verdict.profiles == {
        "ro-crate-1.1", "workflow-ro-crate-1.0", "process-run-crate-0.5", "workflow-run-crate-0.5",
        "provenance-run-crate-0.5",
    }  # fmt: skip
    assert {severity for severity, _ in verdict.issues} == {"RECOMMENDED"}
    counts = {message: count for (_, message), count in verdict.issues.items()}
    # The ledger says neither who ran a job nor when, and the project has no address.
    assert counts.pop("The SoftwareApplication id SHOULD be an absolute URI")
    assert counts == {
        "The Action SHOULD have an agent that is a Person or Organization": actions,
        "The Action SHOULD have an endTime in ISO 8601 format": actions,
        "The Application SHOULD have a url": 1,
        "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`": 1,
        "The organization SHOULD have a URL.": 1,
    }
    assert validate(crates[name], cache).code == 0


def lose_scores(crate: Path) -> None:
    (crate / SCORES).unlink()


def lose_workflow(crate: Path) -> None:
    edit(crate, lambda found: found["./"].pop("mainEntity"))


def lose_tool(crate: Path) -> None:
    edit(crate, lambda found: found[f"#run/{SCORES}"].pop("instrument"))


def use_unknown_term(crate: Path) -> None:
    edit(crate, lambda found: found[SCORES].update(sha3="0"))


def edit(crate: Path, change: Callable[[Entities], object]) -> None:
    """Change the description of a crate."""
    path = crate / METADATA
    content = json.loads(path.read_text(encoding="utf-8"))
    change({entity["@id"]: entity for entity in content["@graph"]})
    path.write_text(json.dumps(content), encoding="utf-8")


@needs_validator
@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (lose_scores, f"does not include the Data Entity '{SCORES}'"),
        (lose_workflow, "`mainEntity` property in the root data entity"),
        (lose_tool, "The Action MUST have an instrument property"),
        (use_unknown_term, 'the JSON-LD key "sha3" is not allowed'),
    ],
)
def test_validator_rejects_a_damaged_crate(
    crates: dict[str, Path],
    cache: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    fragment: str,
) -> None:
    copy = tmp_path / damage.__name__
    shutil.copytree(crates[RUN], copy)
    damage(copy)
    verdict = validate(copy, cache)
    assert verdict.code == 1
    assert any(fragment in message for _, message in verdict.issues), verdict.issues


@pytest.mark.parametrize("name", [RUN, NAME])
def test_second_export_has_equal_bytes(
    made: MadeUp, crates: dict[str, Path], tmp_path: Path, name: str
) -> None:
    (tmp_path / "again").mkdir()
    export(made, name, tmp_path / "again")
    assert files(tmp_path / "again") == files(crates[name])


@pytest.mark.parametrize("name", [RUN, NAME])
def test_every_file_is_listed_with_its_digest_and_size(crates: dict[str, Path], name: str) -> None:
    crate, described = files(crates[name]), entities(crates[name])
    listed = {
        unquote(entity["@id"]): (entity["sha256"], int(entity["contentSize"]))
        for entity in described.values()
        if "sha256" in entity and not entity["@id"].startswith("#")
    }
    assert listed == {
        path: (hashlib.sha256(content).hexdigest(), len(content))
        for path, content in crate.items()
        if path != METADATA
    }
    assert sorted(unquote(part) for part in ids(described["./"]["hasPart"])) == sorted(listed)


def edit_scores(made: MadeUp) -> None:
    made.put(SCORES, "path,label,score\n0,0,0.6\n")


def edit_code(made: MadeUp) -> None:
    made.put("src/osad/methods/devnet.py", "# another\n")


def edit_table(made: MadeUp) -> None:
    made.put("results/tables/cells.csv", f"cell,auroc\n{RUN},0.99\n")


def edit_input(made: MadeUp) -> None:
    path = f"results/metrics/{RUN}.json"
    entry = made.entries[path]
    made.entries[path] = dataclasses.replace(entry, inputs=entry.inputs | {SCORES: "0" * 64})


def lose_table(made: MadeUp) -> None:
    (made.root / "results/tables/cells.csv").unlink()


def lose_code(made: MadeUp) -> None:
    (made.root / "src/osad/methods/devnet.py").unlink()


def lose_snakefile(made: MadeUp) -> None:
    (made.root / "Snakefile").unlink()


def lose_git(made: MadeUp) -> None:
    shutil.rmtree(made.root / ".git")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (edit_scores, CheckError, f"{SCORES}: differs from the ledger"),
        (edit_code, CheckError, "src/osad/methods/devnet.py: differs from the ledger"),
        (edit_table, CheckError, "results/tables/cells.csv: differs from the ledger"),
        (edit_input, CheckError, f"{SCORES}: differs from the ledger"),
        (lose_code, CheckError, "src/osad/methods/devnet.py: is gone"),
        (lose_table, DataError, "results/tables/cells.csv: is missing"),
        (lose_snakefile, DataError, "Snakefile: cannot be read"),
        (lose_git, ConfigError, "git: this folder is no repository with a commit"),
    ],
)
def test_what_is_not_as_the_ledger_says_is_not_exported(
    tmp_path: Path, change: Callable[[MadeUp], None], error: type[OsadError], message: str
) -> None:
    made = MadeUp(tmp_path / "project")
    change(made)
    with pytest.raises(error, match=f"^{message}"):
        export(made, RUN, tmp_path / "crate")
    assert not (tmp_path / "crate").exists()


def test_output_must_be_new_or_empty(made: MadeUp, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep")
    for output in (tmp_path / "full", tmp_path / "full/mine.txt"):
        with pytest.raises(ConfigError, match="choose another --output"):
            export(made, RUN, output)
    with pytest.raises(ConfigError, match="cannot be written"):
        export(made, RUN, tmp_path / "full/mine.txt/below")
    assert files(tmp_path) == {"full/mine.txt": b"keep"}
