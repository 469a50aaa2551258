"""Run one step in this process: ``python -m osad.steps STEP --option value ...``."""

import sys

from osad.steps import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
