"""AHL: simulated tasks, the meta step, importance of tasks, and what it keeps of its base."""

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from learn_cases import Packs, draws, rows
from sklearn.cluster import KMeans
from torch import nn

from osad.core.errors import TrainingError
from osad.core.seeds import torch_generator
from osad.learn import dra_heads
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch
from osad.learn.images import ImageSet, TrainingData
from osad.methods import registry
from osad.methods.ahl import importance, meta
from osad.methods.ahl.method import AHL, _Network
from osad.methods.devnet import DevNet
from osad.methods.dra import DRA
from osad.methods.trial import ANOMALIES, NORMALS, TEST_ANOMALIES, TEST_NORMALS

PACKS = Packs("methods", 84, 16)
SMALL: dict[str, Any] = {
    "epochs": 8, "inner_steps": 1, "query_steps": 1, "batch": 12, "predictor_steps": 2,
    "standardised": False,
}  # fmt: skip
BASES: dict[str, Any] = {
    "dra": DRA(
        epochs=2, batch=12, adapter=8, holistic_width=16, residual_width=8, standardised=False
    ),
    "devnet": DevNet(epochs=2, batch=12, adapter=8),
}


@functools.cache
def training(network: str) -> TrainingData:
    """Return training data with the fitted base."""
    data = PACKS.training(NORMALS, ANOMALIES, "cell")
    return dataclasses.replace(data, base=BASES[network].fit(data))


@functools.cache
def fitted(network: str) -> dict[str, torch.Tensor]:
    return AHL(network=network, **SMALL).fit(training(network))


def blobs() -> tuple[ImageSet, np.ndarray]:
    """Return images whose pooled maps form three distant groups, and the groups."""
    kinds = torch.randint(3, (90,), generator=torch_generator("kinds"))
    maps = draws(90, 24, 4, 4)
    maps[:, :3] += 6 * nn.functional.one_hot(kinds, 3)[:, :, None, None]
    shallow = rows(draws(90, 12, 8, 8, key="shallow"))
    return ImageSet(tuple(map(str, range(90))), {16: shallow, 32: rows(maps)}), kinds.numpy()


def test_clusters_are_those_of_k_means_on_pooled_maps():
    images, kinds = blobs()
    found = meta.kinds_of_normals(images, 3, "cell")
    assert len(set(zip(found.tolist(), kinds.tolist(), strict=True))) == 3  # same partition
    pooled = images.maps[32].take().mean((2, 3)).numpy()
    independent = KMeans(3, n_init=20, random_state=0).fit_predict(pooled)
    assert len(set(zip(found.tolist(), independent.tolist(), strict=True))) == 3


def test_clusters_need_finite_features_and_enough_images():
    images, _ = blobs()
    few = dataclasses.replace(images, maps={32: rows(images.maps[32].tensor[:2])})
    with pytest.raises(TrainingError, match="2 normals cannot make 3 clusters"):
        meta.kinds_of_normals(few, 3, "cell")
    images.maps[32].tensor[5, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match="features of the normals are not finite"):
        meta.kinds_of_normals(images, 3, "cell")


@pytest.mark.parametrize("n_anomalies", [1, 2, 3, 10])
def test_tasks_are_pairs_of_clusters_and_random_halves(n_anomalies):
    _, kinds = blobs()
    tasks = meta.simulate_tasks(kinds, n_anomalies, "cell")
    assert len(tasks) == 7
    members = [frozenset(np.flatnonzero(kinds == kind).tolist()) for kind in range(3)]
    found = [(frozenset(t.support.normals), frozenset(t.query.normals)) for t in tasks]
    assert set(found[:6]) == set(itertools.permutations(members, 2))
    one, two = found[6]
    assert sorted([*one, *two]) == [*range(90)]
    assert len(one) == 45
    assert one not in members
    pairs = [(task.support.generator, task.query.generator) for task in tasks]
    assert all(support != query for support, query in pairs)
    assert set(pairs[:6]) == set(itertools.permutations(("pseudo", "cutmix", "draem"), 2))
    for task in tasks:
        support, query = set(task.support.anomalies), set(task.query.anomalies)
        assert support | query == set(range(n_anomalies))
        if n_anomalies == 1:
            assert support == query == {0}
        else:
            assert not support & query
            assert len(support) == n_anomalies // 2
    if n_anomalies == 10:
        assert len({frozenset(task.support.anomalies) for task in tasks}) > 3


