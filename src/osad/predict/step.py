"""Score images with the checkpoint of one run; write scores and heat maps."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad.core.cells import Cell
from osad.core.errors import DataError
from osad.core.files import filling, read_metadata, read_tensors, sha256_file, write_csv, write_json
from osad.data.manifest import Record
from osad.data.splits import SplitRow, read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.evaluation.scores import table
from osad.features.extract import extract
from osad.features.packs import write_pack
from osad.features.plan import Task
from osad.learn.images import Scores
from osad.methods import registry
from osad.methods.inputs import of_role, open_packs
from osad.pipeline.steps import features as features_step
from osad.pipeline.steps.features import make_progress
from osad.pipeline.steps.run import check_checkpoint, check_features, parse_hyper
from osad.predict.decision import ANOMALOUS, Decided, labels_of, of_folder, of_run
from osad.predict.heat import COLOURS, Scale, scale_of
from osad.predict.images import Found, find, read
from osad.predict.output import claim, write_maps
from osad.predict.scoring import places, score_all, scorer

if TYPE_CHECKING:
    import torch

COLUMNS = ("path", "sha256", "score")
UNCOMPARED = "could not be compared"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options; `osad.predict.cli` gives them."""
    parser = argparse.ArgumentParser(prog="osad predict", description=__doc__)
    parser.add_argument("--cell", required=True, help="id of the run")
    parser.add_argument("--trained", required=True, help="id of the run that was fitted for it")
    parser.add_argument("--hyper", required=True, help="its hyper-parameters as JSON")
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--features", required=True, help="options of the features steps, JSON")
    parser.add_argument("--weights", nargs="*", default=[], type=Path, help="for their digests")
    parser.add_argument("--split", type=Path, help="of the run: where its test images stood")
    parser.add_argument("--maps", type=Path, help="of the run: the scale of the heat maps")
    parser.add_argument("--scores", type=Path, help="of the run: for the threshold")
    parser.add_argument("--threshold", help="from which score on an image is anomalous")
    parser.add_argument("--labelled", type=Path, help="images for the threshold, else the run's")
    parser.add_argument("--normal", nargs="*", default=[], help="classes that are normal, too")
    parser.add_argument("--verified", choices=("yes", "no"), default="no")
    parser.add_argument("--notes", default="[]", help="what could not be checked, JSON")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--output", required=True, type=Path, help="a new or empty folder")
    parser.add_argument("--images", required=True, nargs="+", type=Path)
    return parser.parse_args(argv)


def plan(images: Sequence[Found], options: argparse.Namespace, *, device: str) -> list[Task]:
    """Describe the packs that a method scores from, as the features step does."""
    records = [Record(image.path, 0, "good", "test", "", image.sha256) for image in images]
    return [
        features_step.plan(
            features_step.parse([*shlex.split(text), "--manifest", "-", "--output", "-"]),
            records,
            device=device,
        )
        for text in json.loads(options.features)
    ]


def make_packs(
    tasks: Sequence[Task], *, workers: int, folder: Path, device: torch.device
) -> list[Path]:
    """Write packs as the features step does; return their paths."""
    # All before any is written: the check of what is written computes, and then none may fork.
    made = [
        extract(task, workers=workers, device=device, progress=make_progress(task.info.pack))
        for task in tasks
    ]
    paths = [folder / f"{number}.safetensors" for number in range(len(tasks))]
    for path, tensors, task in zip(paths, made, tasks, strict=True):
        write_pack(path, tensors, task.info)
    return paths


def description(
    options: argparse.Namespace,
    hyper: dict[str, Any],
    *,
    scale: Scale | None,
    images: int,
    compared: bool,
    decided: Decided | None,
) -> dict[str, Any]:
    """Return what was scored with what, for ``prediction.json``."""
    named = {name: getattr(options, name) for name in ("checkpoint", "split", "scores")}
    files = {name: path for name, path in named.items() if path is not None}
    files |= {f"weights {path.name}": path for path in options.weights}
    return {
        "cell": options.cell,
        "files": {n: {"path": str(p), "sha256": sha256_file(p)} for n, p in files.items()},
        "features": json.loads(options.features),
        "features_of_run": "agree" if compared else UNCOMPARED,
        "hyper": hyper,
        "images": images,
        "ledger": "agrees" if options.verified == "yes" else UNCOMPARED,
        "maps": None if scale is None else {"colours": COLOURS, **asdict(scale)},
        "notes": json.loads(options.notes),
        "threshold": decided and decided.description(),
    }


