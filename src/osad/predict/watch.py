"""Score the images of a folder that grows, as they arrive."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError, DataError
from osad.core.files import filling, write_csv, write_json
from osad.data.manifest import byte_order, is_image_name
from osad.predict.computing import Scorer
from osad.predict.decision import ANOMALOUS, labels_of
from osad.predict.heat import scale_of
from osad.predict.images import Found, find, read
from osad.predict.output import write_maps
from osad.predict.step import Run, columns_of, decide, description, lines_of, of_digest, parse

PERIOD = 1.0
"""Seconds between two looks at the folder."""
SLICE = 0.05
"""Seconds after which a signal is noticed."""
BATCH = 16
"""Most images that are scored before a signal is noticed and files are written."""

State = tuple[int, int]
"""Size and time of the last change of a file."""


def listing(folder: Path) -> dict[str, State]:
    """Return the images below a folder, relative to the current one; hidden ones are left out."""
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if name.startswith(".") or not is_image_name(name):
                continue
            try:
                stat = path.stat()
            except OSError:  # It has gone again.
                continue
            found[Path(os.path.relpath(path)).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


class Arrivals:
    """Tells which files are new or changed, and complete: as they were at the look before."""

    def __init__(self) -> None:
        """Know of no file."""
        self._last: Mapping[str, State] = {}
        self._done: dict[str, State] = {}

    def ready(self, found: Mapping[str, State]) -> list[str]:
        """Return the paths of files to score, in byte order; what has gone is forgotten.

        Example:
            >>> arrivals = Arrivals()
            >>> [arrivals.ready({"a.png": (size, 0)}) for size in (1, 2, 2)]
            [[], [], ['a.png']]
        """
        still = [path for path, state in found.items() if self._last.get(path) == state]
        self._last = dict(found)
        self._done = {path: state for path, state in self._done.items() if path in found}
        return sorted((p for p in still if self._done.get(p) != found[p]), key=byte_order)

    def handled(self, path: str) -> None:
        """Remember that a file was scored, or cannot be, until it changes."""
        self._done[path] = self._last[path]


def read_each(paths: Sequence[str]) -> tuple[list[Found], dict[str, str]]:
    """Hash and decode images.

    Returns:
        those that can be scored, and by path why others cannot.
    """
    images, problems = [], {}
    for path in paths:
        try:
            if not path.isprintable():
                raise DataError(f"{path!a}: its name is not plain text; rename the file")
            images += read([path], workers=1)
        except DataError as error:
            problems[path] = str(error)
    return images, problems


class Watch:
    """A prediction that goes on: what was scored, and the files that say it."""

    def __init__(self, options: argparse.Namespace, output: Path) -> None:
        """Read what the run left, and score the images of ``--labelled``.

        Raises:
            OsadError: as the step ``predict`` does.
        """
        self.options, self.output = options, output
        self.run = run = Run.open(options)
        self.spec, self.hyper, self.scale = run.spec, run.hyper, run.scale
        self.scorer = Scorer(options, run.test, resident=True)
        labels: dict[str, int] = {}
        scores: dict[str, float] = {}
        if options.labelled:
            known = read(find([options.labelled], output=options.output), workers=options.cores)
            labels = labels_of(known, options.labelled, run.split, options.normal)
            decide(options, run.test, labels, dict.fromkeys(labels, 0.0))
            scores = of_digest(known, self.scorer(known, folder=output))
        self.decided = decide(options, run.test, labels, scores)
        self.lines: dict[str, dict[str, Any]] = {}
        self.problems: dict[str, str] = {}
        self.notes: list[str] = []

    def add(self, paths: Sequence[str]) -> None:
        """Score images that have arrived and write all files anew, each as a whole."""
        images, problems = read_each(paths)
        for path in paths:
            self.problems.pop(path, None)
        try:
            problems |= self._score(images) if images else {}
        except DataError as error:  # One has changed or gone since it was read.
            if len(images) > 1:
                for image in images:
                    self.add([image.path])
            else:
                problems[images[0].path] = str(error)
        problems = {path: text for path, text in problems.items() if Path(path).exists()}
        for problem in problems.values():
            print(problem, file=sys.stderr)
        self.problems |= problems
        self.write()

    def _score(self, images: Sequence[Found]) -> dict[str, str]:
        """Score images, draw their heat maps, and return by path why one could not be drawn."""
        problems = {}
        self.notes = self.run.unlike(images) or self.notes  # The last is told of.
        scores = self.scorer(images, folder=self.output)
        if scores.maps is not None:
            maps = scores.maps.numpy()
            self.scale = self.scale or scale_of(maps, "the first images scored")
            for image, one in zip(images, maps, strict=True):
                try:
                    write_maps(
                        self.output / "maps", [image], one[None],
                        frame=self.scorer.frame, scale=self.scale, workers=1,
                    )  # fmt: skip
                except OSError as error:
                    reason = f"its heat map cannot be written ({error.strerror})"
                    problems[image.path] = f"{image.path}: {reason}; rename the image"
        for path, line in lines_of(images, scores, self.spec, self.decided).items():
            self.lines.pop(path, None)  # One that has changed stands last.
            self.lines[path] = line
        return problems

    def write(self) -> None:
        """Write ``scores.csv``, in the order of arrival, and ``prediction.json``."""
        columns = columns_of(self.spec, self.decided)
        own = [{key: line[key] for key in columns} for line in self.lines.values()]
        write_csv(self.output / "scores.csv", columns, own)
        written = description(
            self.options, self.hyper, scale=self.scale, images=len(own),
            compared=self.scorer.compared, decided=self.decided, notes=self.notes,
        )  # fmt: skip
        write_json(self.output / "prediction.json", written | {"problems": self.problems})

    def summary(self) -> str:
        """Return what a person wants to know at the end."""
        text: str = f"{self.options.output / 'scores.csv'}: {len(self.lines)} images scored with "
        text += str(self.options.cell)
        if self.problems:
            text += f"; {len(self.problems)} could not be, see prediction.json"
        if self.decided:
            alarms = sum(line["decision"] == ANOMALOUS for line in self.lines.values())
            text += "\n" + self.decided.text(alarms)
        return text


def main(argv: Sequence[str]) -> list[Path]:
    """Score what arrives until SIGINT or SIGTERM, then say what was done.

    Raises:
        OsadError: as the step ``predict`` does; problems of single images are only told.
    """
    options = parse(argv)
    (folder,) = options.images
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; --watch wants one folder, which may be empty")
    if options.output.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"--output {options.output}: lies in {folder}; choose another")
    with filling(options.output) as made:
        watch = Watch(options, made)
        watch.write()
    watch.output = options.output
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    arrivals, look = Arrivals(), 0.0
    print(f"{folder}: is watched; Ctrl-C ends it", flush=True)
    while not stopped:
        if time.monotonic() < look:
            time.sleep(SLICE)
            continue
        ready = arrivals.ready(listing(folder))
        for start in range(0, len(ready), BATCH):
            part = ready[start : start + BATCH]
            if not stopped:
                watch.add(part)
                for path in part:
                    arrivals.handled(path)
                print(f"{len(watch.lines)} images scored, {part[-1]} the last", flush=True)
        look = time.monotonic() + PERIOD
    print(watch.summary(), flush=True)
    return [options.output / "scores.csv", options.output / "prediction.json"]
