"""Errors that a person can act on.

Every error of this package derives from `OsadError` and carries one message that names the
file or value concerned and the remedy. Commands print that message without a traceback.
"""

from collections.abc import Sequence

SHOWN = 10
"""How many files or faults a message names."""


class OsadError(Exception):
    """Base of all expected errors; ``exit_code`` is what a command returns for it.

    Exit codes: 1 a check failed (a digest or a count is wrong); 2 wrong usage, unknown name,
    missing file or bad input.
    """

    exit_code = 2


class ConfigError(OsadError):
    """The configuration is wrong: unknown key, unknown name, value out of range."""


class DataError(OsadError):
    """A file of the data is missing or cannot be read."""


class CheckError(OsadError):
    """A digest, a count or a reproduced value is not the expected one."""

    exit_code = 1


class TrainingError(OsadError):
    """A method could not be fitted or scored (for example a loss that is not finite)."""

    exit_code = 1


def listed(lines: Sequence[str], *, between: str = "\n") -> str:
    """Return the first lines of many for a message, and how many more there are.

    Example:
        >>> listed(["a", "b"], between=", "), listed(["x"] * 12, between="")
        ('a, b', 'xxxxxxxxxxand 2 more')
    """
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return between.join([*lines[:SHOWN], *more])