def test_prefixes_of_the_released_code():
    _, kinds = blobs()
    sizes = np.bincount(kinds)
    tasks = meta.simulate_tasks(kinds, 4, "cell", prefixes=True)
    expected = [(range(a), range(b)) for a, b in itertools.permutations(sizes.tolist(), 2)]
    found = [(t.support.normals.tolist(), t.query.normals.tolist()) for t in tasks[:6]]
    assert found == [(list(a), list(b)) for a, b in expected]


def prepare(maps: torch.Tensor) -> torch.Tensor:
    """Stand in for whitening and adapter."""
    return 2 * maps.flatten(2).transpose(1, 2)


@functools.cache
def pool() -> meta.Pool:
    return meta.make_pool(training("dra"), prepare, 2)


KINDS = ("normal", "seen", "pseudo", "cutmix", "draem")


def decode(index: np.ndarray) -> list[tuple[str, int, int]]:
    """Return kind, row and view of rows of the pool."""
    table = [
        (kind, row, view)
        for kind in KINDS
        for row in range(len(ANOMALIES) if kind == "seen" else len(NORMALS))
        for view in range(2)
    ]
    assert len(table) == len(pool().rows)
    return [table[place] for place in index.tolist()]


def test_pool_holds_the_first_views_of_every_image():
    made = pool()
    everything = decode(np.arange(len(made.rows)))
    data = training("dra")
    sets = {"normal": data.normal.need("rotated"), "seen": data.anomaly.need("rotated")}
    sets |= {kind: data.normal.need(kind) for kind in KINDS[2:]}
    for place in range(0, len(everything), 37):
        kind, row, view = everything[place]
        maps = sets[kind].take(torch.tensor([row]), views=torch.tensor([view]))
        found = made.rows.take(torch.tensor([place]))
        torch.testing.assert_close(found, prepare(maps), rtol=2e-3, atol=2e-3)
        assert made.index(kind, np.array([row]), view).tolist() == [place]
    one = meta.make_pool(data, prepare, 1)
    assert len(one.rows) == 4 * 64 + 4


def test_episodes_draw_from_each_task_s_own_side():
    kinds = np.arange(64) % 3
    tasks = meta.simulate_tasks(kinds, 4, "cell")
    made = list(meta.episodes(tasks, pool(), epochs=3, steps=(2, 4), batch=14, key="cell"))
    assert len(made) == 3
    drawn: dict[tuple[int, int], set[int]] = {}
    for episode in made:
        assert episode.features.shape == (7, 6, 14)
        assert episode.labels.tolist() == [NORMAL] * 6 + [SEEN] * 4 + [PSEUDO] * 4
        for number, step in itertools.product(range(7), range(6)):
            side = tasks[number].support if step < 2 else tasks[number].query
            found = decode(episode.features[number, step].numpy())
            assert [kind for kind, _, _ in found] == (
                ["normal"] * 6 + ["seen"] * 4 + [side.generator] * 4
            )
            for kind, row, _ in found:
                assert row in (side.anomalies if kind == "seen" else side.normals)
            drawn.setdefault((number, step < 2), set()).update(row for _, row, _ in found[:6])
    # 36 draws for a support, 72 for a query: every normal appears before any appears again.
    for number, task in enumerate(tasks):
        assert drawn[number, False] == set(task.query.normals)
        assert len(drawn[number, True]) >= min(len(task.support.normals), 36)


