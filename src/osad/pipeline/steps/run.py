"""One run: fit a method on a split, check what it learned, and score the test images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell
from osad.core.errors import CheckError, ConfigError, DataError, TrainingError
from osad.core.files import (
    parse_json,
    read_metadata,
    read_tensors,
    sha256_bytes,
    sha256_file,
    write_tensors,
)
from osad.core.kinds import fits
from osad.data.splits import SplitRow, read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.scores import write_scores
from osad.features.packs import CONTENT, Pack, PackInfo
from osad.features.tiles import USUAL
from osad.learn.images import BACKBONE, Scores, State, TrainingData
from osad.learn.journal import Journal
from osad.learn.lazy_torch import torch
from osad.methods import registry
from osad.methods.inputs import image_set, of_role, open_network, open_packs
from osad.runtime.device import make_deterministic, select_device
from osad.runtime.facts import code_facts, environment_facts

if TYPE_CHECKING:
    from osad.learn.network import Network

FORMAT = 1
"""Version of the checkpoints' metadata."""
FEATURES = {
    "backbone": str, "image_size": int, "strides": list[int], "weights_sha256": str, "pack": str,
}  # fmt: skip
"""What a checkpoint says of each feature pack that its run has read."""
STATED: dict[str, Any] = FEATURES | {name: type(usual) for name, usual in USUAL.items()}
"""The same, and what it says besides where it is not as by default."""
TRAINING = ".osad/training"
"""Where a training of a backbone keeps what it goes on from after an interruption."""


def parse_hyper(text: str, spec: registry.MethodSpec) -> dict[str, Any]:
    """Return all hyper-parameters from a JSON object.

    Raises:
        ConfigError: it is not a JSON object, or a key or type is wrong.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"--hyper: is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--hyper: expected a JSON object, got {text}")
    return spec.resolve(values)


def read_base(
    paths: Sequence[Path], run: Cell, base: str, features: Iterable[PackInfo] = ()
) -> State | None:
    """Read the checkpoint that a fit starts from.

    Args:
        paths: of the checkpoint; none for a method without a base.
        run: the run that is fitted.
        base: name of the base method; empty without one.
        features: that the fit reads.

    Raises:
        ConfigError: there is a checkpoint where none is needed, or none where one is, or it was
            fitted on other features.
        CheckError: it is of another run.
    """
    if len(paths) != bool(base):
        raise ConfigError(
            f"method {run.method} starts from {base or 'no other method'}, got {len(paths)} "
            "checkpoints with --base"
        )
    if not base:
        return None
    metadata = read_metadata(paths[0])
    expected, stated = str(replace(run, method=base)), metadata.get("cell")
    if stated != expected:
        raise CheckError(
            f"{paths[0]}: is of cell {stated!r}, expected {expected!r}; delete it and run again"
        )
    packs = registry.get(base).packs
    check_features(metadata, [info for info in features if info.pack in packs], paths[0])
    return read_tensors(paths[0])


def check_finite(state: State, run: str) -> None:
    """Check that a fit gave only finite tensors.

    Raises:
        TrainingError: one is not; the message names it.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingError(f"{run}: fitted tensor {name!r} is not finite")


def kept(state: State, hyper: Mapping[str, Any]) -> State:
    """Return the tensors that a checkpoint holds; without the backbone where only heads are kept.

    Example:
        >>> kept({"backbone.conv1.weight": 0, "head.bias": 1}, {"keep": "heads"})
        {'head.bias': 1}
    """
    heads = hyper.get("keep") == "heads"
    return {n: value for n, value in state.items() if not (heads and n.startswith(BACKBONE))}


def check_checkpoint(metadata: Mapping[str, Any], run: Cell, hyper: object, path: Path) -> None:
    """Check that a checkpoint belongs to a run and to these hyper-parameters.

    Raises:
        CheckError: it does not.
    """
    expected = {"format": FORMAT, "cell": str(run), "hyper": json.loads(json.dumps(hyper))}
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise CheckError(
                f"{path}: its {key} is {metadata.get(key)!r}, expected {value!r}; "
                "delete it and run again"
            )


def describe_features(infos: Iterable[PackInfo]) -> list[dict[str, Any]]:
    """Return what a checkpoint says of feature packs, as JSON gives it back."""
    described = [
        {name: getattr(info, name) for name in FEATURES}
        | {n: getattr(info, n) for n, usual in USUAL.items() if getattr(info, n) != usual}
        for info in infos
    ]
    result: list[dict[str, Any]] = json.loads(json.dumps(described))
    return result


def check_features(metadata: Mapping[str, Any], infos: Sequence[PackInfo], path: Path) -> bool:
    """Check that a checkpoint was fitted on features like these; other kinds of packs do not count.

    Returns:
        whether it could be checked: older checkpoints do not name their features.

    Raises:
        DataError: the checkpoint does not describe them as a run does.
        ConfigError: the features differ; the message names both values.
    """
    if "features" not in metadata:
        return False
    kinds, described = {info.pack for info in infos}, metadata["features"]
    if not fits(described, list[dict[str, Any]]) or not all(
        fits({**USUAL, **one}, STATED) for one in described
    ):
        raise DataError(f"{path}: does not say what its features were; delete it and run again")
    stated = [item for item in described if item["pack"] in kinds]
    for name in (*FEATURES, *USUAL):
        then, now = (
            ", ".join(str(item.get(name, USUAL.get(name))) for item in items) or "nothing"
            for items in (stated, describe_features(infos))
        )
        if then != now:
            raise ConfigError(
                f"{path}: {name} of the run's features is {then}, now it is {now}; restore the "
                "old value, or run snakemake again"
            )
    return True


