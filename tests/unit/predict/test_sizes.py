"""Images of another size or shape than those of a run are told of."""

from pathlib import Path

import pytest
from PIL import Image

from osad.data.splits import SplitRow
from osad.methods import registry
from osad.predict.images import Found
from osad.predict.sizes import Sizes, size_of
from osad.predict.step import Run


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def made(*sizes):
        for number, size in enumerate(sizes):
            Image.new("RGB", size).save(f"{number}-{size[0]}.png")
        return sorted(path.name for path in Path().glob("*.png"))

    return made


def test_sizes_like_those_known_need_no_word(images):
    paths = images((300, 300), (320, 300))
    sizes = Sizes.of([*paths, "gone.png"])
    assert sizes is not None
    assert sizes.all == {(300, 300), (320, 300)}
    assert sizes.note(paths) == ""
    # Sides 1.1 times as unequal as known, areas from half to twice those known.
    assert sizes.fits((350, 300))
    assert not sizes.fits((360, 300))
    assert sizes.fits((213, 213))
    assert not sizes.fits((212, 212))
    assert sizes.fits((438, 438))
    assert not sizes.fits((439, 439))


def test_the_first_other_one_is_named_with_both_sizes(images):
    paths = images((400, 300), (300, 300), (3000, 3000))
    note = Sizes(frozenset({(300, 300)})).note(paths)
    assert note.startswith("2 of 3 images are of another size or shape than those of the run")
    assert "(0-400.png: 400 x 300, the run's: 300 x 300 pixels)" in note
    assert "; take or cut them like the run's" in note


def test_without_the_run_s_images_nothing_is_said(tmp_path):
    assert Sizes.of([str(tmp_path / "gone.png")]) is None


def test_a_photograph_on_its_side_counts_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert size_of(str(tmp_path / "a.jpg")) == (10, 20)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert size_of(str(tmp_path / "b.png")) is None


def test_sizes_that_cannot_be_compared_are_told_of(capsys):
    row = SplitRow("data/gone.png", "1", "train_normal", 0, "good")
    run = Run(registry.get("random"), {}, [row], [], None, Sizes.of([row.path]))
    (note,) = run.unlike([Found("a.png", "2")])
    assert note in capsys.readouterr().err
    assert "could not be compared" in note
