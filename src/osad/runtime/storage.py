"""A job without a shared file system: its files come from a storage and go there.

Snakemake puts the inputs of such a job below a folder of its own
(``.snakemake/storage/s3/BUCKET/results/...``) and looks for the outputs there. Here they are put
where an ordinary job has them and back, so that the step, its receipt, its log and its failure
name the files of an ordinary run. The receipt of such a job also has the digests of its inputs,
since Snakemake's main process, which writes the records, never sees them.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from osad.core.files import read_csv, read_json, replacing, sha256_file, write_json

IMAGES = ".osad/images"
"""Where the images that a manifest lists are, as an archive; only storages have it."""
FAILURE = "osad failure: "
"""Begins the last line of the log of a job that failed: a log is all that Snakemake then stores."""
PART = re.compile(r"^\..*\.part$|\.[0-9A-Fa-f]{8}$")
"""Names of files that are being written: by `osad.core.files`, by what downloads from S3."""


def images_of(manifest: str) -> str:
    """Return the path of the archive with the images of a manifest.

    Example:
        >>> images_of("data/manifests/mvtec/carpet.csv")
        '.osad/images/mvtec/carpet.tar'
    """
    return f"{IMAGES}/{manifest.removeprefix('data/manifests/').removesuffix('.csv')}.tar"


def run(folder: str, arguments: Sequence[str], job: Callable[[list[str]], int]) -> int:
    """Run a job with the files of a storage.

    Args:
        folder: where Snakemake has them, with a slash at its end.
        arguments: the job's, with paths in that folder.
        job: runs a job by its arguments with the paths of an ordinary run.

    Returns:
        the exit code.
    """
    own = [argument.replace(folder, "") for argument in arguments]
    try:
        inputs = bring(folder)
        code = job(own)
        give(folder, own, code, inputs)
    except (OSError, tarfile.TarError) as error:
        print(f"osad {own[0]}: {folder} and this folder: {error}", file=sys.stderr)
        return 1
    return code


def bring(folder: str) -> dict[str, str]:
    """Put what the storage has here where an ordinary run has it; return digests by path."""
    inputs = {}
    for path in files(folder):
        with contextlib.suppress(FileNotFoundError):  # Of another job here, which has ended.
            inputs[path] = sha256_file(Path(folder, path))
            if path.startswith(IMAGES):
                unpack(Path(folder, path))
            else:
                place(folder + path, path)
    return inputs


def give(folder: str, arguments: Sequence[str], code: int, inputs: Mapping[str, str]) -> None:
    """Put what a job has left where Snakemake looks for it: of one that failed, the log."""
    options = dict(itertools.pairwise(arguments))
    log, failure, record = (options[name] for name in ("--log", "--failure", "--record"))
    if os.path.exists(log):
        place(log, folder + log)
    if code == 0:
        receipt = read_json(record)
        write_json(record, receipt | {"inputs": inputs})
        for path in (*receipt["outputs"], record):
            place(path, folder + path)
        if arguments[0] == "manifest":
            manifest = options["--output"]
            pack(Path(manifest), Path(folder, images_of(manifest)))
    elif os.path.exists(failure):
        with open(folder + log, "a", encoding="utf-8") as stream:
            stream.write(f"{FAILURE}{json.dumps(read_json(failure))}\n")


def files(folder: str) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it, but those that come in."""
    for where, _, names in os.walk(folder):
        for name in names:
            if not PART.search(name):
                yield os.path.relpath(os.path.join(where, name), folder)


def place(source: str, target: str) -> None:
    """Give a file a second name, at once and over what is there; copy it where that cannot be."""
    if os.path.exists(target) and os.path.samefile(source, target):
        return
    with replacing(target) as part:
        try:
            os.link(os.path.realpath(source), part)
        except OSError:
            shutil.copyfile(source, part)


def listed(manifest: Path) -> Iterable[str]:
    """Return the paths of the images and masks of a manifest, each once."""
    rows = read_csv(manifest, ("path", "mask"))
    return dict.fromkeys(row[name] for row in rows for name in ("path", "mask") if row[name])


def pack(manifest: Path, archive: Path) -> None:
    """Write the images and masks of a manifest as an archive."""
    with replacing(archive) as part, tarfile.open(part, "w") as tar:
        for path in listed(manifest):
            tar.add(os.path.realpath(path), path)


def unpack(archive: Path) -> None:
    """Write the files of an archive that are not here.

    Raises:
        tarfile.FilterError: one would be outside this folder.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            path = tarfile.data_filter(member, ".").name
            content = None if os.path.exists(path) else tar.extractfile(member)
            if content is not None:
                with replacing(path) as part, part.open("wb") as stream:
                    shutil.copyfileobj(content, stream)
