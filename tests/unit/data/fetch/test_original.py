"""Original files: where they come from, and what is said when they are not here."""

import http.server
import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from data_cases import put as put_all
from data_cases import sha256, tree, zipped

from osad.core.errors import CheckError, ConfigError, DataError
from osad.data.fetch import original
from osad.data.fetch.original import MissingData, how_to_get, locate, originals
from osad.data.registry import Archive
from osad.runtime.harness import main as step_main

ONE = zipped({"top/a.txt": b"one"})
TWO = zipped({"b.txt": b"two"})
PAGE = "https://x.org/data"


def digest(content: bytes) -> str:
    return f"sha256:{sha256(content)}"


@pytest.fixture
def site(tmp_path):
    """A folder whose files a local server gives, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def put(path: Path, content: bytes) -> Path:
    return put_all(path.parent, {path.name: content}) / path.name


def archive(file: str = "one.zip", **fields: Any) -> Archive:
    return Archive(file=file, page=PAGE, **fields)


def refused(error: type[Exception], message: str, archives: list, **settings: object) -> None:
    with pytest.raises(error, match=message), originals("x", archives, settings):
        pytest.fail("the block must not run")


def test_what_a_person_has_is_used_in_place_and_under_any_name(project):
    put(project / "mine/top/a.txt", b"one")
    with originals("x", [archive()], {"raw_path": "mine"}) as root:
        assert root == Path("mine")
    assert tree(project) == {"mine/top/a.txt": b"one"}
    put(project / "mine.zip", ONE)
    with originals("x", [archive(digest=digest(TWO))], {"raw_path": "mine.zip"}) as root:
        assert tree(root) == {"top/a.txt": b"one"}


@pytest.mark.parametrize("raw_path", ["mine", "mine/one.zip"])
def test_archives_in_raw_path_are_unpacked_elsewhere(project, raw_path):
    put(project / "mine/one.zip", ONE)
    with originals("x", [archive(digest=digest(ONE))], {"raw_path": raw_path}) as root:
        assert tree(root) == {"top/a.txt": b"one"}
        assert root.resolve().is_relative_to((project / "data/downloads/x").resolve())
    assert tree(project) == {"mine/one.zip": ONE}
    message = r"mine/one\.zip: its sha256 is .* expected 00"
    refused(CheckError, message, [archive(digest="sha256:00")], raw_path=raw_path)


@pytest.mark.parametrize(
    ("raw_path", "error", "message"),
    [
        (".", ConfigError, "must not overlap data/raw/x"),
        ("data/raw/x/deep", ConfigError, "must not overlap"),
        ("gone", MissingData, f"gone: .* does not exist; correct it, or .*{PAGE}"),
        ("mine/notes.txt", DataError, "neither a folder nor an archive"),
        ("mine/one.zip", DataError, "'x' has 2: one.zip, two.zip; name the folder"),
    ],
)
def test_wrong_paths(project, raw_path, error, message):
    put_all(project / "mine", {"one.zip": ONE, "notes.txt": b""})
    refused(error, message, [archive(), archive("two.zip")], raw_path=raw_path)


def test_archives_put_there_by_hand_are_known_again(project, capsys):
    place = project / "data/downloads/x"
    put(place / "one.zip", ONE)
    with originals("x", [archive()], {}) as root:
        assert tree(root) == {"top/a.txt": b"one"}
    assert json.loads((place / "digests.json").read_text()) == {"one.zip": digest(ONE)}
    assert f"its digest is not published; {digest(ONE)} is kept" in capsys.readouterr().err
    with originals("x", [archive()], {}):
        assert "not published" not in capsys.readouterr().err
    put(place / "one.zip", TWO)
    message = r"one\.zip: its sha256 is .* or, if its authors .* delete .*digests\.json"
    refused(CheckError, message, [archive()])


def test_the_digest_of_a_wrong_archive_is_not_kept(project):
    """Its content is found to be wrong while it is read, so that the right one can follow."""

    def read_top() -> bytes:
        with originals("x", [archive()], {}) as root:
            return (locate(root, "top") / "top/a.txt").read_bytes()

    place = project / "data/downloads/x"
    put(place / "one.zip", TWO)
    with pytest.raises(DataError, match="no folder in it holds top"):
        read_top()
    assert not (place / "digests.json").exists()
    put(place / "one.zip", ONE)
    assert read_top() == b"one"
    assert json.loads((place / "digests.json").read_text()) == {"one.zip": digest(ONE)}


def test_several_archives_have_a_folder_each_and_nothing_stays(project):
    place = project / "data/downloads/x"
    put_all(place, {"one.zip": ONE, "two.zip": TWO, "unpacked-old/left.txt": b""})
    both = [archive(digest=digest(ONE)), archive("two.zip", digest=digest(TWO))]

    def failing() -> None:
        with originals("x", both, {}) as root:
            assert tree(root) == {"one/top/a.txt": b"one", "two/b.txt": b"two"}
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert tree(place) == {"one.zip": ONE, "two.zip": TWO}
    assert [path.name for path in sorted(place.iterdir())] == ["one.zip", "two.zip"]


def test_archives_are_downloaded_and_kept(project, site):
    folder, address = site
    put_all(folder, {"one.zip": ONE, "two.zip": TWO})
    both = [
        archive(url=f"{address}/one.zip", digest=digest(ONE), size=len(ONE)),
        archive("two.zip", url=f"{address}/two.zip"),
    ]
    with originals("x", both, {}) as root:
        assert tree(root) == {"one/top/a.txt": b"one", "two/b.txt": b"two"}
    (folder / "one.zip").unlink()
    (folder / "two.zip").unlink()
    with originals("x", both, {}) as root:
        assert tree(root)["two/b.txt"] == b"two"
    kept = tree(project / "data/downloads/x")
    assert sorted(kept) == ["digests.json", "one.zip", "two.zip"]


def test_a_download_that_fails_names_page_and_place(project, site):
    """One with a wrong digest is no missing file."""
    folder, address = site
    put(folder / "one.zip", ONE)
    both = [archive(url=f"{address}/one.zip"), archive("two.zip", url=f"{address}/two.zip")]
    message = (
        rf"two\.zip: is not given \(HTTP status 404\); data set 'x' is not here: .* get one\.zip, "
        rf"two\.zip from {PAGE} and put them into data/downloads/x, or name your copy as "
        r"datasets\.x\.raw_path in params\.yaml; then run the same command again"
    )
    refused(MissingData, message, both)
    Path("data/downloads/x/one.zip").unlink(missing_ok=True)
    wrong = [archive(url=f"{address}/one.zip", digest=digest(TWO))]
    refused(CheckError, "has not the digest", wrong)
    assert not Path("data/downloads/x/one.zip").exists()


def test_what_a_person_has_to_do_is_said_once_and_then_it_goes_on(project, monkeypatch):
    """No download starts while a person is needed."""
    monkeypatch.setattr(original, "download", lambda *_, **__: pytest.fail("downloaded"))
    needed = archive(needs="an account")
    message = (
        rf"^data set 'x' is not here and a person has to get it: get one\.zip from {PAGE} "
        r"\(needs an account\) and put it into data/downloads/x, or name .*raw_path"
    )
    refused(MissingData, message, [needed])
    both = [needed, archive("two.zip", url="http://127.0.0.1:9/two.zip")]
    refused(MissingData, r"get one\.zip from", both)
    put(project / "data/downloads/x/one.zip", ONE)
    with originals("x", [needed], {}) as root:
        assert tree(root) == {"top/a.txt": b"one"}
    refused(MissingData, r"name the folder .*raw_path", [])


def test_the_step_records_that_a_person_is_needed(project):
    arguments = "fetch --dataset brainmri --output data/raw/brainmri/SOURCE.json --failure f.json"
    assert step_main(arguments.split()) == 2
    failure = json.loads(Path("f.json").read_text())
    assert (failure["step"], failure["error"]) == ("fetch", "MissingData")
    assert "needs a Kaggle account" in failure["reason"]
    assert "data/downloads/brainmri" in failure["reason"]


def test_folders_are_found_inside_wrappers_and_under_the_name_of_their_archive(tmp_path):
    for folder in ("w", "w/deeper", "__MACOSX"):
        put_all(tmp_path / folder, {"yes/a": b"", "no/a": b""})
    assert locate(tmp_path, "yes", "no") == tmp_path / "w"
    assert locate(tmp_path / "w", "yes", "no") == tmp_path / "w"
    with pytest.raises(DataError, match="no folder in it holds yes, maybe"):
        locate(tmp_path, "yes", "maybe")
    put_all(tmp_path / "v", {"yes/a": b"", "no/a": b""})
    with pytest.raises(DataError, match=r"v and .*w both hold yes, no"):
        locate(tmp_path, "yes", "no")
    put_all(tmp_path, {"c1/c1/Train/a": b"", "c2/Train/a": b""})
    assert original.locate_named(tmp_path, "c1") == tmp_path / "c1/c1"
    assert original.locate_named(tmp_path, "c2") == tmp_path / "c2"


def test_how_to_get_several_files():
    files = [archive(), archive("two.zip"), Archive(file="three.7z", page="https://y.org")]
    assert how_to_get("x", files) == (
        f"get one.zip, two.zip from {PAGE}; three.7z from https://y.org and put them into "
        "data/downloads/x"
    )
