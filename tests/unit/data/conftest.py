import pytest
from data_cases import build


@pytest.fixture(scope="session")
def elpv_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("elpv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        build("elpv")  # Its counts are checked.
    return root


@pytest.fixture
def elpv(elpv_root, monkeypatch):
    """The project with ELPV and its manifest, as current directory; its files are not to change."""
    monkeypatch.chdir(elpv_root)
