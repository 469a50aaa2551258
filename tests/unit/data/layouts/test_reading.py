"""Listing a folder: what cannot be read, links, names; nothing is left out in silence."""

import os
from pathlib import Path

import pytest
from data_cases import png, put

from osad.core.errors import DataError
from osad.data.layouts.reading import list_files, list_folders, list_images


def listing(root: Path, **options: bool) -> list[str]:
    """Return the lines of the message that refuses a folder."""
    with pytest.raises(DataError) as caught:
        list_files(root, **options)
    return [line.removeprefix(f"{root}/") for line in str(caught.value).splitlines()]


@pytest.fixture
def locked(monkeypatch):
    """Folders of the name locked cannot be read, whoever runs the tests."""
    for name in ("scandir", "listdir"):
        real = getattr(os, name)

        def refusing(path, real=real):
            if Path(path).name == "locked":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, name, refusing)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, locked):
    put(tmp_path, {"a/locked/x.png": png(1), "b/locked/x.png": png(2), "c/x.png": png(3)})
    text = "cannot be read (Permission denied); check its rights or move it away"
    assert listing(tmp_path) == [f"{name}/locked: {text}" for name in "ab"]
    for function in (list_images, list_folders):
        with pytest.raises(DataError, match="a/locked: cannot be read"):
            function(tmp_path / "a/locked")


def test_links_in_a_loop_and_out_of_the_folder_are_named(tmp_path):
    root = tmp_path / "in"
    put(root, {"a/x.png": png(1)})
    put(tmp_path, {"out.png": png(2)})
    for link, target in (("loop.png", "loop.png"), ("one", "two"), ("two", "one"), ("a/up", ".."),
                         ("gone.png", "nowhere"), ("out.png", "../out.png")):  # fmt: skip
        (root / link).symlink_to(target)
    assert [line.split(": ", 1)[1].split(";")[0] for line in listing(root)] == [
        "links to folders are not followed",
        "is not a regular file",
        "is not a regular file",
        "is not a regular file",
        f"is a link to a place outside {root}",
        "is not a regular file",
    ]
    assert "out.png" not in "".join(listing(root, leave=True))


def test_other_things_than_files_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert listing(tmp_path) == ["pipe.png: is not a regular file; remove it"]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000"])
@pytest.mark.parametrize("name", ["test/good{}/a.png", "test/good/a.png{}", "test/good/{}a.png"])
def test_names_with_odd_blanks_are_named(tmp_path, name, blank):
    put(tmp_path, {name.format(blank): png(1), "train/good/b.png": png(2), f"x{blank}": b""})
    lines = listing(tmp_path)
    assert len(lines) == 2
    assert all("begins or ends with a blank; rename it" in line for line in lines)


def test_hidden_folders_are_entries_of_their_own(tmp_path):
    (tmp_path / os.fsdecode(b".odd\xff")).mkdir()
    put(tmp_path, {"a/.x/b.png": png(1), "@eaDir/b.png": png(1), "c.png": png(1), ".d.png": b""})
    assert list_files(tmp_path) == [".d.png", ".odd\\udcff/", "@eaDir/", "a/.x/", "c.png"]
    assert list_images(tmp_path) == [tmp_path / "c.png"]
    (tmp_path / "e.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"e\.png: is not a regular file"):
        list_images(tmp_path)
    assert list_folders(tmp_path) == [tmp_path / "a"]


def test_a_message_names_ten_of_many(tmp_path):
    for number in range(13):
        (tmp_path / f"{number:02d}.png").symlink_to("nowhere")
    assert listing(tmp_path)[9:] == ["09.png: is not a regular file; remove it", "and 3 more"]
