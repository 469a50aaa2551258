import json
import os
import platform

import pytest

from osad.core.errors import ConfigError
from osad.core.files import sha256_bytes
from osad.pipeline import nodes
from osad.runtime.device import GRANTED


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project's folder; no job of a cluster runs here."""
    monkeypatch.setenv(nodes.HEAD, "")
    monkeypatch.setenv(GRANTED, "")
    for name, text in (("src/osad/a.py", "A = 1\n"), ("requirements/numeric.lock", "numpy==2\n")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_facts(root):
    line = f"src/osad/a.py {sha256_bytes(b'A = 1' + bytes([10]))}\n"
    found = nodes.facts(root, {"b": 1, "a": [2]})
    assert found.pop("Snakemake").startswith("9.")
    assert found == {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "requirements/numeric.lock": sha256_bytes(b"numpy==2\n")[:12],
        "src": sha256_bytes(line.encode())[:12],
        "parameters": sha256_bytes(b'{"a":[2],"b":1}')[:12],
    }


def test_a_node_like_the_head_node_must_find_its_gpus(root, monkeypatch):
    nodes.tell(nodes.facts(root, {}))
    nodes.check(nodes.facts(root, {}))
    assert os.environ[GRANTED] == "1"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"Python": "3.9"}, r"job: Python is 3\.\d+ here and 3\.9 there; nothing was computed"),
        ({"src": "0"}, r"job: src is \w{12} here and 0 there"),
        ({"parameters": "0", "Snakemake": "8.0"}, r"Snakemake is .* and 8\.0 there; parameters is"),
    ],
)
def test_another_node_is_refused(root, changed, named):
    nodes.tell(nodes.facts(root, {}) | changed)
    with pytest.raises(ConfigError, match=named):
        nodes.check(nodes.facts(root, {}))


@pytest.mark.parametrize("told", ["", "{", None])
def test_a_node_that_was_not_told_is_refused(root, monkeypatch, told):
    if told is None:
        monkeypatch.delenv(nodes.HEAD)
    else:
        monkeypatch.setenv(nodes.HEAD, told)
    with pytest.raises(ConfigError, match="OSAD_HEAD: is not set on this node"):
        nodes.check(json.loads(json.dumps(nodes.facts(root, {}))))
