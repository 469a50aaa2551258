import pytest
from download_cases import Script, scripted

from osad.backbones import hub


@pytest.fixture
def no_cache(monkeypatch):
    """Hide the hub's files on this machine."""
    monkeypatch.setattr(hub, "cached_file", lambda repository: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(monkeypatch, no_cache):
    """A server in the place of the hub; the first request is sent on to ``/blob``."""
    with scripted(Script(b"", location="/blob")) as found:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{found.server_port}/")
        yield found
