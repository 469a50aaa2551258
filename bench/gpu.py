"""Compare a GPU with the processor: numbers, repetition, speed and memory of every method.

    python bench/gpu.py pack             # where data are: writes build/gpu, 26 MiB
    python bench/gpu.py                  # where a GPU is: writes data/bench/gpu.json in 8 minutes
    python bench/gpu.py --device cpu --methods devnet patchcore      # tries the script without one

Every method of the registry runs on a few images of ELPV, from images to scores, by the steps of
the pipeline: on the GPU twice, in two processes that go through the methods side by side, and on
the processor once, each with a thread. What there is no time for is named. The exit code is 1 where
a method failed or two runs on the GPU differ in a byte.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))  # The machine need not have the package installed.

from osad.backbones import get_backbone  # noqa: E402
from osad.core.cells import Cell  # noqa: E402
from osad.core.files import write_json  # noqa: E402
from osad.data.manifest import Record, read_manifest, write_manifest  # noqa: E402
from osad.data.splits import SplitRow, write_split  # noqa: E402
from osad.evaluation.metrics import auroc  # noqa: E402
from osad.evaluation.scores import read_scores  # noqa: E402
from osad.features.kinds import KINDS, PACKS  # noqa: E402
from osad.features.packs import Pack  # noqa: E402
from osad.methods import registry  # noqa: E402
from osad.pipeline.steps import features, run  # noqa: E402
from osad.report.bench import NUMBERS  # noqa: E402
from osad.runtime.environment import computing_environment  # noqa: E402

NETWORK = "tf_efficientnet_lite0"
GPU, AGAIN, CPU = ROLES = ("gpu", "again", "cpu")
FILES = ("checkpoint", "scores", "maps")
SIZES = (224, 448)
TRAINED = ("dra.images", "dpdl.images")
"""Methods that train a backbone, measured at the larger size too."""
STEPS = FEW, MORE = 2, 8
"""Training steps of two runs of theirs at that size: the difference of the times is the steps'."""
SHORT = 5
"""Training steps of such methods elsewhere: their full budget is hours of a processor."""
LATE = {"error": "no time was left"}
GRACE = 30
"""Seconds that what was begun in time may take longer."""
COUNTS = {"train_normal": 100, "train_anomaly": 10, "test": 120}
Job = dict[str, Any]
Line = dict[str, Any]
Lines = dict[tuple[str, str, str, int, int], Line]
"""What was measured, by role, kind (pack, method, speed), name, image size and training steps."""


# --- data ---------------------------------------------------------------------------------------


def chosen(records: Sequence[Record]) -> list[SplitRow]:
    """Return evenly spaced images of a manifest in their roles; half of the test is anomalous."""
    half, rows = COUNTS["test"] // 2, []
    for label, role in enumerate(("train_normal", "train_anomaly")):
        picked = spaced([r for r in records if r.label == label], COUNTS[role] + half)
        tested = {r.path for r in spaced(picked, half)}
        for r in picked:
            own = "test" if r.path in tested else role
            rows.append(SplitRow(r.path, r.sha256, own, r.label, r.class_name))
    return sorted(rows, key=lambda row: row.path)


