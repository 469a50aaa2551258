#!/usr/bin/env bash
# Snakemake runs this in the project's folder after it has made the environment of bench.yaml.
set -euo pipefail
python -m pip install --no-deps --no-build-isolation .
