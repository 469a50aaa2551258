"""Measure speed and memory on this machine.

    python bench/bench.py                # features, cells and overhead, some minutes
    python bench/bench.py --grid         # also the whole default grid, from nothing
    python bench/bench.py --only cells --configfile configs/ablation.yaml
    python bench/bench.py --only cells --methods dpdl mpfm
    python bench/bench.py --only cells --json data/bench/NAME.json   # for the page of the results

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

from osad.core.cells import Cell
from osad.core.files import write_json
from osad.methods import registry
from osad.pipeline import config
from osad.pipeline.grid import Grid
from osad.pipeline.jobs import jobs_of
from osad.pipeline.rules import Rules
from osad.report.bench import NUMBERS
from osad.runtime.environment import computing_environment
from osad.runtime.facts import machine_facts

ROOT = Path(__file__).resolve().parent.parent

EXTRACTION = """
import sys, time
from pathlib import Path
import numpy as np
import timm
import torch
from osad.backbones import get_backbone
from osad.features.compute import compute_maps, normalise
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


def extraction(grid: Grid, images: int) -> None:
    """Print images per second of the cached extraction beside a plain NCHW loop, one thread."""
    network = grid.params.features.first
    command = [sys.executable, "-c", EXTRACTION, network.backbone, network.weights]
    command += [str(network.image_size), str(images)]
    _, output = run(command, computing_environment(os.environ))
    pairs = [tuple(map(float, pair.split(","))) for pair in output.split()]
    ours, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    _, output = run(command, dict(os.environ))
    bare = statistics.median(float(pair.split(",")[1]) for pair in output.split())
    print(f"\nFeatures ({network.backbone}, {network.image_size} px, one thread)")
    print(f"  ours (folded, channels last, allocator setting)  {ours:7.1f} images/s")
    print(f"  plain NCHW loop, same environment                {plain:7.1f} images/s")
    print(f"  plain NCHW loop, environment as it is            {bare:7.1f} images/s")
    print(
        f"  ratio to the plain loops                         {ours / plain:.2f}, {ours / bare:.2f}"
    )


def cells(rules: Rules, methods: list[str]) -> dict[str, dict[str, float | str]]:
    """Print and return seconds and peak memory of one run of each method.

    The seconds of a method that learns from normals alone count once a seed, not in every
    protocol; those of a method that starts from another's checkpoint leave that one's out.
    """
    print("\nRuns (one process each, imports included, on an otherwise idle machine)")
    columns = ("run s", "cpu s", "peak MB")
    width = max(map(len, methods))
    found: dict[str, dict[str, float | str]] = {}
    print(f"  {'method':<{width}}" + "".join(f"{column:>9}" for column in columns) + "  per")
    for method in methods:
        with tempfile.TemporaryDirectory() as folder:
            numbers = cell_numbers(rules, method, Path(folder))
        per = "seed" if registry.get(method).normal_only else "protocol and seed"
        print(f"  {method:<{width}}" + "".join(f"{number:9.1f}" for number in numbers) + f"  {per}")
        values = {name: round(number, 2) for name, number in zip(NUMBERS, numbers, strict=True)}
        found[method] = {**values, "per": per}
    return found


def machine() -> str:
    """Return the machine in words, without its name."""
    facts = machine_facts()
    return (
        f"{os.cpu_count()} processors ({facts['processor']}), {facts['system']}, "
        f"Python {facts['python']}, CPU only"
    )


def cell_numbers(rules: Rules, method: str, folder: Path) -> tuple[float, ...]:
    """Make one run of a method; return its seconds, CPU seconds, and peak MB."""
    cell, base = a_run(rules.grid, method), registry.get(method).base
    job = next(job for job in jobs_of(rules.run) if job.params["cell"] == str(cell))
    arguments = job.arguments()
    if base:
        cell_numbers(rules, base, folder)
        start = (folder / "checkpoint").rename(folder / "base")
        place = arguments.index("--base")
        arguments[place + 1] = str(start)
    for name in ("checkpoint", "scores", "maps"):
        arguments[arguments.index(f"--{name}") + 1] = str(folder / name)
    wall, output = run([sys.executable, __file__, "--peak-of", *arguments], dict(os.environ))
    cpu, peak = map(float, output.split()[-2:])
    return wall, cpu, peak


def a_run(grid: Grid, method: str) -> Cell:
    """Return the run of a method that is measured: most shots, first seed."""
    spec, params = registry.get(method), grid.params
    setting = next((name for name in params.settings if name in spec.settings), spec.settings[0])
    name = f"{setting}-m{max(params.shots)}"
    if spec.normal_only or setting == "normal":
        name = "normal-m0"
    elif setting == "hard":
        name = next(one.protocol for one in grid.cells if one.protocol.startswith("hard-"))
    dataset, category = grid.categories[0]
    return Cell(dataset, category, name, method, params.seeds[0])


def peak_of(arguments: list[str]) -> None:
    """Run one job without the fork server; print its CPU seconds and peak memory in MB."""
    environment = {**os.environ, "OSAD_SERVER": ""}
    subprocess.run(
        [sys.executable, "-m", "osad.runtime.job", *arguments], env=environment, check=True
    )
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


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
    own = {**os.environ, "PYTHONPATH": str(folder / "src")}  # Of the copy; no other is accepted.
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
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
    parser.add_argument("--configfile", nargs="*", default=[], type=Path)
    parser.add_argument("--methods", nargs="*", help="methods of the grid; all without it")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the cells' numbers, for the page"
    )
    options = parser.parse_args()
    overrides = [path.resolve() for path in options.configfile]
    os.chdir(ROOT)
    rules = Rules(Grid(config.load(ROOT, *overrides), ROOT))
    methods = options.methods or list(rules.grid.params.methods)
    if unknown := set(methods) - set(rules.grid.params.methods):
        sys.exit(f"not in grid.methods: {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    chosen = [options.only] if options.only else ["features", "cells", "overhead"]
    if options.grid:
        chosen.append("grid")
    if "features" in chosen:
        extraction(rules.grid, options.images)
    if "cells" in chosen:
        numbers = cells(rules, methods)
        if options.json:
            write_json(options.json, {"machine": machine(), "cells": numbers})
    if "overhead" in chosen:
        overhead(options.cores)
    if "grid" in chosen:
        grid(options.cores)


if __name__ == "__main__":
    main()