def spaced(items: Sequence[Any], count: int) -> list[Any]:
    """Return up to ``count`` items at equal distances.

    Example:
        >>> spaced(range(10), 3)
        [0, 3, 6]
    """
    return [items[number * len(items) // count] for number in range(min(count, len(items)))]


def pack(folder: Path, manifest: Path = ROOT / "data/manifests/elpv.csv") -> None:
    """Copy what a comparison reads into a folder: some images, their splits, the weights."""
    rows = chosen(read_manifest(manifest))
    for row in rows:
        (folder / row.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(manifest.parents[2] / row.path, folder / row.path)
    records = [
        Record(
            r.path,
            r.label,
            r.class_name,
            "train" if r.role == "train_normal" else "test",
            "",
            r.sha256,
        )
        for r in rows
    ]
    write_manifest(folder / "manifest.csv", records)
    write_split(folder / "general-m10.csv", rows)
    write_split(folder / "normal-m0.csv", [r for r in rows if r.role != "train_anomaly"])
    weights = folder / "data/weights" / get_backbone(NETWORK).file
    weights.parent.mkdir(parents=True, exist_ok=True)
    get_backbone(NETWORK).obtain(weights)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {len(rows)} images and the weights of {NETWORK}, {size / 2**20:.0f} MiB")


# --- in a process of its own --------------------------------------------------------------------


def packs_of(spec: registry.MethodSpec, size: int) -> list[tuple[str, int]]:
    """Return kinds and image sizes of the packs that a method reads; pooled ones of two sizes."""
    return [
        (kind, at) for kind in spec.packs for at in ((size, 128) if KINDS[kind].pooled else (size,))
    ]


def pack_file(role: str, kind: str, size: int) -> Path:
    """Return where a pack lies."""
    return Path("out", role, f"{kind}-{size}")


def make_pack(role: str, kind: str, size: int, *, gpu: int, threads: int) -> None:
    """Compute a pack, if it is not there, by the step that the pipeline runs."""
    output = pack_file(role, kind, size)
    if output.exists():
        return
    words = f"--pack {kind} --manifest manifest.csv --threads {threads} --output {output}"
    if KINDS[kind].backbone:
        words += f" --backbone {NETWORK} --weights data/weights/{get_backbone(NETWORK).file}"
        words += f" --image-size {size} --strides 16,32 --views 4 --rotation 0 --gpu {gpu}"
    features.main(words.split())


def make_run(role: str, method: str, size: int, steps: int, *, gpu: int) -> None:
    """Fit and score a method, by the step that the pipeline runs.

    ``steps`` are those of a method that trains a backbone.
    """
    spec = registry.registered(method)
    protocol = "normal-m0" if spec.normal_only else "general-m10"
    folder = Path("out", role, f"{method}-{size}")
    words = f"--cell {Cell('elpv', 'all', protocol, method, 0)} --split {protocol}.csv --gpu {gpu}"
    words += " --packs " + " ".join(str(pack_file(role, *one)) for one in packs_of(spec, size))
    if spec.base:
        words += f" --base out/{role}/{spec.base}-{size}/checkpoint"
    words += "".join(f" --{name} {folder / name}" for name in FILES)
    values = spec.resolve()
    if spec.on_images:
        own = {"epochs": 1, "iterations": steps}
        values |= {name: value for name, value in own.items() if name in values}
    run.main([*words.split(), "--hyper", json.dumps(values)])


def measured(function: Callable[[], None], *, gpu: int) -> Line:
    """Return seconds, seconds of processors, and peak memory, MB: of the GPU, or of the process."""
    import torch

    if gpu:
        torch.cuda.reset_peak_memory_stats()
    start, used = time.perf_counter(), time.process_time()
    function()
    seconds = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if gpu:
        peak = torch.cuda.max_memory_allocated() / 1e6
    return dict(zip(NUMBERS, (*seconds, peak), strict=True))


def throughput(size: int, images: int, *, gpu: int) -> Line:
    """Return images per second of the network alone, in batches of the features step."""
    import numpy as np
    import torch

    from osad.features.compute import compute_maps

    backbone, device = get_backbone(NETWORK), torch.device("cuda" if gpu else "cpu")
    weights = Path("data/weights", backbone.file)
    model = backbone.build(weights, strides=(16, 32)).to(device)
    views = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), dtype=np.uint8)

    def seconds(part: Any) -> float:
        start = time.perf_counter()
        for maps in compute_maps(model, part, backbone=backbone, device=device):
            [one.cpu() for one in maps]
        return time.perf_counter() - start

    seconds(views[:16])
    return {"images_s": images / statistics.median(seconds(views) for _ in range(3))}


def work(job: Job) -> Iterator[Line]:
    """Do a job: packs, speeds and runs, each unless time is over; yield a line for each."""
    from osad.runtime.device import make_deterministic

    make_deterministic()
    role, gpu = job["role"], job["gpu"]
    tasks: list[tuple[str, str, int, int, Callable[[], Line]]] = []
    for kind, size in job.get("packs", ()):
        make = partial(make_pack, role, kind, size, gpu=gpu, threads=job["threads"])
        tasks.append(("pack", kind, size, 0, partial(measured, make, gpu=gpu)))
    for size in job.get("speeds", ()):
        images = (2048 if gpu else 32) * SIZES[0] // size
        tasks.append(("speed", NETWORK, size, 0, partial(throughput, size, images, gpu=gpu)))
    for name, size, steps in job.get("methods", ()):
        make = partial(make_run, role, name, size, steps, gpu=gpu)
        tasks.append(("method", name, size, steps, partial(measured, make, gpu=gpu)))
    for kind, name, size, steps, task in tasks:
        line: Line = {"role": role, "kind": kind, "name": name, "size": size, "steps": steps}
        if time.time() > job["until"]:
            yield line | LATE
            continue
        try:
            yield line | task()
        except Exception as error:  # The others go on; the comparison names it.
            yield line | {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def started(job: Job, folder: Path) -> list[Line]:
    """Do a job in a process with the environment of the pipeline's jobs; return its lines.

    The process is stopped soon after the time is over; one that ends badly has a line that says so.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "work", "--job", json.dumps(job)]
    left = max(job["until"] - time.time(), 0) + GRACE
    try:
        done = subprocess.run(
            command, cwd=folder, env=computing_environment(os.environ), stdout=subprocess.PIPE,
            text=True, check=False, timeout=left,
        )  # fmt: skip
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output, code = (error.stdout or b"").decode(), 0
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"role"')]
    if code:
        process = {"role": job["role"], "kind": "process", "name": "", "size": 0, "steps": 0}
        lines.append(process | {"error": f"ended with {code}"})
    return lines


# --- comparison ---------------------------------------------------------------------------------


def with_bases(methods: Sequence[str]) -> list[str]:
    """Return methods after the methods whose checkpoints they start from."""
    bases = [registry.registered(name).base for name in methods]
    return [*dict.fromkeys([*filter(None, bases), *methods])]


def compute(folder: Path, methods: Sequence[str], *, gpu: int, cores: int, until: float) -> Lines:
    """Do everything: the GPU's runs, those that repeat them, and the processor's, side by side."""
    for old in ("out", ".osad"):  # What a training that was stopped has kept would shorten it.
        shutil.rmtree(folder / old, ignore_errors=True)
    size, large = SIZES
    specs = {name: registry.registered(name) for name in with_bases(methods)}
    wanted = {one for spec in specs.values() for one in packs_of(spec, size)}
    packs = sorted(wanted, key=lambda one: (PACKS.index(one[0]), -one[1]))
    trained = [name for name in TRAINED if name in specs and gpu]
    more = sorted({one for name in trained for one in packs_of(specs[name], large)})
    # The first run of a size loads what the others find loaded: it is measured anew.
    measure = [(name, large, steps) for name in trained for steps in (FEW, *STEPS)]
    runs = [(name, size, SHORT) for name in specs]
    common = {"until": until, "threads": max(cores // 3, 1)}
    jobs: list[Job] = [
        {"role": GPU, "packs": packs + more, "speeds": SIZES, "methods": measure + runs},
        {"role": AGAIN, "packs": packs, "methods": runs},
    ]
    with ThreadPoolExecutor(max(cores, len(jobs) + 1)) as pool:

        def begin(job: Job, gpu: int) -> Future[list[Line]]:
            return pool.submit(started, common | job | {"gpu": gpu}, folder)

        begun = [begin(job, gpu) for job in jobs]
        lines = begin({"role": CPU, "packs": packs, "speeds": SIZES}, 0).result()
        families: dict[str, list[tuple[str, int, int]]] = {}  # Each after its base.
        for run in runs:
            families.setdefault(specs[run[0]].base or run[0], []).append(run)
        begun += [begin({"role": CPU, "methods": family}, 0) for family in families.values()]
        lines += [line for future in begun for line in future.result()]
    keys = ("role", "kind", "name", "size", "steps")
    return {tuple(line[key] for key in keys): line for line in lines}


def compared(folder: Path, method: str, size: int) -> Line:
    """Compare the files of a method's runs.

    Returns:
        ``auroc`` on the GPU and ``auroc_cpu``; ``difference``, the largest of the scores, in
        standard deviations of the processor's; ``changed``, files that differ on the GPU.
    """
    at = {role: folder / "out" / role / f"{method}-{size}" for role in ROLES}
    first, cpu = (read_scores(at[role] / "scores") for role in (GPU, CPU))
    labels = [image.label for image in cpu]
    scores = [[image.score for image in images] for images in (first, cpu)]
    gap = max(abs(a - b) for a, b in zip(*scores, strict=True))
    spread = statistics.pstdev(scores[1])
    files = [at[GPU] / name for name in FILES]
    return {
        "auroc": auroc(scores[0], labels),
        "auroc_cpu": auroc(scores[1], labels),
        "difference": gap / spread if spread else gap,
        "changed": [f.name for f in files if not filecmp.cmp(f, at[AGAIN] / f.name, False)],
    }


def pack_difference(folder: Path, kind: str, size: int) -> Line:
    """Compare a pack: its largest difference as a part of the largest value, and repetition."""
    paths = {role: folder / pack_file(role, kind, size) for role in ROLES}
    first, cpu = (Pack.open(paths[role]) for role in (GPU, CPU))
    pairs = [(first.tensor(name).float(), cpu.tensor(name).float()) for name in cpu.info.shapes()]
    return {
        "difference": max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs),
        "changed": [] if filecmp.cmp(paths[GPU], paths[AGAIN], False) else [kind],
    }


def training_cost(method: str, few: Line, more: Line) -> Line:
    """Return what training steps of a method cost on the GPU, and a whole run by that.

    Args:
        method: one that trains a backbone.
        few: what a run of ``FEW`` steps took.
        more: what one of ``MORE`` steps took, which is longer.

    Returns:
        ``step_s`` and ``images_s`` of training, ``peak_mb``, and ``run_s``, seconds of a run of the
        published number of steps, by the time of ``MORE`` steps and that of one.
    """
    values = registry.registered(method).resolve()
    step = (more["cell_s"] - few["cell_s"]) / (MORE - FEW)
    return {
        "step_s": round(step, 3),
        "images_s": round(values["batch"] / step, 1),
        "peak_mb": round(more["peak_mb"]),
        "run_s": round(more["cell_s"] + step * (values["epochs"] * values["iterations"] - MORE)),
    }


def summary(folder: Path, lines: Lines, methods: Sequence[str], machine: Mapping[str, str]) -> Line:
    """Return what is written of a comparison, and what failed or was left out under ``missing``."""
    size, large = SIZES
    found: Line = {"cells": {}, "methods": {}, "packs": {}, "speed": {}, "trained": {}}
    missing = {
        f"{kind} {name} at {at} px on {role}" + f", {steps} steps" * (steps > 0): line["error"]
        for (role, kind, name, at, steps), line in sorted(lines.items())
        if "error" in line
    }
    fine = {key: line for key, line in sorted(lines.items()) if "error" not in line}
    for (role, kind, name, at, _), line in fine.items():
        if kind == "speed":
            found["speed"].setdefault(f"{at} px", {})[role] = round(line["images_s"], 1)
        if kind == "pack" and role == GPU and all((r, kind, name, at, 0) in fine for r in ROLES):
            found["packs"][f"{name} {at} px"] = pack_difference(folder, name, at) | {
                f"seconds_{r}": round(fine[r, kind, name, at, 0]["cell_s"], 2) for r in (GPU, CPU)
            }
    for name in TRAINED:
        few, more = (fine.get((GPU, "method", name, large, steps)) for steps in STEPS)
        if few and more and few["cell_s"] < more["cell_s"]:
            found["trained"][f"{name} {large} px"] = training_cost(name, few, more)
        elif few and more:
            missing[f"steps of {name} at {large} px"] = "took no time that can be told"
    for name in methods:
        # A job that was stopped has no line of what it was at.
        three = [lines.get((role, "method", name, size, SHORT), LATE) for role in ROLES]
        if errors := [line["error"] for line in three if "error" in line]:
            missing[f"method {name} at {size} px"] = errors[0]
            continue
        own = {key: round(three[0][key], 2) for key in NUMBERS}
        other = {f"{key}_cpu": round(three[2][key], 2) for key in NUMBERS}
        found["methods"][name] = compared(folder, name, size) | own | other
        if "." not in name or name in TRAINED:
            budget = f" of {SHORT} steps" * (name in TRAINED)
            found["cells"][name] = own | {"per": f"run{budget} on few images"}
    return {**machine, **found, "missing": missing}


def machine_of(gpu: int) -> dict[str, str]:
    """Describe the GPU and what computes on it; without one the processor in its place."""
    code = "import json; from osad.runtime.facts import *; import torch\n"
    code += f"torch.zeros(1, device='cuda' if {gpu} else 'cpu')\n"
    code += "print(json.dumps([gpu_facts(), environment_facts()]))"
    own = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    told: list[dict[str, str]] = json.loads(
        subprocess.check_output([sys.executable, "-c", code], env=own, text=True)
    )
    facts, software = told
    words = "no GPU, a trial of the script"
    if facts:
        facts |= {key: software[key] for key in ("python", "torch")}
        words = "{gpu}, driver {driver}, CUDA {cuda}, Python {python}, torch {torch}"
        words = words.format(**facts)
    images = sum(COUNTS.values())
    return facts | {"machine": f"{words}; {images} images, imports left out, memory of the GPU"}


def table(found: Line) -> str:
    """Write a comparison for a terminal."""
    rows = [("", "AUROC", "on CPU", "scores differ", "s", "s on CPU", "MB", "MB on CPU", "repeats")]
    for name, line in found["methods"].items():
        numbers = [f"{line[key]:.4f}" for key in ("auroc", "auroc_cpu")]
        numbers += [f"{line['difference']:.1e}"]
        numbers += [f"{line[k]:.1f}" for k in ("cell_s", "cell_s_cpu", "peak_mb", "peak_mb_cpu")]
        rows.append((name, *numbers, ", ".join(line["changed"]) or "yes"))
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(r, width, strict=True)) for r in rows)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "command", nargs="?", default="compare", choices=["pack", "compare", "work"]
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build/gpu", help="data, and results")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="what is compared"
    )
    parser.add_argument("--methods", nargs="*", default=[], help="all of the registry without it")
    parser.add_argument("--minutes", type=float, default=7.0, help="until nothing new is begun")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=ROOT / "data/bench/gpu.json")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.command == "work":
        for line in work(json.loads(options.job)):
            print(json.dumps(line), flush=True)
        return
    if options.command == "pack":
        pack(options.folder)
        return
    if not (options.folder / "manifest.csv").is_file():
        sys.exit(f"{options.folder}: holds no data; make them with: python bench/gpu.py pack")
    import torch

    gpu = int(options.device == "cuda")
    if gpu and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --device cpu tries the script (docs/gpu.md)")
    # Without variants first: they are what the tables print; then trained backbones.
    names = options.methods or [
        spec.name
        for spec in sorted(registry.all_specs(), key=lambda s: ("." in s.name, not s.on_images))
    ]
    until = time.time() + 60 * options.minutes
    lines = compute(options.folder, names, gpu=gpu, cores=options.cores, until=until)
    found = summary(options.folder, lines, names, machine_of(gpu))
    if gpu or options.output != parser.get_default("output"):
        write_json(options.output, found)
    print(table(found), json.dumps({k: found[k] for k in ("speed", "trained")}), sep="\n")
    for what, reason in found["missing"].items():
        print(f"{what}: {reason}", file=sys.stderr)
    parts = [*found["methods"].values(), *found["packs"].values()]
    failed = [reason for reason in found["missing"].values() if reason != LATE["error"]]
    sys.exit(1 if failed or any(part["changed"] for part in parts) else 0)


if __name__ == "__main__":
    main()
