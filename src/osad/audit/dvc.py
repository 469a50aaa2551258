"""Running DVC."""

import subprocess
import sys
from pathlib import Path

from osad.audit import git
from osad.core.errors import CheckError


def run(root: Path, *arguments: str) -> None:
    """Run the DVC that is installed beside this Python.

    Raises:
        CheckError: it fails; the message is what it says.
    """
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dvc"), *arguments], cwd=root, env=git.environment(),
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or "failed"
        raise CheckError(f"dvc {' '.join(arguments)}: {said}")
