"""What the job client and the fork server say to each other.

1. The client connects; the server greets with one line that names its interpreter. A client of
   another interpreter leaves and runs its job as a plain process.
2. The client sends the length of its request (8 bytes, with its three standard streams attached
   as file descriptors), then the request. From here on the job is the server's.
3. The server answers once: REFUSED (the job was not started) or EXITED with the exit status, which
   is the negative signal number when a signal ended the job.

A client that ends, or shuts down its sending side, cancels its job. Standard library only.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # Not from typing: importing that would double the client's start-up.
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LENGTH_BYTES = 8
REPLY_BYTES = 5
MAXIMUM_REQUEST = 1 << 24
REFUSED = b"R"
EXITED = b"E"


def greeting() -> bytes:
    """Return the server's first line: protocol version and everything a fork cannot change."""
    facts = ("osad 1", sys.prefix, sys.hexversion, sys.flags.optimize, sys.warnoptions)
    return os.fsencode(" ".join(str(fact) for fact in facts).replace("\n", " ")) + b"\n"


def pack_request(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    directory: str,
    umask: int,
    search_path: Sequence[str],
) -> bytes:
    """Pack a job: NUL cannot occur in any of these texts, so it separates them."""
    fields = [directory, str(umask), str(len(arguments)), *arguments]
    fields += [str(len(search_path)), *search_path]
    fields += [f"{name}={value}" for name, value in environment.items()]
    return os.fsencode("\0".join(fields))


def unpack_request(content: bytes) -> tuple[list[str], dict[str, str], str, int, list[str]]:
    """Unpack what `pack_request` packed.

    Returns:
        The arguments, the environment, the directory, the umask and the module search path.

    Raises:
        ValueError: the content is no request.

    Example:
        >>> unpack_request(
        ...     pack_request(["a"], {"X": "1=2"}, directory="/d", umask=18, search_path=["/s"])
        ... )
        (['a'], {'X': '1=2'}, '/d', 18, ['/s'])
    """
    fields = iter(os.fsdecode(content).split("\0"))
    try:
        directory, umask = next(fields), int(next(fields))
        arguments = [next(fields) for _ in range(int(next(fields)))]
        search_path = [next(fields) for _ in range(int(next(fields)))]
    except StopIteration as error:
        raise ValueError("the request is incomplete") from error
    environment = {}
    for field in fields:
        name, separator, value = field.partition("=")
        if not separator:
            raise ValueError("the request has a variable without a value")
        environment[name] = value
    return arguments, environment, directory, umask, search_path


def pack_reply(kind: bytes, status: int) -> bytes:
    """Pack the server's answer.

    Example:
        >>> unpack_reply(pack_reply(EXITED, -9))
        (b'E', -9)
    """
    return kind + status.to_bytes(REPLY_BYTES - 1, "big", signed=True)


def unpack_reply(content: bytes) -> tuple[bytes, int]:
    """Unpack what `pack_reply` packed."""
    return content[:1], int.from_bytes(content[1:], "big", signed=True)
