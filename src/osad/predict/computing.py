"""Features and scores of images, by the checkpoint of one run."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osad.core.cells import Cell
from osad.core.errors import DataError
from osad.core.files import read_metadata, read_tensors
from osad.data.manifest import Record
from osad.data.splits import SplitRow
from osad.features.extract import Models, Progress, extract
from osad.features.packs import write_pack
from osad.features.plan import Task
from osad.features.tiles import Frame
from osad.learn.images import Scores
from osad.methods import registry
from osad.methods.inputs import NETWORK, open_network, open_packs
from osad.pipeline.steps import features as features_step
from osad.pipeline.steps.features import make_progress
from osad.pipeline.steps.run import check_features, parse_hyper
from osad.predict.images import Found
from osad.predict.scoring import score_all, scorer

if TYPE_CHECKING:
    import torch


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
    tasks: Sequence[Task],
    *,
    workers: int,
    folder: Path,
    device: torch.device,
    models: Models | None = None,
) -> list[Path]:
    """Write packs as the features step does; return their paths.

    Of ``models`` see `osad.features.extract.extract`; with them nothing is said of the progress.
    """

    def progress(task: Task) -> Progress:
        return make_progress(task.info.pack) if models is None else lambda _done, _total: None

    for task in tasks:
        task.check_room(folder, workers=workers)
    # All before any is written: the check of what is written computes, and then none may fork.
    made = [
        extract(task, workers=workers, device=device, progress=progress(task), models=models)
        for task in tasks
    ]
    paths = [folder / f"{number}.safetensors" for number in range(len(tasks))]
    for path, tensors, task in zip(paths, made, tasks, strict=True):
        write_pack(path, tensors, task.info)
    return paths


class Scorer:
    """Scores images after a comparison of their features with those of the run.

    Attributes:
        compared: whether the checkpoint names the run's features; known after the first call.
        frame: the square to which the images of the maps were brought, of 0 pixels for methods that
            read no maps; known after the first call.
    """

    def __init__(
        self, options: argparse.Namespace, test: Sequence[SplitRow], *, resident: bool = False
    ) -> None:
        """Read the checkpoint.

        Args:
            options: of the step ``predict``.
            test: the run's test set in its order; empty when it is not known.
            resident: keep the networks in this process for further calls.
        """
        from osad.runtime.device import select_device

        self.options, self.test = options, test
        self.spec = registry.get(Cell.parse(options.cell).method)
        self.device = select_device(options.gpu)
        self.models: Models | None = {} if resident else None
        self.metadata = read_metadata(options.checkpoint)
        self.tensors = read_tensors(options.checkpoint)
        self.compared = False
        self.frame = Frame(0)

    def __call__(self, images: Sequence[Found], *, folder: Path) -> Scores:
        """Return the scores of n images; packs are in ``folder`` while they are needed.

        Raises:
            ConfigError: the run had other features.
            DataError: the checkpoint, for which no ledger vouches, holds other tensors.
        """
        from osad.runtime.device import make_deterministic

        options = self.options
        if self.device.type != "cpu" or self.models is not None:
            make_deterministic()
        tasks = plan(images, options, device=self.device.type)
        infos = [task.info for task in tasks]
        self.compared = check_features(self.metadata, infos, options.checkpoint)
        if self.spec.on_images:
            importlib.import_module(NETWORK).check_kept(self.tensors, options.checkpoint)
        paths = make_packs(
            tasks, workers=options.cores, folder=folder, device=self.device, models=self.models
        )
        make_deterministic()  # Not before workers are forked: nothing may be computed until then.
        packs = open_packs(paths, self.spec, training=False)
        state = {name: value.to(self.device) for name, value in self.tensors.items()}
        method = self.spec.build(parse_hyper(options.hyper, self.spec))
        network = open_network(packs, method, self.device, *options.weights[:1])
        try:
            score = scorer(method, state, packs, self.device, network)
            scores = score_all(images, self.test, score)
        except (KeyError, RuntimeError, ValueError) as error:
            if options.verified == "yes":
                raise
            raise DataError(
                f"{options.checkpoint}: {self.spec.name} cannot score with it ({error}), and "
                "nothing vouches for its tensors; delete it and train again"
            ) from error
        for path in paths:
            path.unlink()
        self.frame = next((info.frame for info in infos if info.kind.maps), Frame(0))
        return scores