def main(argv: Sequence[str]) -> list[Path]:
    """Write ``scores.csv``, ``prediction.json`` and, for methods with maps, ``maps/*.png``.

    Raises:
        ConfigError: an option is wrong, or the run had other features.
        DataError: a file is missing, or images cannot be read; all of them are named.
        CheckError: a file is not what it should be.
    """
    options = parse(argv)
    spec = registry.get(Cell.parse(options.cell).method)
    hyper, checkpoint = parse_hyper(options.hyper, spec), options.checkpoint
    check_checkpoint(read_metadata(checkpoint), Cell.parse(options.trained), hyper, checkpoint)
    split = read_split(options.split) if options.split else []
    test = of_role(split, "test")
    with filling(options.output) as folder:
        images, labelled = (
            read(find(paths, output=options.output), workers=options.cores) if paths else []
            for paths in (options.images, options.labelled and [options.labelled])
        )
        labels = labels_of(labelled, options.labelled, split, options.normal)
        # Too few images for it are known beforehand, whatever their scores will be.
        decide(options, test, labels, dict.fromkeys(labels, 0.0))
        if spec.maps:
            claim(folder / "maps", images)
        every = [*{image.path: image for image in [*images, *labelled]}.values()]
        scores, image_size, compared = compute(every, test, options, folder=folder)
        rows = [SplitRow(image.path, image.sha256, "test", 0, "good") for image in every]
        lines = {line["path"]: line for line in table(rows, scores, spec.heads)}
        columns = [*COLUMNS, *(f"score_{name}" for name in spec.heads)]
        of_digest = {line["sha256"]: line["score"] for line in lines.values()}
        if decided := decide(options, test, labels, of_digest):
            columns.insert(len(COLUMNS), "decision")
            for line in lines.values():
                line["decision"] = decided.word(line["score"])
        own = [{key: lines[image.path][key] for key in columns} for image in images]
        write_csv(folder / "scores.csv", columns, own)
        scale = None
        if scores.maps is not None:
            maps = scores.maps.numpy()[: len(images)]
            scale = scale_of(maps, "the images scored")
            if options.maps:
                scale = run_scale(options.maps, options.trained, test)
            write_maps(
                folder / "maps", images, maps,
                image_size=image_size, scale=scale, workers=options.cores,
            )  # fmt: skip
        written = description(
            options, hyper, scale=scale, images=len(images), compared=compared, decided=decided
        )
        write_json(folder / "prediction.json", written)
    print(summary(options, len(images), len(places(images, test)), scale=scale))
    if decided:
        print(decided.text(sum(line["decision"] == ANOMALOUS for line in own)))
    return sorted(path for path in options.output.rglob("*") if path.is_file())


def decide(
    options: argparse.Namespace,
    test: Sequence[SplitRow],
    labels: Mapping[str, int],
    scores: Mapping[str, float],
) -> Decided | None:
    """Return the threshold that is asked for, if one is.

    Args:
        options: of this step.
        test: the run's test set; empty when it is not known.
        labels: of the images of ``--labelled``, by their digests.
        scores: at least theirs, by digest.

    Raises:
        ConfigError: the rule is none, or there are too few images for it.
        CheckError: the run's scores are those of other images.
    """
    if options.threshold is None:
        return None
    if options.labelled:
        known = of_folder(labels, scores, options.labelled)
    else:
        known = of_run(options.scores, test)
    return Decided.of(options.threshold, known)


def run_scale(path: Path, run: str, test: Sequence[SplitRow]) -> Scale:
    """Return the scale of the maps in a file (see `scale_of_run`).

    Raises:
        CheckError: they are those of another run.
    """
    maps = anomaly_maps.read(path)
    anomaly_maps.check_cell(maps, cell=run, where=path)
    return scale_of_run(maps, test)


def scale_of_run(maps: AnomalyMaps, test: Sequence[SplitRow]) -> Scale:
    """Return the scale of a run's normal test images; of all of them where no split is known."""
    normal = {row.path for row in test if not row.label}
    chosen = [number for number, path in enumerate(maps.paths) if path in normal]
    if chosen:
        return scale_of(maps.maps[chosen], "the run's normal test images")
    return scale_of(maps.maps, "the run's test images")


def compute(
    images: Sequence[Found], test: Sequence[SplitRow], options: argparse.Namespace, *, folder: Path
) -> tuple[Scores, int, bool]:
    """Compute features and scores of images, after a comparison with the features of the run.

    Args:
        images: n images.
        test: the run's test set in its order; empty when it is not known.
        options: of this step.
        folder: where the packs are while they are needed.

    Returns:
        the scores, the side of the square to which the images of the maps were resized, pixels (0
        for methods that read no maps), and whether the checkpoint names the run's features.

    Raises:
        ConfigError: the run had other features.
        DataError: the checkpoint, for which no ledger vouches, holds other tensors.
    """
    from osad.runtime.device import make_deterministic, select_device

    spec = registry.get(Cell.parse(options.cell).method)
    device = select_device(options.gpu)
    if device.type != "cpu":
        make_deterministic()
    tasks = plan(images, options, device=device.type)
    infos = [task.info for task in tasks]
    compared = check_features(read_metadata(options.checkpoint), infos, options.checkpoint)
    paths = make_packs(tasks, workers=options.cores, folder=folder, device=device)
    make_deterministic()  # Not before the workers are forked: nothing may be computed until then.
    packs = open_packs(paths, spec, training=False)
    tensors = read_tensors(options.checkpoint)
    state = {name: value.to(device) for name, value in tensors.items()}
    method = spec.build(parse_hyper(options.hyper, spec))
    try:
        scores = score_all(images, test, scorer(method, state, packs, device))
    except (KeyError, RuntimeError, ValueError) as error:
        if options.verified == "yes":
            raise
        raise DataError(
            f"{options.checkpoint}: {spec.name} cannot score with it ({error}), and nothing "
            "vouches for its tensors; delete it and train again"
        ) from error
    for path in paths:
        path.unlink()
    size = max((info.image_size for info in infos if info.kind.maps), default=0)
    return scores, size, compared


def summary(options: argparse.Namespace, images: int, known: int, *, scale: Scale | None) -> str:
    """Return what a person wants to know of a prediction that is done."""
    text = f"{options.output / 'scores.csv'}: {images} images scored with {options.cell}"
    if known:
        text += f"; {known} of them are test images of the run and have its scores"
    if scale is None:
        return f"{text}; the method gives no maps"
    if not options.maps:
        text += f"; the colours of {options.output / 'maps'} fit these images only"
    return f"{text}; heat maps in {options.output / 'maps'}"
