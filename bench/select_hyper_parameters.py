"""Choose hyper-parameters without the test set.

A fifth of the training normals is held out. A method is fitted on the rest and on the seen
anomalies of a split, then it must tell the held-out normals from pseudo anomalies made of them:
thin scars and smooth-noise blobs, two generators that no training uses. No test image is read.
What is not named has its default, or the value of params.yaml where that names one.

    python bench/select_hyper_parameters.py dpdl lr=2e-4,1e-3 adapter=0,64

prints the AUROC of every combination on each generator: mean over protocols and seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

GENERATORS = ("scar", "blob")


def candidates(texts: list[str]) -> list[dict[str, Any]]:
    """Return every combination of ``key=value,value`` texts; values are JSON (``;`` in lists)."""
    names, options = [], []
    for text in texts:
        name, _, values = text.partition("=")
        names.append(name)
        options.append([json.loads(value.replace(";", ",")) for value in values.split(",")])
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*options)]


def evaluate(task: tuple[str, dict[str, Any], str, int, str, str]) -> dict[str, float]:
    """Return the AUROC by generator and the seconds of one fit."""
    method, values, protocol, seed, folder, holdout_path = task
    from dataclasses import replace

    import torch
    import yaml

    from osad.core.seeds import numpy_generator
    from osad.data.splits import read_split
    from osad.evaluation.metrics import auroc
    from osad.features.packs import Pack, level_name
    from osad.learn.images import ImageSet, Rows, TrainingData
    from osad.methods import registry
    from osad.methods.inputs import image_set, of_role, open_packs
    from osad.runtime.device import make_deterministic

    make_deterministic()
    cpu = torch.device("cpu")
    spec = registry.get(method)
    present = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["methods"]
    chosen = {
        key: value
        for key, value in present.get(method.partition(".")[0], {}).items()
        if key not in spec.overrides
    }
    model = spec.build(spec.resolve(chosen | values))
    rows = read_split(Path("results/splits/elpv/all") / protocol / f"s{seed}.csv")
    normal = of_role(rows, "train_normal")
    shuffled = numpy_generator("selection", seed).permutation(len(normal))
    held = set(shuffled[: len(normal) // 5].tolist())
    kept = [row for number, row in enumerate(normal) if number not in held]
    held_out = [row for number, row in enumerate(normal) if number in held]
    files = [Path(folder) / f"{pack}.safetensors" for pack in spec.packs if pack != "pixels"]
    packs = open_packs(files, spec)
    data = TrainingData(
        image_set(kept, packs, cpu, training=True),
        image_set(of_role(rows, "train_anomaly"), packs, cpu, training=True),
        f"selection/{protocol}/{method}/s{seed}",
    )
    if spec.base:
        base = registry.get(spec.base)
        data = replace(data, base=base.build(base.resolve(present.get(spec.base))).fit(data))
    start = time.perf_counter()
    state = model.fit(data)
    seconds = time.perf_counter() - start
    negative = model.score(state, image_set(held_out, packs, cpu, training=False))
    pack = Pack.open(holdout_path)
    index = pack.rows([row.path for row in held_out], [row.sha256 for row in held_out])
    result = {"seconds": seconds}
    for kind, name in enumerate(GENERATORS):
        maps = {
            stride: Rows(pack.tensor(level_name(stride))[:, kind], index, cpu)
            for stride in pack.info.strides
        }
        images = ImageSet(tuple(row.path for row in held_out), maps)
        positive = model.score(state, images)
        labels = [0] * len(held_out) + [1] * len(held_out)
        for head, low in {"total": negative.total, **negative.heads}.items():
            high = positive.total if head == "total" else positive.heads[head]
            value = auroc(torch.cat([low, high]).numpy(), torch.tensor(labels).numpy())
            assert value is not None
            result[f"{name}.{head}"] = value
    return result


def main() -> None:
    """Evaluate all candidates and print them, best last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("settings", nargs="*", help="key=value,value")
    parser.add_argument("--protocols", nargs="+", default=["general-m10", "general-m1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--folder", default="results/features/elpv/all/tf_efficientnet_lite0-224")
    parser.add_argument("--holdout", default="results/selection/holdout.safetensors")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    choices = candidates(options.settings)
    runs = list(itertools.product(options.protocols, options.seeds))
    tasks = [
        (options.method, choice, protocol, seed, options.folder, options.holdout)
        for choice in choices
        for protocol, seed in runs
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        results = list(pool.map(evaluate, tasks))
    lines = []
    for number, choice in enumerate(choices):
        part = results[number * len(runs) : (number + 1) * len(runs)]
        means = {name: mean(result[name] for result in part) for name in part[0]}
        total = mean(means[f"{name}.total"] for name in GENERATORS)
        lines.append((total, choice, means))
    for total, choice, means in sorted(lines, key=lambda line: line[0]):
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        print(f"{total:.4f}  {json.dumps(choice)}  {numbers}")


if __name__ == "__main__":
    main()
