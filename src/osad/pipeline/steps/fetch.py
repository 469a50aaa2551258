"""Step ``fetch``: bring the raw files of a data set into the project."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from osad.core.errors import ConfigError
from osad.core.files import parse_json
from osad.data.registry import get
from osad.data.source import SOURCE_NAME


def parse_settings(text: str) -> dict[str, Any]:
    """Parse the settings of a data set.

    Raises:
        ConfigError: the text is not a JSON object.
    """
    try:
        settings = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"--settings {text!r}: is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"--settings {text!r}: must be a JSON object, for example {{}}")
    return settings


def main(argv: list[str]) -> list[Path]:
    """Fetch one data set; its ``SOURCE.json`` is written last."""
    parser = argparse.ArgumentParser(prog="osad fetch", description=main.__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--settings", default="{}", help="JSON object of params.yaml")
    parser.add_argument("--output", required=True, type=Path, help="data/raw/DATASET/SOURCE.json")
    options = parser.parse_args(argv)
    if options.output.name != SOURCE_NAME:
        raise ConfigError(f"--output {options.output}: the name must be {SOURCE_NAME}")
    settings = parse_settings(options.settings)
    spec = get(options.dataset, settings)
    spec.fetch(spec, options.output.parent, settings)
    return [options.output]