def fit(
    method: registry.Method,
    rows: Sequence[SplitRow],
    packs: Sequence[Pack],
    device: torch.device,
    *,
    run: str,
    base: State | None,
    network: Network | None = None,
    journal: Journal | None = None,
) -> State:
    """Return what a method learns from the training images of a split, on the CPU.

    Raises:
        TrainingError: a tensor is not finite.
    """
    normal, anomaly = (
        image_set(of_role(rows, role), packs, device, training=True)
        for role in ("train_normal", "train_anomaly")
    )
    if network is not None:
        normal, anomaly = network.joined(normal, role=0), network.joined(anomaly, role=1)
    if base is not None:
        base = {name: value.to(device) for name, value in base.items()}
    try:
        data = TrainingData(normal, anomaly, key=run, base=base, journal=journal)
        state = method.fit(data)
        check_finite(state, run)
    except TrainingError:
        if journal is not None:
            journal.close()
        raise
    # Laid out as a file gives them back, which `contiguous` does not do with kernels of 1 x 1: the
    # layout changes last bits.
    return {n: torch.empty(v.shape, dtype=v.dtype).copy_(v) for n, v in state.items()}


def journal_of(
    options: argparse.Namespace, method: registry.Method, infos: Sequence[PackInfo]
) -> Journal | None:
    """Return the journal of a run that trains a backbone; None for the others.

    Its key is the digest of all that determines the training: split, images, weights,
    hyper-parameters, code, versions and device.
    """
    if not any(info.kind.raw for info in infos) or options.base:
        return None
    determined = {
        "cell": options.cell,
        "hyper": parse_json(options.hyper),
        "files": [sha256_file(path) for path in (options.split, *options.packs)],
        "features": describe_features(infos),
        "code": code_facts(),
        "environment": environment_facts(),
    }
    key = sha256_bytes(json.dumps(determined, sort_keys=True).encode())
    path = Path(TRAINING, f"{options.checkpoint.as_posix().lstrip('/')}")
    values: Any = method
    return Journal(path, key, values.epochs, values.iterations)


def maps_of(
    scores: Scores, rows: Sequence[SplitRow], packs: Sequence[Pack], *, run: Cell
) -> anomaly_maps.AnomalyMaps | None:
    """Return the anomaly maps of a run; None for a method that gives none.

    Args:
        scores: what the method returned.
        rows: the images scored, in the order of the scores.
        packs: what they were scored from.
        run: the run.

    Raises:
        TrainingError: the method returned no maps though it declares them.
        ConfigError: its features have no image size.
    """
    spec = registry.get(run.method)
    if not spec.maps:
        return None
    read = [pack for pack in packs if pack.info.kind.maps]
    if len(read) != 1:
        raise ConfigError(f"method {spec.name} gives maps, but reads no maps of features")
    if scores.maps is None:
        raise TrainingError(f"{run}: method {spec.name} declares maps but returned none")
    paths, digests = tuple(row.path for row in rows), tuple(row.sha256 for row in rows)
    content = None
    if CONTENT in read[0].info.shapes():
        content = read[0].tensor(CONTENT)[read[0].rows(paths, digests)].numpy()
    return anomaly_maps.AnomalyMaps(
        cell=str(run),
        paths=paths,
        sha256=digests,
        image_size=read[0].info.frame.side,
        maps=scores.maps.detach().cpu().numpy(),
        content=content,
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(prog="osad run", description=__doc__)
    parser.add_argument("--split", required=True, type=Path)
    parser.add_argument("--packs", nargs="*", default=[], type=Path, help="feature packs")
    parser.add_argument("--base", nargs="*", default=[], type=Path, help="where the fit starts")
    parser.add_argument("--cell", required=True, help="id of the run")
    parser.add_argument("--hyper", required=True, help="hyper-parameters as JSON")
    for name in ("checkpoint", "scores", "maps"):
        parser.add_argument(f"--{name}", required=True, type=Path, help="file to write")
    parser.add_argument("--gpu", type=int, default=0, help="number of GPUs granted")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> list[Path]:
    """Fit, check and score; a method without anomaly maps gives a file without any."""
    options = parse(argv)
    run = Cell.parse(options.cell)
    spec = registry.get(run.method)
    hyper = parse_hyper(options.hyper, spec)
    device = select_device(options.gpu)
    make_deterministic()
    rows = read_split(options.split)
    packs = open_packs(options.packs, spec)
    method = spec.build(hyper)
    infos = [pack.info for pack in packs]
    base = read_base(options.base, run, spec.base, infos)
    network = open_network(packs, method, device)
    journal = journal_of(options, method, infos)
    state = fit(
        method, rows, packs, device, run=str(run), base=base, network=network, journal=journal
    )
    metadata = {
        "format": FORMAT,
        "cell": str(run),
        "hyper": hyper,
        "device": device.type,
        "features": describe_features(infos),
    }
    write_tensors(options.checkpoint, kept(state, hyper), metadata)

    test = of_role(rows, "test")
    packs = [pack for pack in packs if pack.info.pack in spec.test_packs]
    images = image_set(test, packs, device, training=False, labels=spec.sees_test_labels)
    state = {name: value.to(device) for name, value in state.items()}
    if network is not None:
        images = network.joined(images).through(state)
    scores = method.score(state, images)
    maps = maps_of(scores, test, packs, run=run)
    write_scores(options.scores, test, scores, spec.heads)
    anomaly_maps.write(options.maps, maps, cell=str(run))
    if journal is not None:
        journal.close()
    return [options.checkpoint, options.scores, options.maps]
