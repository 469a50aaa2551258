"""Composition of batches and the draws behind them; reading splits and packs into image sets."""

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch
from learn_cases import CPU, rows

from osad.core.errors import CheckError, ConfigError, DataError
from osad.core.files import sha256_bytes
from osad.data.splits import SplitRow
from osad.features.packs import PackInfo, write_pack
from osad.learn.batches import NORMAL, PSEUDO, SEEN, balanced_batches
from osad.learn.images import ImageSet, TrainingData
from osad.methods import registry
from osad.methods.inputs import image_set, of_role, open_packs

VIEWS = 4


def coded(n: int, offset: int) -> torch.Tensor:
    """Return views (n, R, 2) that say what they are: the image's number and the view."""
    image = torch.arange(offset, offset + n).view(-1, 1).expand(n, VIEWS)
    return torch.stack([image, torch.arange(VIEWS).expand(n, VIEWS)], dim=2).half()


def training(n_normals: int, n_anomalies: int, key: str = "key") -> TrainingData:
    """Return normals 0.., anomalies 1000.. and pseudo views 500.. of the normals."""
    rotated = rows(coded(n_normals + 3, 0), range(n_normals))
    views = {"rotated": rotated, "pseudo": rows(coded(n_normals, 500))}
    normal = ImageSet(tuple(map(str, range(n_normals))), views=views)
    seen = {"rotated": rows(coded(n_anomalies, 1000))}
    return TrainingData(normal, ImageSet(tuple(map(str, range(n_anomalies))), views=seen), key)


def contents(data, steps=50, **options):
    shares = {"normals": 32, "anomalies": 16, "pseudo": 0.5} | options
    batches = list(balanced_batches(data, steps, **shares))
    assert len(batches) == steps
    return batches


def test_batch_has_48_images_and_half_of_the_normals_replaced():
    counts: Counter[int] = Counter()
    for batch in contents(training(40, 10)):
        assert batch.features.shape == (48, 2)
        assert batch.labels.dtype == torch.int64
        image, labels = batch.features[:, 0], batch.labels
        assert bool((image[labels == NORMAL] < 40).all())
        assert bool(((image[labels == PSEUDO] >= 500) & (image[labels == PSEUDO] < 540)).all())
        assert bool((image[labels == SEEN] >= 1000).all())
        assert int((labels == SEEN).sum()) == 16
        counts.update(labels.tolist())
    assert counts[NORMAL] + counts[PSEUDO] == 50 * 32
    assert counts[PSEUDO] == pytest.approx(800, abs=80)  # Four standard deviations.


@pytest.mark.parametrize(("pseudo", "label"), [(0.0, NORMAL), (1.0, PSEUDO)])
def test_extreme_shares_of_pseudo_anomalies(pseudo, label):
    for batch in contents(training(5, 0), steps=3, anomalies=0, pseudo=pseudo):
        assert batch.labels.tolist() == [label] * 32


def test_every_image_comes_before_any_comes_again():
    batches = contents(training(40, 10), steps=5, pseudo=0.0)
    for label, n in ((NORMAL, 40), (SEEN, 10)):
        drawn = torch.cat([batch.features[batch.labels == label, 0] for batch in batches]).tolist()
        for start in range(0, len(drawn) - n + 1, n):
            assert len(set(drawn[start : start + n])) == n
        assert sorted(drawn[:n]) != drawn[:n] != drawn[n : 2 * n]


def test_one_anomaly_fills_its_share_with_all_its_views():
    batches = contents(training(8, 1), steps=4)
    for batch in batches:
        assert batch.features[batch.labels == SEEN, 0].tolist() == [1000.0] * 16
    views = torch.cat([batch.features[batch.labels == SEEN, 1] for batch in batches])
    assert set(views.tolist()) == set(range(VIEWS))


def test_draws_are_keyed_on_the_cell_and_the_purpose():
    def stream(key="key", **options):
        batches = contents(training(20, 4, key), steps=2, **options)
        return torch.cat([batch.features for batch in batches])

    assert torch.equal(stream(), stream())
    assert not torch.equal(stream(), stream("other"))
    assert not torch.equal(stream(), stream(purpose="references"))


def test_views_that_a_method_did_not_ask_for_are_an_error():
    data = training(5, 2)
    data = dataclasses.replace(data, normal=dataclasses.replace(data.normal, views={}))
    with pytest.raises(ValueError, match="no rotated"):
        contents(data)


SPEC = registry.get("devnet")
DEEP: dict[str, Any] = {"image_size": 64, "strides": (32,), "channels": (3,), "views": VIEWS}


def split_row(number: int, role: str) -> SplitRow:
    path = f"data/raw/made/{number}.png"
    label = int(number >= 4)
    return SplitRow(path, sha256_bytes(path.encode()), role, label, "dent" if label else "good")


ROLES = ("train_normal", "train_normal", "test", "train_normal", "train_anomaly", "test")
ROWS = [split_row(number, role) for number, role in enumerate(ROLES)]


def write(folder, pack: str, numbers, *, weights: str = "ab", **changes):
    chosen = [ROWS[number] for number in numbers]
    info = PackInfo(
        pack=pack,
        paths=tuple(row.path for row in chosen),
        sha256=tuple(row.sha256 for row in chosen),
        device="cpu",
        backbone="" if pack == "pixels" else "resnet18",
        weights_sha256="" if pack == "pixels" else weights,
        **changes,
    )
    tensors = {
        name: torch.arange(math.prod(shape)).reshape(shape).to(info.dtype())
        for name, shape in info.shapes().items()
    }
    path = folder / f"{pack}.safetensors"
    write_pack(path, tensors, info)
    return path, tensors


