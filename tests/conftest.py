"""What all tests share: their order, and what an empty project and a page of results are.

Also how many inputs the property tests try (tests/unit/fuzz_cases.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from report_cases import Site

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


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small grid with its results and their page; not to be changed."""
    import report_cases as cases  # It takes seconds, and tests of the workflow need none of it.

    root = tmp_path_factory.mktemp("site")
    rules = cases.site_rules()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        cases.make_results(rules)
        cases.make_tables(rules)
        cases.make_page(rules)
    return cases.Site(root, rules)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that is the current directory."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return root
