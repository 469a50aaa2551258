"""Images that keep their aspect or are cut into tiles, and what is seen of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from osad.backbones import get_backbone
from osad.core.errors import ConfigError
from osad.core.files import sha256_file
from osad.features.compute import load_views, store_maps
from osad.features.extract import shared_arrays
from osad.features.packs import CONTENT, Pack, PackInfo, write_pack
from osad.features.plan import Task
from osad.features.tiles import PAD, Frame, cut, fold, inside, join
from osad.learn.images import ImageSet, Rows, TrainingData
from osad.methods.patchcore import PatchCore
from osad.runtime import memory

CPU = torch.device("cpu")
LITE = get_backbone("tf_efficientnet_lite0")


def test_sizes_of_squares_and_of_what_is_in_them():
    assert Frame(224, grid=21, overlap=32).side == 21 * 224 - 20 * 32 == 4064
    assert Frame(64, PAD).content(200, 100) == (32, 64)
    assert Frame(64, PAD, 3, 32).content(1, 1000) == (128, 1)
    assert Frame(64).options == ""
    assert Frame(64, PAD, 2, 32).options == " --resize pad --grid 2 --overlap 32"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Frame(64, grid=2, overlap=64), "tiles.overlap: 64 must be less than image_size 64"),
        (Frame(80, grid=2, overlap=32), "image_size: 80 is no .* stride 32, .*; choose 64 or 96"),
        (Frame(64, grid=2, overlap=16), "tiles.overlap: 16 is no .*; choose 0 or 32"),
    ],
)
def test_tiles_that_do_not_fit_together_are_refused(frame, message):
    with pytest.raises(ConfigError, match=rf"^features\.{message}$"):
        frame.check([16, 32])
    Frame(80, overlap=7).check([16, 32])


@pytest.mark.parametrize("overlap", [0, 8, 16, 24])
def test_tiles_give_the_map_of_the_whole_and_each_position_comes_from_the_nearer_middle(overlap):
    """Of a network that averages 8 x 8 pixels, and of one that says how far its border is."""
    frame = Frame(32, grid=3, overlap=overlap)
    rng = np.random.default_rng(0)
    views = rng.integers(0, 256, (2, frame.side, frame.side, 3)).astype(np.uint8)

    def mapped(pixels):
        return torch.nn.functional.avg_pool2d(torch.tensor(pixels).permute(0, 3, 1, 2).float(), 8)

    tiles = cut(views, frame)
    assert tiles.shape == (18, 32, 32, 3)
    batches = [[mapped(tiles[start : start + 5])] for start in range(0, 18, 5)]
    joined = [maps for (maps,) in join(batches, frame)]
    assert torch.equal(torch.cat(joined), mapped(views))
    distance = torch.tensor([0.0, 1.0, 1.0, 0.0]).expand(18, 1, 4, 4)
    ((rows,), _) = join([[distance]], frame)
    step, shared = 4 - overlap // 8, overlap // 8
    for place, found in enumerate(rows[0, 0, 0].tolist()):
        of_tiles = [place - n * step for n in range(3) if 0 <= place - n * step < 4]
        assert found == max(min(p, 3 - p, 1) for p in of_tiles) or shared % 2


def made(folder, frame: Frame, images, *, channels: int = 16, pack: str = "plain", model=None):
    """Return a written pack of images, by a random network of stride 32."""
    paths = tuple(map(str, images))
    digests = tuple(map(sha256_file, images))
    info = PackInfo(
        pack, paths, digests, "cpu", LITE.name, "0" * 64, frame.size, (32,), (channels,),
        resize=frame.resize, grid=frame.grid, overlap=frame.overlap,
    )  # fmt: skip
    task, arrays = Task(info), shared_arrays(info)
    for rows in task.chunks:
        store_maps(task, rows, load_views(task, rows), arrays, model=model or RANDOM, device=CPU)
    path = folder / f"{pack}{frame.options}.safetensors"
    write_pack(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, info)
    return Pack.open(path)


def random_network() -> torch.nn.Module:
    """Return 16 random filters of 8 x 8 that do not see brightness, and their largest values."""
    torch.manual_seed(0)

    class Network(torch.nn.Sequential):
        def forward(self, pixels):
            return [super().forward(pixels)]

    filters = torch.nn.Conv2d(3, 16, 8, stride=8, bias=False)
    filters.weight.data -= filters.weight.data.mean((1, 2, 3), keepdim=True)
    return Network(filters, torch.nn.MaxPool2d(4)).requires_grad_(False)


RANDOM = random_network()


def textured(path, seed: int, spot: tuple[int, int] | None = None):
    """Write 4,000 x 4,000 pixels of a soft texture, and perhaps a spot of 12 pixels."""
    rng = np.random.default_rng(seed)
    grains = Image.fromarray(rng.integers(60, 200, (110, 110)).astype(np.uint8))
    image = grains.resize((4000, 4000), Image.Resampling.BICUBIC)
    if spot:
        below = image.getpixel(spot)
        assert isinstance(below, int)
        image.paste(max(below - 90, 0), (*spot, spot[0] + 12, spot[1] + 12))
    image.save(path)
    return path


def test_tiles_find_a_spot_of_12_pixels_in_4000_that_a_plain_resize_misses(tmp_path):
    spot = (2710, 1330)
    images = [textured(tmp_path / f"{n}.bmp", n) for n in range(2)]
    images.append(textured(tmp_path / "spot.bmp", 2, spot))
    found = {}
    for name, frame in {"whole": Frame(224), "tiles": Frame(224, grid=25, overlap=64)}.items():
        tensor = made(tmp_path, frame, images).tensor("s32")
        train, test = (
            ImageSet(tuple(map(str, rows)), {32: Rows(tensor, torch.tensor(rows), CPU)})
            for rows in ([0], [1, 2])
        )
        method = PatchCore(neighbourhood=1, candidates=4000, coreset=500)
        state = method.fit(TrainingData(train, ImageSet(()), key="made"))
        found[name] = method.score(state, test)
    normal, defect = found["tiles"].maps
    assert defect.shape == (127, 127)
    assert defect.max() > 1.5 * normal.max()
    assert found["tiles"].total[1] > 1.5 * found["tiles"].total[0]
    down, across = divmod(int(defect.argmax()), 127)
    assert abs(across - spot[0] * 127 / 4000) <= 2
    assert abs(down - spot[1] * 127 / 4000) <= 2
    normal, defect = found["whole"].maps
    place = (int(spot[1] * 7 / 4000), int(spot[0] * 7 / 4000))
    assert defect[place] < normal.max()
    assert defect[place] < defect.max()


def wide(folder) -> list:
    """Write five images of 200 x 100 pixels."""
    images = []
    for number in range(5):
        values = np.random.default_rng(number).integers(0, 256, (100, 200)).astype(np.uint8)
        images.append(folder / f"{number}.png")
        Image.fromarray(values).save(images[-1])
    return images


@pytest.mark.parametrize("frame", [Frame(128, PAD), Frame(96, PAD, 2, 64)])
def test_padding_changes_no_score(tmp_path, frame):
    """The image fills two of four rows of positions; the others have the features of these."""
    images = wide(tmp_path)
    pack = made(tmp_path, frame, images)
    maps = pack.tensor("s32")
    assert (frame.side, maps.shape) == (128, (5, 16, 4, 4))
    assert pack.tensor(CONTENT).tolist() == [[64, 128]] * 5
    assert torch.equal(maps[:, :, [3, 2]], maps[:, :, [0, 1]])
    scores = []
    for tensor in (maps, maps[:, :, :2]):
        train, test = (
            ImageSet(tuple(map(str, rows)), {32: Rows(tensor, torch.tensor(rows), CPU)})
            for rows in ([0, 1, 2], [3, 4])
        )
        method = PatchCore(neighbourhood=1, candidates=1000)
        scores.append(method.score(method.fit(TrainingData(train, ImageSet(()), key="a")), test))
    padded, bare = scores
    torch.testing.assert_close(padded.maps[:, :2], bare.maps)
    torch.testing.assert_close(padded.maps.amax((1, 2)), bare.maps.amax((1, 2)))
    pooled = made(tmp_path, frame, images, pack="pooled").tensor("pooled")
    torch.testing.assert_close(pooled[:, 0], maps[:, :, :2].float().mean((2, 3)), rtol=0, atol=2e-3)


def test_the_network_sees_the_image_mirrored_beside_itself():
    values = np.arange(6, dtype=np.uint8).reshape(2, 3).repeat(20, 0).repeat(20, 1)
    image = Image.fromarray(values).convert("RGB")
    fitted = np.asarray(Frame(60, PAD).fit(image, "bilinear"))[..., 0]
    assert np.array_equal(fitted[:40], values)
    assert np.array_equal(fitted[40:], values[:19:-1])
    # One position holds a part of the image, the others none.
    assert inside((10, 60), 64, (2, 2)) == (1, 2)
    folded = fold(torch.arange(4).reshape(1, 2, 2), (10, 60), 64)
    assert folded.tolist() == [[[0, 1], [0, 1]]]


def test_what_does_not_fit_is_refused_with_its_numbers_and_a_remedy(tmp_path, monkeypatch):
    """1,000 images of 4,064 pixels: 127^2 positions of 320 values of two bytes."""
    names = tuple(map(str, range(1000)))
    info = PackInfo(
        "plain", names, names, "cpu", LITE.name, "0" * 64, 224, (32,), (320,), grid=21, overlap=32
    )
    task = Task(info)
    assert task.bytes == 1000 * 320 * 127**2 * 2
    monkeypatch.setattr(memory, "available_memory", lambda: 16_000_000_000)
    task.check_room(tmp_path / "not/yet", workers=8)
    monkeypatch.setattr(memory, "available_memory", lambda: 11_000_000_000)
    message = (
        r"^pack plain: 1000 images of 4064 x 4064 pixels \(pack 10\.32 GB, computing 1\.12 GB\): "
        r"needs 11\.45 GB of memory, 11\.00 GB are available; lower features\.tiles\.grid"
    )
    with pytest.raises(ConfigError, match=message):
        task.check_room(tmp_path, workers=8)
    monkeypatch.setattr(
        "osad.runtime.memory.shutil.disk_usage", lambda _: type("Usage", (), {"free": 9e9})
    )
    with pytest.raises(ConfigError, match=r"needs 10\.32 GB on the disk of .*, 9\.00 GB are free"):
        task.check_room(tmp_path, workers=1)
