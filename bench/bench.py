"""Measure speed and memory on this machine.

    python bench/bench.py                # features, cells and overhead, some minutes
    python bench/bench.py --grid         # also the whole default grid, from nothing

Run it on an idle machine, from the project's root, after the data and features are there
(``snakemake --cores 2 splits features``). Every figure is wall-clock time of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from osad import config
from osad.cells import Cell
from osad.methods import registry
from osad.runtime.environment import computing_environment
from osad.workflow import Workflow

ROOT = Path(__file__).resolve().parent.parent

EXTRACTION = """
import sys, time
from pathlib import Path
import numpy as np
import timm
import torch
from osad.backbones import get_backbone
from osad.features.extract import compute_maps, normalise
torch.set_num_threads(1)
name, weights, size, images = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
backbone = get_backbone(name)
views = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), dtype=np.uint8)
plain = timm.create_model(backbone.architecture, features_only=True, out_indices=(3, 4)).eval()
folded = backbone.build(weights, strides=(16, 32))

def ours():
    for _ in compute_maps(folded, views, backbone=backbone, device=torch.device("cpu")):
        pass

def plainly():
    with torch.inference_mode():
        for start in range(0, len(views), 16):
            x = torch.from_numpy(views[start : start + 16])
            plain(normalise(x, backbone.mean, backbone.std).contiguous())

def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start

ours(), plainly()
pairs = [(seconds(ours), seconds(plainly)) for _ in range(3)]
print(*(f"{images / a},{images / b}" for a, b in pairs))
"""


def run(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run a command; return its seconds and standard output."""
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, done.stdout


def extraction(workflow: Workflow, images: int) -> None:
    """Print images per second of the cached extraction beside a plain NCHW loop, one thread."""
    features = workflow.params.features
    command = [sys.executable, "-c", EXTRACTION, features.backbone, workflow.weights]
    command += [str(features.image_size), str(images)]
    _, output = run(command, computing_environment(os.environ))
    pairs = [tuple(map(float, pair.split(","))) for pair in output.split()]
    ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    _, output = run(command, dict(os.environ))
    bare = statistics.median(float(pair.split(",")[1]) for pair in output.split())
    print(f"\nFeatures ({features.backbone}, {features.image_size} px, one thread)")
    print(f"  ours (folded, channels last, allocator setting)  {ours:7.1f} images/s")
    print(f"  plain NCHW loop, same environment                {plain:7.1f} images/s")
    print(f"  plain NCHW loop, environment as it is            {bare:7.1f} images/s")
    print(
        f"  ratio to the plain loops                         {ours / plain:.2f}, {ours / bare:.2f}"
    )


def cells(workflow: Workflow) -> None:
    """Print seconds and peak memory of training and scoring one cell of each method."""
    print("\nCells (one process each, imports included, on an otherwise idle machine)")
    print(f"  {'method':<18}{'train s':>9}{'score s':>9}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for method in workflow.params.methods:
            setting = registry.get(method).settings[0]
            dataset = workflow.params.datasets[0]
            shots = max(workflow.params.shots)
            cell = Cell(dataset, "all", f"{setting}-m{shots}", method, workflow.params.seeds[0])
            common = ["--cell", str(cell), "--split", workflow.split(cell)]
            common += ["--hyper", workflow.hyper(method), "--packs", *workflow.packs(cell)]
            checkpoint = f"{folder}/checkpoint.safetensors"
            job = [sys.executable, __file__, "--peak-of"]
            train = ["train", *common, "--output", checkpoint]
            score = ["score", *common, "--checkpoint", checkpoint]
            train_seconds, output = run([*job, *train], dict(os.environ))
            peak = float(output.split()[-1])
            score_seconds, output = run(
                [*job, *score, "--output", f"{folder}/scores.csv"], dict(os.environ)
            )
            peak = max(peak, float(output.split()[-1]))
            print(f"  {method:<18}{train_seconds:9.1f}{score_seconds:9.1f}{peak:9.0f}")


def peak_of(arguments: list[str]) -> None:
    """Run one job without the fork server and print the peak memory of its process in MB."""
    environment = {**os.environ, "OSAD_SERVER": ""}
    subprocess.run([sys.executable, "-m", "osad.job", *arguments], env=environment, check=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def copy_project(folder: Path) -> None:
    """Copy the project's own files (no data, no results) to a folder."""
    listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if not name.startswith(("results/", "data/manifests/")) and Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, folder / name)


def snakemake(folder: Path, *arguments: str) -> float:
    """Run Snakemake in a copy of the project; return its seconds."""
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder)]
    command += ["--snakefile", str(folder / "Snakefile"), "--resources", "gpu=1", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.perf_counter() - start


def overhead(cores: int) -> None:
    """Print what one Snakemake job costs, from a grid of controls that compute nothing."""
    print("\nOverhead of a Snakemake job (grid of the control `constant`, 20 seeds)")
    for name, switch in (("fork server", "1"), ("plain processes", "0")):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            copy_project(folder)
            grid = {"methods": ["constant"], "settings": ["general"], "shots": [10]}
            grid |= {"seeds": list(range(20))}
            extra = folder / "overhead.yaml"
            extra.write_text(json.dumps({"grid": grid}), encoding="utf-8")
            os.environ["OSAD_FORK_SERVER"] = switch
            common = ["--cores", str(cores), "--configfile", str(extra)]
            snakemake(folder, *common, "splits")
            start_up = snakemake(folder, *common, "splits")
            seconds = snakemake(folder, *common) - start_up
            print(f"  {name:<16} {seconds / 61:.3f} s a job (61 jobs, {cores} cores)")
    del os.environ["OSAD_FORK_SERVER"]


def grid(cores: int) -> None:
    """Build the default grid from nothing in a copy and print its time and peak memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_project(folder)
        seconds = snakemake(folder, "--cores", str(cores))
        again = snakemake(folder, "--cores", str(cores))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        files = sum(path.stat().st_size for path in (folder / "results").rglob("*.*"))
    print(f"\nDefault grid from nothing, {cores} cores asked for: {seconds / 60:.1f} minutes")
    print(f"  again (nothing to be done): {again:.1f} s")
    print(f"  largest process: {peak:.0f} MB; results on disk: {files / 1e6:.0f} MB")


def main() -> None:
    """Print the measurements asked for."""
    if sys.argv[1:2] == ["--peak-of"]:
        peak_of(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", action="store_true", help="also time the whole default grid")
    parser.add_argument("--only", choices=["features", "cells", "overhead", "grid"])
    parser.add_argument("--cores", type=int, default=8)
    parser.add_argument("--images", type=int, default=128)
    options = parser.parse_args()
    os.chdir(ROOT)
    workflow = Workflow(config.load(ROOT), ROOT)
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    chosen = [options.only] if options.only else ["features", "cells", "overhead"]
    if options.grid:
        chosen.append("grid")
    if "features" in chosen:
        extraction(workflow, options.images)
    if "cells" in chosen:
        cells(workflow)
    if "overhead" in chosen:
        overhead(options.cores)
    if "grid" in chosen:
        grid(options.cores)


if __name__ == "__main__":
    main()
