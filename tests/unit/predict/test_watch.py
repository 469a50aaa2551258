"""A folder that grows, watched by a real process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predict_cases import CELL, checkpoint, put, run_step

from osad.core.errors import CheckError
from osad.core.files import read_csv
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.features.tiles import Frame
from osad.learn.images import Scores
from osad.methods import registry
from osad.predict import step, watch
from osad.predict.step import parse
from osad.predict.watch import Arrivals, Watch, listing
from osad.runtime.environment import computing_environment

OPTIONS = {
    "cell": CELL, "trained": CELL, "hyper": "{}", "checkpoint": "c.safetensors",
    "features": '["--pack pixels"]', "threshold": "0.4",
}  # fmt: skip


def test_files_are_ready_once_they_have_stayed_as_they_are():
    arrivals = Arrivals()
    assert arrivals.ready({"b.png": (1, 1), "a.png": (5, 1)}) == []
    assert arrivals.ready({"b.png": (2, 2), "a.png": (5, 1)}) == ["a.png"]
    arrivals.handled("a.png")
    assert arrivals.ready({"b.png": (2, 2), "a.png": (5, 1)}) == ["b.png"]
    arrivals.handled("b.png")
    # One is renamed and the other is written again.
    assert arrivals.ready({"c.png": (5, 1), "b.png": (2, 3)}) == []
    assert arrivals.ready({"c.png": (5, 1), "b.png": (2, 3)}) == ["b.png", "c.png"]
    # What is deleted and comes back is new.
    arrivals.handled("c.png")
    assert arrivals.ready({}) == []
    assert arrivals.ready({"c.png": (5, 1)}) == []
    assert arrivals.ready({"c.png": (5, 1)}) == ["c.png"]


def test_only_visible_images_are_listed(project):
    put("in/a.png"), put("in/deep/b.JPG"), put("in/.c.png"), put("in/.d/e.png")
    Path("in/f.png.part").write_bytes(b"x")
    assert [*listing(Path("in"))] == ["in/a.png", "in/deep/b.JPG"]
    assert listing(Path("nowhere")) == {}


def test_normal_classes_of_labelled_images_are_normal_here_too(project):
    checkpoint()
    for number, name in enumerate(("good/a.png", "fine/b.png", "bad/c.png")):
        put(f"known/{name}", Image.new("L", (6, 4), 80 * number))
    words = [f"--{name}={value}" for name, value in OPTIONS.items()]
    words += ["--output=out", "--labelled=known", "--images", "in", "--normal", "fine"]
    Path("out").mkdir()
    decided = Watch(parse(words), Path("out")).decided
    assert decided is not None
    told = decided.description()
    assert (told["false_alarms"]["images"], told["detections"]["images"]) == (2, 1)


NEEDED = ("cell", "trained", "hyper", "checkpoint", "features")
MAPPED = "mine/all/normal-m0/patchcore/s0"


class Mapped:
    """Stands in for networks: an image's map is its grey values, divided by 255."""

    frame, compared = Frame(4), True

    def __init__(self, options, test, **_):
        pass

    def __call__(self, images, *, folder):
        grey = [np.asarray(Image.open(image.path).resize((4, 4)), np.float32) for image in images]
        maps = torch.tensor(np.stack(grey)) / 255
        return Scores(maps.amax((1, 2)), maps=maps)


def watch_of(*words: str) -> Watch:
    """Return a watch over a run with maps, as it begins."""
    Path("out").mkdir()
    hyper = json.dumps(registry.get("patchcore").resolve())
    checkpoint(MAPPED, hyper=json.loads(hyper))
    options = {name: OPTIONS[name] for name in ("checkpoint", "features")}
    options |= {"cell": MAPPED, "trained": MAPPED, "hyper": hyper, "output": "out"}
    given = [f"--{name}={value}" for name, value in options.items()]
    return Watch(parse([*given, *words, "--images", "in"]), Path("out"))


def run_maps(cell: str) -> None:
    """Write the maps of a run's only test image: 0 to 0.5."""
    maps = np.linspace(0, 0.5, 16, dtype=np.float32).reshape(1, 4, 4)
    anomaly_maps.write(Path("maps"), AnomalyMaps(cell, ("a",), ("1" * 64,), 4, maps), cell=cell)


