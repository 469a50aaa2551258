"""The order of all tests: files that run the workflow take longest, so they come first.

Also how many inputs the property tests try (tests/unit/fuzz_cases.py).
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "long",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[*HealthCheck],
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that run the workflow first, in whatever order they are; no core idles at the end.

    Processes that share the work must agree, and they do: the order before is a function of a
    common seed.
    """
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