def quadratic(state: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """Half of the squared distance between w and the batch's mean, times a = 1 + first label."""
    target = batch.features.mean()
    return 0.5 * (1 + batch.labels[0]) * (state["w"] - target).square().sum()


def test_descent_by_hand():
    state = {"w": torch.tensor([3.0], requires_grad=True), "fixed": torch.tensor([1.0])}
    batches = [Batch(torch.tensor([t]), torch.tensor([a - 1])) for t, a in ((1.0, 2), (0.0, 4))]
    moved = meta.descend(state, batches, quadratic, lr=0.1, trained=["w"])
    # 3 - 0.1 * 2 * (3 - 1) = 2.6; 2.6 - 0.1 * 4 * 2.6 = 1.56.
    assert moved["w"].item() == pytest.approx(1.56)
    assert moved["fixed"] is state["fixed"]
    assert state["w"].item() == 3.0
    quadratic(moved, Batch(torch.tensor([0.56]), torch.tensor([0]))).backward()
    # First order: the gradient at the result, 1; the exact one has factors 0.8 and 0.6.
    assert state["w"].grad.item() == pytest.approx(1.0)


def test_meta_gradient_by_hand():
    # The pool's row k is the number k; a batch is one image.
    made = meta.Pool(rows(torch.arange(6.0).half()[:, None, None]), {}, {})
    seen = []

    def weigh(scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores)
        return torch.tensor([0.25, 0.75])

    loss = meta.MetaLoss(
        made, support=1, loss=quadratic, lr=0.5, trained=["w"], monitored=torch.tensor([5, 1]),
        score=lambda state, x: state["w"] * x.flatten(), weigh=weigh,
    )  # fmt: skip
    state = {"w": torch.tensor([4.0], requires_grad=True)}
    # Two tasks; support 0 and 2, queries (1, 3) and (5, 4).
    episode = Batch(torch.tensor([[[0], [1], [3]], [[2], [5], [4]]]), torch.tensor([0]))
    value = loss(state, episode)
    # Adapted: 4 - 0.5 * 4 = 2 and 4 - 0.5 * 2 = 3.
    # Query losses: ((2-1)^2 + (2-3)^2) / 4 = 0.5; ((3-5)^2 + (3-4)^2) / 4 = 1.25.
    assert value.item() == pytest.approx(0.25 * 0.5 + 0.75 * 1.25)
    value.backward()
    # Gradients: ((2-1) + (2-3)) / 2 = 0; ((3-5) + (3-4)) / 2 = -1.5.
    assert state["w"].grad.item() == pytest.approx(0.75 * -1.5)
    torch.testing.assert_close(seen[0], torch.tensor([[10.0, 15.0], [2.0, 3.0]]))


@pytest.mark.parametrize("hidden", [3, 7])
def test_lstm_is_torch_s(hidden):
    state = importance.init_lstm(4, hidden, 2, torch_generator("lstm"))
    theirs = nn.LSTM(4, hidden, num_layers=2, bidirectional=True, batch_first=True)
    theirs.load_state_dict(state)
    x = draws(6, 5, 4)
    torch.testing.assert_close(importance.lstm(state, x), theirs(x)[0], rtol=1e-5, atol=1e-6)
    bound = max(value.abs().max().item() for value in state.values())
    assert 0.9 / hidden**0.5 < bound <= 1 / hidden**0.5


def test_risk_by_hand():
    predicted = torch.tensor([[0.5, 0.0], [1.0, 0.4], [0.0, 0.2]])
    labels = torch.tensor([0.0, 1.0, 1.0])
    unseen = torch.tensor([[0.5, 0.0], [1.0, 1.0], [1.0, 0.5]])
    risks = importance.task_risks(predicted, labels, unseen)
    expected = [(0.5 * 0.25 + 0.0 + 1.0) / 3, (0.36 + 0.5 * 0.64) / 2]
    torch.testing.assert_close(risks, torch.tensor(expected))


def test_weights_are_uniform_first_and_then_the_softmax_of_minus_the_risks(monkeypatch):
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])
    unseen = torch.ones(4, 3)
    made = importance.Importance(labels, unseen, "cell", memory=5, lr=2e-2, steps=3)
    generator = torch_generator("scores")
    scores = [torch.rand(4, 3, generator=generator) for _ in range(7)]
    for epoch in range(5):
        torch.testing.assert_close(made(scores[epoch]), torch.full((3,), 1 / 3))
        assert not made.state
    asked = []
    predict = importance.predict

    def spy(state: dict[str, torch.Tensor], past: torch.Tensor) -> torch.Tensor:
        asked.append((past, predict(state, past)))
        return asked[-1][1]

    monkeypatch.setattr(importance, "predict", spy)
    for epoch in (5, 6):
        asked.clear()
        weights = made(scores[epoch])
        # Three steps learn to predict this epoch; then the next one is predicted.
        window = torch.stack(scores[epoch - 5 : epoch], dim=1)
        assert [torch.equal(past, window) for past, _ in asked[:3]] == [True] * 3
        torch.testing.assert_close(asked[3][0], torch.stack(scores[epoch - 4 : epoch + 1], dim=1))
        risks = (asked[3][1] - labels[:, None]).square().mean(0)
        torch.testing.assert_close(weights, torch.exp(-risks) / torch.exp(-risks).sum())
        assert weights.sum().item() == pytest.approx(1.0)
        assert not weights.requires_grad


