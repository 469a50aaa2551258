"""What several files of tests share."""

from __future__ import annotations

import pytest
from report_cases import Site, make_page, make_results, make_tables, site_rules


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small grid with its results and their page; not to be changed."""
    root = tmp_path_factory.mktemp("site")
    rules = site_rules()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        make_results(rules)
        make_tables(rules)
        make_page(rules)
    return Site(root, rules)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder that is the current directory."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return root
