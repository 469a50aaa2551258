"""Files, names of cells, random numbers, late imports: what everything else rests on."""

import errno
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osad.core import errors, files, seeds
from osad.core.cells import Cell, Protocol, manifest_path
from osad.core.errors import ConfigError, DataError
from osad.core.lazy import lazy

# --- files --------------------------------------------------------------------------------


def test_digests_of_known_content(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert files.sha256_bytes(b"abc") == files.sha256_file(path) == known


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new/folder/file.txt"
    content = b"old\r\n\xc3\xbc\n"  # Newlines stay as they are.
    files.write_text(path, "old\r\nü\n")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half", encoding="utf-8")
        assert path.read_bytes() == content
        raise RuntimeError
    assert path.read_bytes() == content
    assert [*path.parent.iterdir()] == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_output_appears_only_when_it_is_complete(project):
    def stopped() -> None:
        with files.filling(Path("new/out")) as folder:
            (folder / "x").write_text("1")
            assert not Path("new/out").exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopped()
    assert list(Path("new").iterdir()) == []
    Path("empty").mkdir()
    for name in ("empty", "new/out"):
        with files.filling(Path(name)) as folder:
            (folder / "x").write_text("1")
        assert [path.name for path in Path(name).iterdir()] == ["x"]
        assert [path.name for path in Path(name).parent.glob(".*.part")] == []
        with (
            pytest.raises(ConfigError, match="is there and no empty folder"),
            files.filling(Path(name)),
        ):
            pass


@pytest.mark.parametrize("name", ["file/out", "n" * 260, "busy"])
def test_a_place_that_cannot_be_is_refused_before_the_work(project, name, monkeypatch):
    Path("file").touch()
    Path("busy").mkdir()
    if name == "busy":  # As a folder that another file system is mounted on.

        def replace(*_: object) -> None:
            raise OSError(errno.EBUSY, "busy")

        monkeypatch.setattr("os.replace", replace)
    place = files.filling(Path(name))
    with pytest.raises(ConfigError, match=r"--output .*: cannot be made .*; choose another"), place:
        pytest.fail("nothing may be computed")
    assert {path.name for path in project.iterdir()} == {"busy", "file"}


def test_rows_by_a_column(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("cell,x\nb,1\na,2\n")
    assert files.read_keyed(path, "cell", ["x"]) == {
        "b": {"cell": "b", "x": "1"},
        "a": {"cell": "a", "x": "2"},
    }
    path.write_text("cell,x\na,1\na,2\n")
    with pytest.raises(DataError, match=r"t\.csv, line 3: 'a' is there twice"):
        files.read_keyed(path, "cell")


def test_json_has_one_form(tmp_path):
    path = tmp_path / "v.json"
    files.write_json(path, {"b": [1, 0.1], "a": "ü"})
    assert path.read_text(encoding="utf-8") == '{\n "a": "ü",\n "b": [\n  1,\n  0.1\n ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, math.nan)
    assert files.read_json(path) == {"a": "ü", "b": [1, 0.1]}


COLUMNS = ("path", "value", "note")


def test_csv_has_one_form(tmp_path):
    rows = [
        {"path": "a,b", "value": 0.1 + 0.2, "note": None},
        {"note": 'say "x"', "value": np.float64(1e-7), "path": True},
    ]
    text = 'path,value,note\n"a,b",0.30000000000000004,\nTrue,1e-07,"say ""x"""\n'
    assert files.csv_text(COLUMNS, rows) == text
    files.write_csv(tmp_path / "t.csv", COLUMNS, rows)
    assert (tmp_path / "t.csv").read_bytes() == text.encode()
    first, _ = files.read_csv(tmp_path / "t.csv", ["note", "path"])
    assert first == {"path": "a,b", "value": "0.30000000000000004", "note": ""}
    assert float(first["value"]) == 0.1 + 0.2
    with pytest.raises(ValueError, match="row has columns"):
        files.csv_text(COLUMNS, [{"path": 1}])


def test_tensors_survive_and_equal_content_means_equal_bytes(tmp_path):
    import torch

    tensors = {"b": torch.arange(6).view(2, 3), "a": torch.tensor(0.1)}
    metadata = {"z": [1, None], "cell": "ü"}
    one, other = tmp_path / "1", tmp_path / "2"
    files.write_tensors(one, tensors, metadata)
    files.write_tensors(other, dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert one.read_bytes() == other.read_bytes()
    assert files.read_metadata(one) == metadata
    back = files.read_tensors(one)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    files.write_tensors(one, {}, {})
    assert files.read_tensors(one) == files.read_metadata(one) == {}


READERS = {
    "json": files.read_json, "csv": lambda path: files.read_csv(path, COLUMNS),
    "metadata": files.read_metadata, "tensors": files.read_tensors, "digest": files.sha256_file,
}  # fmt: skip
FOREIGN = b"\x02" + bytes(7) + b"{}"
"""A file of no tensors that somebody else wrote: only its metadata show that."""


@pytest.mark.parametrize(("kind", "content", "message"), [
    *(("json", content, "is not valid JSON") for content in (b"{", b"", b"\xff")),
    ("json", b'{"a": NaN}', "is not valid JSON .NaN is no finite number"),
    ("json", b'{"a": 1e999}', "is not valid JSON .1e999 is no finite number"),
    ("json", b'{"a": "\\ud800"}', "is not valid JSON .'utf-8' codec can't encode character"),
    ("json", b'{"a": {"b": 1, "b": 1}}', "is not valid JSON .the key 'b' is there twice"),
    ("json", b"[" * 100_000, "is not valid JSON .it is nested too deeply"),
    ("csv", b"path,value,note,value\n1,2,3,4\n", "column 'value' is there twice"),
    ("csv", b"path,value,note,x,x\n1,2,3,4,5\n", "column 'x' is there twice"),
    ("csv", b'path,value,note\n1,2,"3\n1,2,3\n', "is not a UTF-8 CSV file"),
    ("csv", b'path,value,note\n1,"2"x,3\n', "is not a UTF-8 CSV file"),
    ("csv", b"path,value,note\n1,2," + b"3" * 200_000 + b"\n", "is not a UTF-8 CSV file"),
    ("csv", b"path,value\n1,2\n", "column 'note' is missing"),
    ("csv", b"", "column 'path' is missing"),
    ("csv", b"path,value,note\n1,2,3\n1,2\n", "line 3: wrong number of fields"),
    ("csv", b"path,value,note\n1,2,3,4\n", "line 2: wrong number of fields"),
    ("csv", b"path,value,note\n\xff,2,3\n", "is not a UTF-8 CSV file"),
    ("metadata", FOREIGN, "is damaged or not ours"),
    *(
        ("metadata", len(header).to_bytes(8, "little") + header, "is damaged or not ours")
        for header in (b"[]", b'{"__metadata__":[]}', b'{"__metadata__":{"osad":"[]"}}',
                       b'{"__metadata__":{"osad":5}}', b"[" * 100_000)
    ),
    *(
        (kind, content, "is damaged")
        for kind in ("metadata", "tensors")
        for content in (b"", b"\xff" * 20, b"{" * 40)
    ),
])  # fmt: skip
def test_damaged_files_are_named(tmp_path, kind, content, message):
    path = tmp_path / "file.x"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"file\.x.*{message}"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_missing_files_are_named(tmp_path, kind):
    with pytest.raises(DataError, match=r"file\.x: cannot be read"):
        READERS[kind](tmp_path / "file.x")


# --- seeds --------------------------------------------------------------------------------


def test_draws_are_those_that_results_were_made_with():
    assert seeds.derive_seed() == 0xE3B0C44298FC1C14 >> 1  # SHA-256 of nothing.
    assert seeds.derive_seed("elpv/all/general-m10/dpdl/s0", "init") == 9051302293831647227
    assert seeds.numpy_generator("a", 1).integers(1000, size=4).tolist() == [457, 0, 5, 466]
    assert seeds.torch_generator("a", 1).initial_seed() == 4742018630964328543


def test_keys_separate_their_parts():
    keys = [("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("a", 1), ("a", 11), ()]
    values = [seeds.derive_seed(*key) for key in keys]
    assert len(set(values)) == len(keys)
    assert all(0 <= value < 2**63 for value in values)


def test_generators_depend_on_their_key_alone():
    import torch

    before = torch.get_rng_state()
    for draw in (
        lambda part: torch.randn(3, generator=seeds.torch_generator("a", part)).tolist(),
        lambda part: seeds.numpy_generator("a", part).random(3).tolist(),
    ):
        assert draw(1) == draw(1) != draw(2)
    assert torch.equal(torch.get_rng_state(), before)


# --- cells --------------------------------------------------------------------------------

WORD = st.from_regex(r"[a-z0-9][a-z0-9_]{0,8}", fullmatch=True)
SHOTS = st.integers(1, 99)
PROTOCOLS = st.one_of(
    st.builds(Protocol, st.just("general"), SHOTS),
    st.builds(Protocol, st.just("hard"), SHOTS, WORD),
    st.just(Protocol("normal", 0)),
)


@given(
    names=st.tuples(WORD, WORD),
    protocol=PROTOCOLS,
    method=st.lists(WORD, min_size=1, max_size=2).map(".".join),
    seed=st.integers(0, 999),
)
def test_protocols_and_cells_survive_their_names(names, protocol, method, seed):
    assert Protocol.parse(str(protocol)) == protocol
    cell = Cell(names[0], names[1], str(protocol), method, seed)
    assert Cell.parse(str(cell)) == cell
    assert cell.split_id == f"{names[0]}/{names[1]}/{protocol}/s{seed}"


def test_protocols_of_the_interface():
    for name, parsed in (
        ("general-m10", Protocol("general", 10)),
        ("hard-mono-m1", Protocol("hard", 1, "mono")),
        ("hard-half-moon-m10", Protocol("hard", 10, "half-moon")),
        ("normal-m0", Protocol("normal", 0)),
    ):
        assert (Protocol.parse(name), str(parsed)) == (parsed, name)
    for name in ("general", "general-m0", "normal-m10", "hard-m10", "easy-m1", "general-m-1", ""):
        with pytest.raises(ConfigError, match=f"protocol '{name}': "):
            Protocol.parse(name)


def test_texts_that_are_no_cells():
    for text in (
        "elpv/all/general-m10/dpdl", "elpv/all/general-m10/dpdl/0", "elpv/all/x/dpdl/s0",
        "elpv/all/general-m10/dpdl.a.b/s0", "ELPV/all/general-m10/dpdl/s0", "../all/x/y/s0",
        "elpv/all/general-m10/dpdl/s0\n", "elpv/all/general-m10/dpdl/s00",
        "elpv/all/general-m010/dpdl/s0", f"elpv/all/general-m10/dpdl/s{'9' * 5000}",
        f"elpv/all/general-m{'9' * 5000}/dpdl/s0",
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Cell.parse(text)


def test_manifest_paths_and_exit_codes():
    assert manifest_path("elpv", "all") == Path("data/manifests/elpv.csv")
    assert manifest_path("mvtec", "carpet") == Path("data/manifests/mvtec/carpet.csv")
    codes = {name: getattr(errors, name).exit_code for name in dir(errors) if name[-5:] == "Error"}
    assert codes == {
        "OsadError": 2, "ConfigError": 2, "DataError": 2, "CheckError": 1, "TrainingError": 1,
    }  # fmt: skip


# --- late imports -------------------------------------------------------------------------


def test_lazy_modules_are_imported_at_first_use(monkeypatch, tmp_path):
    (tmp_path / "lazily_made.py").write_text("VALUE = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    stand_in = lazy("lazily_made")
    assert "lazily_made" not in sys.modules
    assert stand_in.VALUE == 3
    assert "lazily_made" in sys.modules
    monkeypatch.delitem(sys.modules, "lazily_made")
    with pytest.raises(AttributeError, match="NOTHING"):
        _ = stand_in.NOTHING
    with pytest.raises(ModuleNotFoundError):
        _ = lazy("no_such_module_at_all").x


IMPORT_ALL = """
import importlib, pkgutil, sys, osad
names = [info.name for info in pkgutil.walk_packages(osad.__path__, "osad.")]
names = [name for name in names if not name.endswith("__main__")]
heavy = {"torch", "torchvision", "timm", "pandas", "sklearn", "scipy", "matplotlib", "snakemake"}
for name in names:
    importlib.import_module(name)
print(len(names), *sorted((heavy | {"rich"}) & sys.modules.keys()))
"""


def test_importing_the_package_imports_nothing_heavy():
    count, *heavy = subprocess.check_output([sys.executable, "-c", IMPORT_ALL], text=True).split()
    assert int(count) > 50
    assert heavy == []
