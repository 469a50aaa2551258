"""The comparison of a GPU with the processor, with the processor in both places, on tiny data."""

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import pytest
from data_cases import noise
from table_cases import request_of

from osad.core.files import sha256_file, write_json
from osad.data.manifest import Record, write_manifest
from osad.data.splits import read_split
from osad.report.bench import NUMBERS, check_bench

ROOT = Path(__file__).parents[2]
METHODS = ["mean_intensity", "mahalanobis"]


def imported(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return imported("bench/gpu.py")


@pytest.fixture
def folder(tmp_path, monkeypatch, script):
    """What `pack` makes of 40 images of noise, a third of them anomalous."""
    monkeypatch.setattr(script, "COUNTS", {"train_normal": 8, "train_anomaly": 2, "test": 8})
    monkeypatch.setattr(script, "SIZES", (64, 96))
    source = tmp_path / "source/data/manifests"
    images = tmp_path / "source/data/raw"
    source.mkdir(parents=True)
    images.mkdir()
    records = []
    for number in range(40):
        path = f"data/raw/{number:02}.png"
        noise(number, 32).save(tmp_path / "source" / path)
        label, digest = int(number % 3 == 0), sha256_file(tmp_path / "source" / path)
        records.append(Record(path, label, "bad" if label else "good", "test", "", digest))
    write_manifest(source / "m.csv", records)
    script.pack(tmp_path / "data", source / "m.csv")
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def inside(script, monkeypatch, jobs):
    """Have jobs done in this process."""

    def started(job, _folder):
        jobs.append(job)
        return json.loads(json.dumps([*script.work(job)]))

    monkeypatch.setattr(script, "started", started)


def test_roles_of_the_images(folder):
    rows = read_split(folder / "general-m10.csv")
    roles = [(row.role, row.label) for row in rows]
    assert {one: roles.count(one) for one in roles} == {
        ("train_normal", 0): 8, ("train_anomaly", 1): 2, ("test", 0): 4, ("test", 1): 4,
    }  # fmt: skip
    assert {row.role for row in read_split(folder / "normal-m0.csv")} == {"train_normal", "test"}


def test_equal_devices_are_found_equal_and_a_changed_byte_is_named(folder, script, monkeypatch):
    jobs: list[Any] = []
    inside(script, monkeypatch, jobs)
    monkeypatch.setattr(script, "throughput", lambda *_, gpu: {"images_s": 7.0})
    lines = script.compute(folder, METHODS, gpu=0, cores=1, until=time.time() + 100)
    found = script.summary(folder, lines, METHODS, {"machine": "none"})
    assert found["missing"] == {}
    assert found["speed"] == {f"{size} px": {"gpu": 7.0, "cpu": 7.0} for size in (64, 96)}
    assert "pixels 64 px" in found["packs"]
    for line in (*found["packs"].values(), *found["methods"].values()):
        assert (line["difference"], line["changed"]) == (0, [])
    for name in METHODS:
        line = found["methods"][name]
        assert line["auroc"] == line["auroc_cpu"]
        assert all(line[key] >= 0 for key in NUMBERS)
        assert name in script.table(found)
    assert [job["role"] for job in jobs].count("again") == 1
    check_what_pages_say(found, monkeypatch)
    scores = folder / "out/again/mahalanobis-64/scores"
    scores.write_bytes(scores.read_bytes().replace(b"0", b"1", 1))
    assert script.compared(folder, "mahalanobis", 64)["changed"] == ["scores"]


def test_steps_of_a_trained_backbone_are_the_difference_of_two_runs(folder, script, monkeypatch):
    inside(script, monkeypatch, [])

    def measured(function, *, gpu):
        function()
        steps = function.args[3] if function.func is script.make_run else 0
        return dict.fromkeys(NUMBERS, 10 + 0.5 * steps)

    monkeypatch.setattr(script, "measured", measured)
    monkeypatch.setattr(script, "throughput", lambda *_, gpu: {"images_s": 7.0})
    monkeypatch.setattr(script, "TRAINED", ("devnet.images",))
    lines = script.compute(folder, ["devnet.images"], gpu=1, cores=1, until=time.time() + 100)
    found = script.summary(folder, lines, ["devnet.images"], {})
    assert found["missing"] == {}
    # Steps of 48 images, 50 epochs of 20 of them.
    assert found["trained"] == {
        "devnet.images 96 px": {"step_s": 0.5, "images_s": 96, "peak_mb": 14, "run_s": 510}
    }
    assert found["methods"]["devnet.images"]["changed"] == []
    assert found["cells"]["devnet.images"]["per"] == "run of 5 steps on few images"


def check_what_pages_say(found, monkeypatch):
    """The page of the results takes the file, and so does docs/gpu.md."""
    rows = check_bench(found, request_of(), where="gpu.json")["rows"]
    assert [row["id"] for row in rows] == METHODS
    tables = imported("docs/fill_tables.py")
    monkeypatch.setattr(tables, "ROOT", Path())
    assert tables.gpu(["gpu"]) == "No GPU was measured.\n"
    write_json("data/bench/gpu.json", found)
    text = tables.gpu(["gpu"])
    assert "none. Images per second: 64 px: 7.0 on cpu, 7.0 on gpu; 96 px" in text
    auroc = f"{found['methods']['mahalanobis']['auroc']:.4f}"
    (line,) = (line for line in text.splitlines() if "`mahalanobis`" in line)
    assert line.startswith(f"| `mahalanobis` | {auroc} | {auroc} | 0.0e+00 |")
    assert line.endswith("| yes |")


def test_what_there_was_no_time_for_and_what_failed_is_named(folder, script, monkeypatch):
    inside(script, monkeypatch, [])
    lines = script.compute(folder, METHODS, gpu=0, cores=1, until=0.0)
    found = script.summary(folder, lines, METHODS, {})
    assert found["missing"]["method mahalanobis at 64 px"] == "no time was left"
    job = {"role": "gpu", "gpu": 0, "threads": 1, "until": time.time() + 100}
    (line,) = script.work(job | {"methods": [("mahalanobis", 64, 5)]})
    assert line["error"].startswith("DataError: out/gpu/plain-64: ")


def test_a_process_that_ends_badly_is_no_lack_of_time(folder, script):
    job = {"role": "gpu", "gpu": 0, "threads": 1, "until": time.time() + 100, "methods": [["dra"]]}
    (line,) = script.started(job, folder)
    assert line["error"] == "ended with 1"


def test_bases_come_first(script):
    assert script.with_bases(["ahl", "dra"]) == ["dra", "ahl"]