def test_a_model_that_tells_the_unseen_counts_more():
    labels = torch.tensor([0.0, 1.0]).repeat(10)
    good = torch.stack([labels, 1 - labels], dim=1)
    made = importance.Importance(labels, torch.ones(20, 2), "cell", memory=5, lr=2e-2, steps=30)
    weights = torch.zeros(2)
    for _ in range(15):
        weights = made(good)
    assert weights[0] > 0.6  # the softmax of (0, -1) is (0.73, 0.27)


@pytest.mark.parametrize("n_anomalies", [1, 4])
def test_weights_of_unseen_images(n_anomalies):
    kinds = np.arange(64) % 3
    tasks = meta.simulate_tasks(kinds, n_anomalies, "cell")
    monitor = importance.make_monitor(kinds, n_anomalies, tasks, pool(), each=2, key="cell")
    images = decode(monitor.index.numpy())
    assert len(images) == 6 * 4 + n_anomalies
    assert sorted(kinds[row] for kind, row, _ in images if kind == "draem") == [0, 0, 1, 1, 2, 2]
    assert monitor.unseen.shape == (len(images), 7)
    for (kind, row, view), label, weights in zip(
        images, monitor.labels.tolist(), monitor.unseen.tolist(), strict=True
    ):
        assert view == 0
        assert label == (kind != "normal")
        for task, weight in zip(tasks, weights, strict=True):
            if kind == "seen":
                both = row in task.support.anomalies and row in task.query.anomalies
                expected = (0.5 if both else 1.0) if row in task.query.anomalies else 0.0
            else:
                value = {"normal": 0.5, task.query.generator: 1.0}.get(kind, 0.0)
                expected = value if row in task.query.normals else 0.0
            assert weight == expected


@pytest.mark.parametrize("network", BASES)
def test_whitening_adapter_and_reference_stay_those_of_the_base(network):
    base, state = training(network).base, fitted(network)
    assert state.keys() == base.keys()
    changed = {name for name in base if not torch.equal(base[name], state[name])}
    kept = {name for name in base if name.startswith(("whiten.", "adapter.", "reference"))}
    assert len(kept) == (7 if network == "dra" else 6)
    assert changed == base.keys() - kept


@pytest.mark.parametrize("network", BASES)
def test_scores_are_those_of_the_base_model(network):
    images = PACKS.images(TEST_NORMALS + TEST_ANOMALIES)
    found = AHL(network=network, **SMALL).score(fitted(network), images)
    expected = BASES[network].score(fitted(network), images)
    torch.testing.assert_close(found.total, expected.total)
    assert found.heads.keys() == expected.heads.keys()
    spec = {spec.base: spec for spec in registry.variants("ahl")}[network]
    assert spec.resolve()["network"] == network


