"""Numbers in formats of others: the schemas accept them, and they lead back to the ledger."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import project_cases
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from project_cases import CELLS, METRICS, NAME, RUN, SCORES, SHARING, SPLIT, SUMMARY, MadeUp

from osad import cli
from osad.core.files import read_csv
from osad.evaluation.scores import ScoredImage
from osad.exports.every_eval_ever import shares

made = project_cases.made
SCHEMAS = Path(__file__).parents[2] / "data/every_eval_ever"
"""Those of version 0.3.0 of the package every-eval-ever; licence MIT, in the same folder."""
SHARED_SCORES = "results/scores/tiny/all/normal-m0/patchcore/s0.csv"


def export(kind: str, *further: str) -> int:
    return cli.main(["export", kind, *further, "--output", "out"])


def digest(made: MadeUp, path: str) -> str:
    return made.ledger.entries[path].sha256


# --- Parquet ----------------------------------------------------------------------------------


def test_pandas_reads_all_cells_with_their_digests(made: MadeUp, capsys):
    pytest.importorskip("pyarrow", reason="pyarrow is optional: pip install '.[parquet]'")
    import pandas as pd

    assert export("parquet") == 0
    frame = pd.read_parquet("out/cells.parquet").set_index("cell")
    rows = {row["cell"]: row for row in read_csv(CELLS, ["cell"])}
    assert {*frame.index} == {*rows}
    row = frame.loc[RUN]
    assert (row.auroc, row.seed, row.method) == (0.75, 0, "devnet")
    for name, path in (("scores", SCORES), ("metrics", METRICS), ("split", SPLIT)):
        assert row[f"{name}_sha256"] == digest(made, path)
    assert frame.loc[SHARING].scores_sha256 == digest(made, SHARED_SCORES)
    assert len(row.commit) == 40
    assert f"wrote {len(rows)} cells" in capsys.readouterr().out


def test_a_missing_pyarrow_is_told_before_anything_is_written(made: MadeUp, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert export("parquet") == 2
    assert "pip install '.[parquet]'" in capsys.readouterr().err
    assert not Path("out").exists()


# --- Hugging Face -----------------------------------------------------------------------------


def test_hugging_face_reads_the_means_back(made: MadeUp):
    assert export("huggingface", "--hub-dataset", "tiny=someone/tiny") == 0
    card = ModelCard.load(Path("out/devnet/README.md"))
    assert card.data.model_name == "osad/devnet"
    (result,) = card.data.eval_results
    (row,) = [row for row in read_csv(SUMMARY, ["cell"]) if row["cell"] == NAME]
    assert result.metric_value == float(row["auroc_mean"]) == 0.625
    assert (result.dataset_type, result.dataset_config) == ("someone/tiny", "all/general-m10")
    assert result.metric_args["runs"]["s0"] == {
        "auroc": 0.75, "scores_sha256": digest(made, SCORES), "split_sha256": digest(made, SPLIT),
    }  # fmt: skip
    assert result.metric_args["std"] == pytest.approx(0.25 / 2**0.5)  # Of 0.75 and 0.5.
    text = Path("out/devnet/.eval_results/osad.yaml").read_text(encoding="utf-8")
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("someone/tiny", "general-m10", 0.625)
    for part in (NAME, digest(made, SCORES), digest(made, SPLIT), result.metric_args["commit"]):
        assert part in entry.notes
    assert f"git checkout {result.metric_args['commit']}; osad audit explain {NAME}" in card.text


def test_no_benchmark_is_claimed_without_its_name_on_the_hub(made: MadeUp):
    assert export("huggingface", RUN) == 0
    assert [path.name for path in Path("out").rglob("*") if path.is_file()] == ["README.md"]
    (result,) = ModelCard.load(Path("out/devnet/README.md")).data.eval_results
    assert (result.dataset_type, result.metric_value, [*result.metric_args["runs"]]) == (
        "tiny", 0.75, ["s0"],
    )  # fmt: skip


# --- Every Eval Ever --------------------------------------------------------------------------


def validator(name: str) -> jsonschema.Draft7Validator:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize(("name", "scores"), [(RUN, SCORES), (SHARING, SHARED_SCORES)])
def test_every_eval_ever_has_every_test_image(made: MadeUp, name, scores):
    assert export("every_eval_ever", name) == 0
    (path,) = Path("out").rglob("*.json")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    validator("eval.schema.json").validate(record)
    detailed = record["detailed_evaluation_results"]
    assert path.with_name(f"{path.stem}_samples.jsonl") == Path("out") / detailed["file_path"]
    content = (Path("out") / detailed["file_path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == detailed["checksum"]
    samples = [json.loads(line) for line in content.decode().splitlines()]
    assert len(samples) == detailed["total_rows"] == 4
    for sample in samples:
        validator("instance_level_eval.schema.json").validate(sample)
        for key in ("evaluation_id", "schema_version"):
            assert sample[key] == record[key]
        assert sample["model_id"] == record["model_info"]["id"]
    result, precision = record["evaluation_results"]
    assert samples[0]["evaluation_result_id"] == result["evaluation_result_id"]
    assert precision["metric_config"]["metric_id"] == "average_precision"
    # Two anomalous images of 0.5 and 0.9, two normal ones of 0.1 and 0.6.
    assert [sample["evaluation"]["score"] for sample in samples] == [0.5, 1, 1, 0.5]
    assert [sample["evaluation"]["is_correct"] for sample in samples] == [False, True, True, False]
    assert result["score_details"]["score"] == 0.75
    assert [sample["output"]["raw"] for sample in samples] == [["0.5"], ["0.9"], ["0.1"], ["0.6"]]
    assert [sample["input"]["reference"][0] for sample in samples] == ["anomalous"] * 2 + [
        "normal"
    ] * 2
    details = result["score_details"]["details"]
    assert (details["cell"], details["scores_sha256"]) == (name, digest(made, scores))
    assert details["split_sha256"] == digest(made, SPLIT)


def test_shares_count_equal_scores_half_and_average_to_the_auroc():
    def images(*pairs: tuple[int, float]) -> list[ScoredImage]:
        return [ScoredImage("", "", label, "", score) for label, score in pairs]

    found = shares(images((1, 1.0), (0, 1.0), (0, 0.0)))
    assert found.tolist() == [0.75, 0.5, 1.0]
    assert found.mean() == 0.75


def test_two_exports_have_equal_bytes(made: MadeUp):
    for kind in ("huggingface", "every_eval_ever"):
        for output in ("a", "b"):
            assert cli.main(["export", kind, NAME, "--output", f"{output}/{kind}"]) == 0
    first, second = (
        {path.relative_to(top): path.read_bytes() for path in Path(top).rglob("*.*")
         if path.is_file()}
        for top in ("a", "b")
    )  # fmt: skip
    assert first == second
    assert len(first) == 5


# --- what is refused --------------------------------------------------------------------------


def lie(made: MadeUp) -> None:
    """Let the tables, and the ledger with them, have another AUROC than the scores give."""
    text = (made.root / CELLS).read_text(encoding="utf-8")
    made.vouch(CELLS, text.replace("0.75", "0.875", 1))


def other_scores(made: MadeUp) -> None:
    text = (made.root / CELLS).read_text(encoding="utf-8")
    made.vouch(CELLS, text.replace(digest(made, SCORES), "0" * 64))


@pytest.mark.parametrize(
    ("change", "cell", "code", "message"),
    [
        (lambda m: m.put(SCORES, "x"), RUN, 1, f"{SCORES}: differs from the ledger"),
        (lambda m: (m.root / SCORES).unlink(), RUN, 2, f"{SCORES}: is missing"),
        (lambda m: m.put(SPLIT, "x"), RUN, 1, f"{SPLIT}: differs from the ledger"),
        (lambda m: m.edit(CELLS, "0.75", "0.76"), RUN, 1, f"{CELLS}: differs from the ledger"),
        (lie, RUN, 1, f"{SCORES}: gives AUROC 0.75, the tables have 0.875"),
        (other_scores, RUN, 1, f"{CELLS}: {RUN} is of scores 000000000000..., the ledger has"),
        (lambda m: None, "tiny/all/general-m10/dpdl", 2, "is not in results/tables/cells.csv"),
        (lambda m: m.put("out/mine.txt", "keep"), RUN, 2, "--output out: is there and no empty"),
    ],
)  # fmt: skip
def test_what_is_not_as_the_ledger_says_is_not_exported(
    made: MadeUp, capsys, change, cell, code, message
):
    change(made)
    assert export("every_eval_ever", cell) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in Path("out").rglob("*")] in ([], ["mine.txt"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("tiny", "expected NAME=OWNER/REPOSITORY"), ("elpv=a/b", "no exported cell is of it")],
)
def test_names_on_the_hub_are_checked(made: MadeUp, capsys, name, message):
    assert export("huggingface", "--hub-dataset", name) == 2
    assert f"--hub-dataset {name.partition('=')[0]}" in (said := capsys.readouterr().err)
    assert message in said
