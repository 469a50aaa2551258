"""Generated input for everything that reads files of others, and how much of it is tried.

`make test` tries a fixed choice, `make fuzz` the counts of the profile ``long`` and other input
each time (docs/reliability.md).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from osad.core.errors import OsadError

LONG = settings.get_current_profile_name() == "long"
ODD = ("", " ", "\u2028", "a\nb", "\x00", "\ud800", "\u202e", "é\u0301", "=1+1", "a|b", "{x}",
       "${x}", "../x", "\\", "'\"", "nan", "-1", "1e999", "9" * 30, "1_0", "x" * 20_000, "m" * 300,
       "mean", "good", "\U0001f600", "\r", "9" * 5000, "\u0663")  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    [], {}, [[]], {"a": {}}, [1, "a", None], {"1": 2}, *ODD,
)  # fmt: skip


def quick(most: int) -> settings:
    """Return the settings of a property test: ``most`` inputs, or those of the long profile."""
    if LONG:
        return settings()
    return settings(max_examples=most, deadline=None, derandomize=True, database=None,
                    phases=(Phase.explicit, Phase.generate, Phase.shrink),
                    suppress_health_check=[*HealthCheck])  # fmt: skip


def tried(most: int, one: Callable[[random.Random], object]) -> tuple[list[str], int]:
    """Call a function with the source of all its choices, again and again.

    Whatever it raises but `OsadError` is an error, told with the shortest choices that lead to it.

    Returns:
        the messages of its refusals, and how often there was none.
    """
    messages: list[str] = []
    read = 0

    @quick(most)
    @given(st.randoms(use_true_random=False))
    def once(draw: random.Random) -> None:
        nonlocal read
        try:
            one(draw)
            read += 1
        except OsadError as error:
            message = str(error)
            message.encode()  # It can be printed.
            assert "\x1b" not in message
            messages.append(message)

    once()
    return messages, read


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to every value inside a value."""
    listed = [*enumerate(value)] if isinstance(value, list) else []
    for key, item in value.items() if isinstance(value, dict) else listed:
        yield (*path, key)
        yield from places(item, (*path, key))


def nested(value: Any, depth: int) -> Any:
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


def changed(content: Any, draw: random.Random) -> tuple[Any, tuple[Any, ...]]:
    """Return parameters with one value replaced, taken away or added; and its place, if any."""
    content = copy.deepcopy(content)
    *path, last = draw.choice([*places(content)])
    holder = content
    for key in path:
        holder = holder[key]
    what = draw.randrange(10)
    if not what:
        del holder[last]
        return content, ()
    if what == 1 and isinstance(holder, dict):
        last = draw.choice(ODD)
        holder[last] = draw.choice(VALUES)
    else:
        deep = nested(draw.choice(VALUES), draw.choice((0, 0, 0, 3, 60)))
        holder[last] = draw.choice((deep, [deep, holder[last]], {"a": deep, "b": holder[last]}))
    return content, (*path, last)


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """Return bytes with some cut out, doubled or replaced."""
    content = bytearray(whole)
    for _ in range(draw.randint(1, 4)):
        if not content:
            break
        start = draw.randrange(len(content))
        end = min(len(content), start + draw.randint(0, 30))
        part = draw.choice((
            b"", bytes(content[start:end]) * 2, draw.randbytes(3),
            b"[" * draw.choice((1, 2000)),
            *(odd.encode(errors="surrogatepass")[:50] for odd in draw.choices(ODD, k=3)),
            b"&a [*a]", b"!!python/name:os.system", b"? {a: b}\n: c\n", b"<<: *a", b"\t", b"- ",
        ))  # fmt: skip
        content[start:end] = part
    return bytes(content)