def moments(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return mean, deviation and least of heads on training normals, as the state keeps them."""
    plain = {key: value for key, value in state.items() if not key.startswith("scale.")}
    heads = BASES["dra"].score(plain, training("dra").normal).heads
    means = {f"scale.{name}.mean": value.mean() for name, value in heads.items()}
    means |= {f"scale.{name}.least": value.min() for name, value in heads.items()}
    return means | {f"scale.{name}.std": value.std(unbiased=False) for name, value in heads.items()}


def test_scales_are_its_own_and_not_the_base_s():
    data = training("dra")
    scaled = dataclasses.replace(BASES["dra"], standardised=True).fit(data)
    fits = {}
    for own in (True, False):
        method = AHL(network="dra", **SMALL | {"standardised": own})
        fits[own] = method.fit(dataclasses.replace(data, base=scaled))
    assert fits[True].keys() == scaled.keys()
    assert fits[False].keys() == fitted("dra").keys()
    # Scales neither of the base nor of its own change what is learned.
    for key, value in fitted("dra").items():
        assert torch.equal(fits[True][key], value)
        assert torch.equal(fits[False][key], value)
    for key, value in moments(fits[True]).items():
        torch.testing.assert_close(fits[True][key], value, rtol=1e-4, atol=1e-4)
        assert (fits[True][key] - scaled[key]).abs() > 1e-3


@pytest.mark.parametrize("network", BASES)
def test_only_dra_s_heads_are_standardised(network):
    images = PACKS.images(TEST_NORMALS + TEST_ANOMALIES)
    method = AHL(network=network, **SMALL | {"standardised": True})
    state = method.fit(training(network))
    plain, scores = (method.score(part, images) for part in (fitted(network), state))
    assert (state.keys() == fitted(network).keys()) == (network == "devnet")
    # Positions are weighted like the heads that they belong to.
    assert torch.equal(scores.maps, plain.maps) == (network == "devnet")
    for name, values in plain.heads.items():
        bounded = values.clamp_min(state[f"scale.{name}.least"])
        value = (bounded - state[f"scale.{name}.mean"]) / state[f"scale.{name}.std"]
        torch.testing.assert_close(scores.heads[name], value)
    torch.testing.assert_close(
        scores.total, sum(scores.heads.values()) if scores.heads else plain.total
    )


@pytest.mark.parametrize("network", BASES)
def test_heads_start_fresh_or_as_the_base_s(network):
    data = training(network)
    name = {"dra": "seen.weight", "devnet": "head.weight"}[network]
    starts = {}
    for warm in (False, True):
        short = SMALL | {"epochs": 1, "lr": 1e-6, "inner_lr": 1e-6}
        state = AHL(network=network, warm_start=warm, **short).fit(data)
        starts[warm] = state[name]
    torch.testing.assert_close(starts[True], data.base[name], rtol=0, atol=1e-5)
    assert (starts[False] - data.base[name]).abs().max() > 0.01


def test_without_its_base_there_is_no_fit():
    data = dataclasses.replace(training("dra"), base=None)
    with pytest.raises(TrainingError, match="AHL starts from a trained dra; none was given"):
        AHL().fit(data)
    with pytest.raises(TrainingError, match="AHL starts from a trained devnet"):
        AHL(network="devnet").fit(training("dra"))


def test_devnet_s_loss_counts_normals_twice_by_hand():
    state = {"head.weight": torch.tensor([[1.0]]), "head.bias": torch.tensor([0.0])}
    x = torch.tensor([2.0, -3.0, 1.0])[:, None, None]
    network = _Network(None, (1, 1))
    value = network.loss(state, Batch(x, torch.tensor([NORMAL, SEEN, PSEUDO])))
    # Scores 2, 3, 1: seen (2 + (5 - 3)) / 2, pseudo (2 + (5 - 1)) / 2.
    assert value.item() == pytest.approx(2.0 + 3.0)


def test_heads_loss_by_hand():
    heads = {
        "normal": torch.tensor([4.0, 1.0, 0.0]),
        "seen": torch.tensor([1.0, 2.0, 9.0]),
        "pseudo": torch.tensor([0.5, 9.0, 6.0]),
        "residual": torch.tensor([1.0, 5.0, 4.0]),
    }
    labels = torch.tensor([NORMAL, SEEN, PSEUDO])
    # normal (1 + 1 + 0) / 3; seen (1 + 3) / 2; pseudo (0.5 + 0) / 2; residual (1 + 0 + 1) / 3.
    expected = 2 / 3 + 2.0 + 0.25 + 2 / 3
    assert dra_heads.heads_loss(heads, labels).item() == pytest.approx(expected)