@pytest.mark.parametrize("words", [(), ("--maps=maps",)])
def test_heat_maps_of_all_batches_have_one_scale(words, project, monkeypatch):
    monkeypatch.setattr(watch, "Scorer", Mapped)
    monkeypatch.setattr(step, "Scorer", Mapped)
    run_maps(MAPPED)
    for number in range(3):
        values = np.arange(16, dtype=np.uint8).reshape(4, 4) * (5 * number + 1)
        put(f"in/{number}.png", Image.fromarray(values))
    watched = watch_of(*words)
    watched.add(["in/0.png", "in/1.png"])
    first = watched.scale
    watched.add(["in/2.png"])
    assert watched.scale == first
    told = json.loads(Path("out/prediction.json").read_text())["maps"]
    assert (told["low"], told["high"]) == (first.low, first.high)
    assert told["source"] == ("the run's test images" if words else "the first images scored")
    assert sorted(Path("out/maps/in").iterdir()) == [
        Path(f"out/maps/in/{n}.png.png") for n in range(3)
    ]
    if words:  # Colours of the run are those of a prediction of all images at once.
        options = [f"--{name}={getattr(watched.options, name)}" for name in NEEDED]
        step.main([*options, "--output=once", *words, "--images", "in"])
        for number in range(3):
            name = f"maps/in/{number}.png.png"
            assert Path("out", name).read_bytes() == Path("once", name).read_bytes()


def test_maps_of_another_run_end_the_watch_before_it_begins(project, monkeypatch):
    monkeypatch.setattr(watch, "Scorer", Mapped)
    run_maps("other/x")
    with pytest.raises(CheckError, match=rf"^maps: is of cell other/x, expected {MAPPED}"):
        watch_of("--maps=maps")


def test_images_are_scored_as_they_arrive_until_the_process_is_interrupted(project):
    checkpoint()
    Path("in").mkdir()
    for number in range(3):
        put(f"ready/{number}.png", Image.new("L", (6, 4), 100 * number))
    words = [f"--{name}={value}" for name, value in OPTIONS.items()]
    words = ["osad.runtime.harness", "watch", *words, "--output=out", "--images", "in"]
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        env=computing_environment(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip

    def rows(wanted: list[str]) -> dict[str, dict[str, str]]:
        """Wait for the rows of these images; the file is whole whenever it is read."""
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            if Path("out/scores.csv").exists():
                found = read_csv("out/scores.csv", ["path", "sha256", "score", "decision"])
                if sorted(row["path"] for row in found) == sorted(wanted):
                    return {row["path"]: row for row in found}
            time.sleep(0.05)
        process.kill()
        raise AssertionError(process.communicate()[0])

    try:
        rows([])
        shutil.copy("ready/0.png", "in/0.png")
        rows(["in/0.png"])
        # A file that is still written, one that is no image, and one that is renamed.
        content = Path("ready/1.png").read_bytes()
        with Path("in/1.png").open("wb", buffering=0) as slow:
            slow.write(content[:40])
            Path("in/bad.png").write_bytes(b"no image")
            Path("in/0.png").rename("in/zero.png")
            time.sleep(0.3)
            slow.write(content[40:])
        rows(["in/0.png", "in/1.png", "in/zero.png"])
        shutil.copy("ready/2.png", "in/2.png")
        found = rows(["in/0.png", "in/1.png", "in/zero.png", "in/2.png"])
        Path("in/2.png").unlink()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "out/scores.csv: 4 images scored with" in said
    assert "1 could not be, see prediction.json" in said
    assert said.count("in/bad.png: cannot be decoded") == 1
    described = json.loads(Path("out/prediction.json").read_text())
    assert (described["images"], [*described["problems"]]) == (4, ["in/bad.png"])
    run_step("ready", output="once", threshold="0.4")
    once = read_csv("once/scores.csv", ["path", "sha256", "score", "decision"])
    expected = {row["path"].replace("ready", "in"): row for row in once}
    expected["in/zero.png"] = expected["in/0.png"]
    for path, row in found.items():
        assert row == {**expected[path], "path": path}