@pytest.fixture
def cache(tmp_path):
    plain: dict[str, Any] = {"image_size": 64, "strides": (16, 32), "channels": (2, 3)}
    return {
        "pixels": write(tmp_path, "pixels", range(6)),
        "plain": write(tmp_path, "plain", [5, 4, 3, 2, 1, 0], **plain),
        "rotated": write(tmp_path, "rotated", [0, 1, 3, 4, 5], **DEEP),
        "pseudo": write(tmp_path, "pseudo", [0, 1, 3], **DEEP),
    }


def opened(cache, *kinds: str):
    spec = dataclasses.replace(SPEC, packs=kinds)
    return open_packs([cache[kind][0] for kind in kinds], spec)


def test_image_sets_hold_the_rows_of_their_images(cache):
    packs = opened(cache, "plain", "rotated", "pseudo", "pixels")
    roles = ("train_normal", "train_anomaly", "test")
    normal, anomaly, test = (
        image_set(of_role(ROWS, role), packs, CPU, training=role != "test") for role in roles
    )
    assert normal.paths == tuple(f"data/raw/made/{number}.png" for number in (0, 1, 3))
    plain = cache["plain"][1]
    for stride in (16, 32):
        assert torch.equal(normal.maps[stride].take(), plain[f"s{stride}"][[5, 4, 2]].float())
    assert normal.deepest is normal.maps[32]
    assert torch.equal(normal.need("rotated").take(), cache["rotated"][1]["s32"][[0, 1, 2]].float())
    assert torch.equal(anomaly.need("rotated").take(), cache["rotated"][1]["s32"][[3]].float())
    assert torch.equal(normal.need("pseudo").take(), cache["pseudo"][1]["s32"].float())
    assert "pseudo" not in anomaly.views
    assert "rotated" not in test.views
    assert test.labels is None
    assert torch.equal(test.need("pixels").take(), cache["pixels"][1]["intensity"][[2, 5]])


def test_labels_are_given_only_on_request_and_sets_may_be_empty(cache):
    packs = opened(cache, "plain", "rotated")
    assert image_set(ROWS, packs, CPU, training=False).labels is None
    labels = image_set(ROWS, packs, CPU, training=False, labels=True).labels
    assert labels.tolist() == [0, 0, 0, 0, 1, 1]
    empty = image_set([], packs, CPU, training=True)
    assert (len(empty), len(empty.deepest), len(empty.need("rotated"))) == (0, 0, 0)


@pytest.mark.parametrize("kinds", [("plain",), ("plain", "rotated", "pseudo"), ()])
def test_packs_are_exactly_those_of_the_method(cache, kinds):
    with pytest.raises(ConfigError, match="devnet needs the packs plain, rotated, got"):
        open_packs([cache[kind][0] for kind in kinds], SPEC)


def test_packs_of_different_weights_do_not_mix(cache, tmp_path):
    other, _ = write(tmp_path, "rotated", [0], weights="cd", **DEEP)
    with pytest.raises(DataError, match="come from other networks"):
        open_packs([cache["plain"][0], other], SPEC)


MEANS: dict[str, Any] = {"image_size": 64, "strides": (16, 32), "channels": (2, 3)}


@pytest.fixture
def pooled(tmp_path):
    """Packs of the network of ``plain``, of the same at another size, and of another one."""
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"image_size": 96, "channels": (2, 4)},
        {"weights": "cd"},
    )
    return [
        write(tmp_path / str(number), "pooled", [5, 4, 3, 2, 1, 0], **MEANS | change)
        for number, change in enumerate(changes)
    ]


def test_pooled_packs_keep_the_order_in_which_they_are_given(cache, pooled):
    spec = dataclasses.replace(SPEC, packs=("plain", "pooled"))
    for order in ([0], [0, 1, 2], [0, 2, 1]):
        packs = open_packs([cache["plain"][0], *(pooled[n][0] for n in order)], spec)
        assert [pack.path for pack in packs[1:]] == [pooled[n][0] for n in order]
        for training in (True, False):
            images = image_set(of_role(ROWS, "test"), packs, CPU, training=training)
            assert len(images.pooled) == len(order)
            for rows_, number in zip(images.pooled, order, strict=True):
                expected = pooled[number][1]["pooled"][[3, 0]]  # Rows of the images 2 and 5.
                assert torch.equal(rows_.take(), expected)
    # Without maps nothing says which network is the first.
    alone = dataclasses.replace(SPEC, packs=("pooled",))
    packs = open_packs([pooled[2][0], pooled[0][0]], alone, training=False)
    assert [pack.info.weights_sha256 for pack in packs] == ["cd", "ab"]


def test_pooled_packs_of_wrong_networks_are_refused(cache, pooled):
    spec = dataclasses.replace(SPEC, packs=("plain", "pooled"))
    plain, (first, larger, _) = cache["plain"][0], [path for path, _ in pooled]
    for paths, error, message in (
        ([plain, larger, first], DataError, rf"{larger} \(resnet18 at 96 px, weights ab\)"),
        ([plain, larger], DataError, rf"{plain} \(resnet18 at 64 px, weights ab\), {larger}"),
        ([plain, first, first], DataError, "come from other networks than they should"),
        ([plain], ConfigError, "devnet needs the packs plain, pooled, got plain"),
        ([first], ConfigError, "devnet needs the packs plain, pooled, got pooled"),
        ([plain, plain, first], ConfigError, "got plain, plain, pooled"),
    ):
        with pytest.raises(error, match=message):
            open_packs(paths, spec)


def test_features_of_other_bytes_are_refused(cache):
    changed = [dataclasses.replace(ROWS[0], sha256="0" * 64)]
    with pytest.raises(CheckError, match=r"0\.png"):
        image_set(changed, opened(cache, "plain"), CPU, training=False)
