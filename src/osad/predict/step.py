"""Score images with the checkpoint of one run; write scores and heat maps."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from osad.core.cells import Cell
from osad.core.files import filling, read_metadata, sha256_file, write_csv, write_json
from osad.data.splits import SplitRow, read_split
from osad.evaluation import maps as anomaly_maps
from osad.evaluation.maps import AnomalyMaps
from osad.evaluation.scores import table
from osad.learn.images import Scores
from osad.methods import registry
from osad.methods.inputs import of_role
from osad.methods.registry import MethodSpec
from osad.pipeline.steps.run import check_checkpoint, parse_hyper
from osad.predict.computing import Scorer
from osad.predict.decision import ANOMALOUS, Decided, labels_of, of_folder, of_run
from osad.predict.heat import COLOURS, Scale, scale_of
from osad.predict.images import Found, find, read
from osad.predict.output import claim, write_maps
from osad.predict.scoring import places
from osad.predict.sizes import Sizes

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


def description(
    options: argparse.Namespace,
    hyper: dict[str, Any],
    *,
    scale: Scale | None,
    images: int,
    compared: bool,
    decided: Decided | None,
    notes: Sequence[str],
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
        "notes": [*json.loads(options.notes), *notes],
        "threshold": decided and decided.description(),
    }


@dataclass(frozen=True)
class Run:
    """What a run left for those who score with it.

    Attributes:
        spec: its method.
        hyper: its hyper-parameters.
        split: its images with their roles; empty when they are not known.
        test: those that it was tested on.
        scale: of its heat maps; None for a method without maps, or where they are not at hand.
        sizes: of the images that it was trained on; None where none of them is at hand.
    """

    spec: MethodSpec
    hyper: dict[str, Any]
    split: Sequence[SplitRow]
    test: Sequence[SplitRow]
    scale: Scale | None
    sizes: Sizes | None

    @classmethod
    def open(cls, options: argparse.Namespace) -> Run:
        """Read it, as the options of this step name it.

        Raises:
            ConfigError: an option is wrong.
            DataError: a file is missing.
            CheckError: the checkpoint or the maps are those of another run.
        """
        spec = registry.get(Cell.parse(options.cell).method)
        hyper, checkpoint = parse_hyper(options.hyper, spec), options.checkpoint
        check_checkpoint(read_metadata(checkpoint), Cell.parse(options.trained), hyper, checkpoint)
        split = read_split(options.split) if options.split else []
        test, maps = of_role(split, "test"), options.maps if spec.maps else None
        scale = None if maps is None else run_scale(maps, options.trained, test)
        sizes = Sizes.of(row.path for row in split if row.role != "test")
        return cls(spec, hyper, split, test, scale, sizes)

    def unlike(self, images: Sequence[Found]) -> list[str]:
        """Say on standard error, and return, whether images are of another size than the run's."""
        if not self.split:  # That it is not there has its own note.
            return []
        note = "the run's images are not there, so their sizes could not be compared with these"
        if self.sizes is not None:
            note = self.sizes.note([image.path for image in images])
        if note:
            print(f"note: {note}", file=sys.stderr)
        return [note] if note else []


def main(argv: Sequence[str]) -> list[Path]:
    """Write ``scores.csv``, ``prediction.json`` and, for methods with maps, ``maps/*.png``.

    Raises:
        ConfigError: an option is wrong, or the run had other features.
        DataError: a file is missing, or images cannot be read; all of them are named.
        CheckError: a file is not what it should be.
    """
    options = parse(argv)
    run = Run.open(options)
    spec, test = run.spec, run.test
    with filling(options.output) as folder:
        images, labelled = (
            read(find(paths, output=options.output), workers=options.cores) if paths else []
            for paths in (options.images, options.labelled and [options.labelled])
        )
        notes = run.unlike(images)
        labels = labels_of(labelled, options.labelled, run.split, options.normal)
        # Too few images for it are known beforehand, whatever their scores will be.
        decide(options, test, labels, dict.fromkeys(labels, 0.0))
        if spec.maps:
            claim(folder / "maps", images)
        every = [*{image.path: image for image in [*images, *labelled]}.values()]
        scorer = Scorer(options, test)
        scores = scorer(every, folder=folder)
        decided = decide(options, test, labels, of_digest(every, scores))
        columns, lines = columns_of(spec, decided), lines_of(every, scores, spec, decided)
        own = [{key: lines[image.path][key] for key in columns} for image in images]
        write_csv(folder / "scores.csv", columns, own)
        scale = None
        if scores.maps is not None:
            maps = scores.maps.numpy()[: len(images)]
            scale = run.scale or scale_of(maps, "the images scored")
            write_maps(
                folder / "maps", images, maps,
                frame=scorer.frame, scale=scale, workers=options.cores,
            )  # fmt: skip
        written = description(
            options,
            run.hyper,
            scale=scale,
            images=len(images),
            compared=scorer.compared,
            decided=decided,
            notes=notes,
        )
        write_json(folder / "prediction.json", written)
    print(summary(options, len(images), len(places(images, test)), scale=scale))
    if decided:
        print(decided.text(sum(line["decision"] == ANOMALOUS for line in own)))
    return sorted(path for path in options.output.rglob("*") if path.is_file())


def of_digest(images: Sequence[Found], scores: Scores) -> dict[str, float]:
    """Return the score of each image by its digest."""
    return {i.sha256: s for i, s in zip(images, scores.total.tolist(), strict=True)}


def lines_of(
    images: Sequence[Found], scores: Scores, spec: MethodSpec, decided: Decided | None
) -> dict[str, dict[str, Any]]:
    """Return the line of each image in ``scores.csv`` by path."""
    rows = [SplitRow(image.path, image.sha256, "test", 0, "good") for image in images]
    lines = {line["path"]: line for line in table(rows, scores, spec.heads)}
    for line in lines.values():
        line |= {"decision": decided.word(line["score"])} if decided else {}
    return lines


def columns_of(spec: MethodSpec, decided: Decided | None) -> list[str]:
    """Return the columns of ``scores.csv``."""
    heads = [f"score_{name}" for name in spec.heads]
    return [*COLUMNS, *(["decision"] if decided else []), *heads]


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
