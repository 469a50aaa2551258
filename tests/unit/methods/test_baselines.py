"""FLOS, SAOE, MLEP and the head that DevNet shares: losses, outliers, scores worked by hand."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learn_cases import Call, Packs, adapted, auroc_of, build, double, draws, layers, rows, white

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch
from osad.learn.gaussian import whitened_training
from osad.learn.images import ImageSet
from osad.learn.single_head import aimed, mean_position
from osad.methods.flos import focal_loss
from osad.methods.mlep import pooled_white, triplet_loss
from osad.methods.saoe import OUTLIER, exposed_batches, log_odds, outliers, with_outliers

PACKS = Packs("baselines", 34, 16)
DATA = PACKS.training(range(24), [34, 35, 36, 37], "cell")
SHOWN = PACKS.images([*range(24, 34), *range(38, 50)])
SMALL = {"epochs": 2, "iterations": 5, "batch": 12, "adapter": 4, "lr": 1e-2}
SHORT = {"epochs": 1, "iterations": 3}


def test_focal_loss_by_hand():
    logits = torch.tensor([math.log(3), math.log(3), -math.log(9)])  # p = 0.75, 0.75, 0.1
    targets = torch.tensor([1, 0, 1])
    terms = [0.25**2 * -math.log(0.75), 0.75**2 * -math.log(0.25), 0.9**2 * -math.log(0.1)]
    found = focal_loss(logits, targets, gamma=2.0).item()
    assert found == pytest.approx(sum(terms) / 3, rel=1e-6)
    expected = F.binary_cross_entropy_with_logits(logits, targets.float())
    torch.testing.assert_close(focal_loss(logits, targets, gamma=0.0), expected)


def test_focal_loss_and_its_gradient_are_finite_for_extreme_logits():
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 0, 0, 1]), gamma=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(100.0)  # Two of four images are wrong by 200.
    assert logits.grad.tolist() == pytest.approx([-0.25, 0.25, 0.0, 0.0])


def test_triplet_loss_by_hand_and_against_torch():
    anchor = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    positive = torch.tensor([[0.6, 0.8], [0.3, 0.4]])  # At distances 1 and 0.5.
    negative = torch.tensor([[1.2, 1.6], [0.0, 1.0]])  # At distances 2 and 1.
    for margin, value in ((1.0, (0 + 0.5) / 2), (2.0, (1 + 1.5) / 2)):
        loss = triplet_loss(anchor, positive, negative, margin=margin)
        assert loss.item() == pytest.approx(value)
    a, p, n = draws(3, 20, 8)
    expected = F.triplet_margin_loss(a, p, n, eps=0.0)
    torch.testing.assert_close(triplet_loss(a, p, n, margin=1.0), expected)
    same = torch.ones(2, 3, requires_grad=True)  # Points that coincide have a gradient too.
    triplet_loss(same, same.detach(), same.detach(), margin=1.0).backward()
    assert bool(same.grad.isfinite().all())


@pytest.mark.parametrize("adapter", [0, 4])
@pytest.mark.parametrize(
    ("name", "absolute"), [("devnet", True), ("flos", True), ("flos.signed", False)]
)
def test_the_score_is_the_largest_of_the_map(name, absolute, adapter):
    method = build(name, **SMALL | {"adapter": adapter})
    state = method.fit(DATA)
    scores, s = method.score(state, SHOWN), double(state)
    x = adapted(s, white(s, SHOWN)) if adapter else white(s, SHOWN)
    logits = (x @ s["head.weight"][0] + s["head.bias"]).unflatten(1, (4, 4))
    expected = logits.abs() if absolute else logits
    np.testing.assert_allclose(scores.maps, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.total, expected.amax((1, 2)), rtol=1e-3, atol=1e-4)


def test_initial_heads_take_the_direction_of_their_class_and_keep_their_length():
    weight = torch.tensor([[3.0, 4.0], [0.0, 2.0], [3.0, 4.0]])
    towards = torch.tensor([[-3.0, 0.0], [8.0, 6.0], [0.0, 0.0]])
    expected = torch.tensor([[-5.0, 0.0], [1.6, 1.2], [3.0, 4.0]])
    torch.testing.assert_close(aimed(weight, towards), expected)


@pytest.mark.parametrize(("name", "row"), [("flos.signed", 0), ("saoe", 1)])
def test_training_starts_with_the_direction_of_the_seen_anomalies(name, row, monkeypatch):
    call = Call(name, DATA, monkeypatch, **SHORT)
    _, data = whitened_training(DATA, call.method.shrinkage)
    seen = data.anomaly.need("rotated").take().mean((0, 1, 2))
    weight = call.state["head.weight"]
    cosine = F.cosine_similarity(weight, seen[None])
    assert cosine[row].item() == pytest.approx(1, abs=1e-4)
    if name == "saoe":
        assert cosine[0].item() == pytest.approx(-1, abs=1e-4)  # Normal: away from them.


def test_mean_position_averages_all_but_channels():
    views = draws(70, 3, 4, 5)  # More images than are taken at once.
    found = mean_position(DATA, rows(views, range(1, 70)), {})
    torch.testing.assert_close(found, views[1:].mean((0, 1, 2)))


@pytest.mark.parametrize("name", ["flos.signed", "saoe"])
def test_success_does_not_hang_on_the_draw_of_the_initial_head(name):
    method = build(name, **SMALL | {"iterations": 10, "lr": 5e-3})
    for number in range(6):
        data = PACKS.training(range(24), [34, 35, 36, 37], f"key {number}")
        total = method.score(method.fit(data), SHOWN).total
        assert auroc_of(total[:10], total[10:]) > 0.8


@pytest.mark.parametrize(("name", "absolute"), [("flos", True), ("flos.signed", False)])
def test_flos_minimises_the_focal_loss_of_its_logits(name, absolute, monkeypatch):
    call = Call(name, DATA, monkeypatch, adapter=0, **SHORT)
    assert call.counts() == [Counter({NORMAL: 24, SEEN: 24})] * 3
    x, labels = draws(5, 16, 24), torch.tensor([0, 0, 1, 1, 1])
    w, b = call.state["head.weight"][0], call.state["head.bias"]
    scores = x @ w + b - 3  # -3 makes some negative.
    logits = (scores.abs() if absolute else scores).max(1).values  # One position of 16.
    state = {**call.state, "head.bias": b - 3}
    p = torch.sigmoid(logits.double())
    true = torch.where(labels > 0, p, 1 - p)
    expected = (-((1 - true) ** 2) * true.log()).mean().item()
    assert bool((logits < 0).any()) != absolute
    assert call.loss(state, Batch(x, labels)).item() == pytest.approx(expected, rel=1e-4)


def test_saoe_adds_half_the_uniform_term_of_the_outliers(monkeypatch):
    call = Call("saoe", DATA, monkeypatch, adapter=0, **SHORT)
    # Each outlier is made of two normals.
    assert call.counts() == [Counter({NORMAL: 16, SEEN: 16, PSEUDO: 16, OUTLIER: 32})] * 3
    # One channel per class, 10 positions, of which the largest is the logit: 2, 1, 0 and so on.
    x = torch.full((4, 10, 3), -9.0)
    x[0, 4], x[1, 5] = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, 3.0, 1.0])
    x[2, 6], x[3, 7] = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 2.0])
    state = {"head.weight": torch.eye(3), "head.bias": torch.zeros(3)}
    labels = torch.tensor([NORMAL, SEEN, PSEUDO, OUTLIER])
    e = math.e
    terms = (e**2 / (e**2 + e + 1), e**3 / (1 + e**3 + e), e / (1 + 2 * e))
    known = -sum(map(math.log, terms)) / 3
    uniform = math.log(e + 1 + e**2) - (1 + 0 + 2) / 3
    found = build("saoe", adapter=0)._loss(state, Batch(x, labels)).item()
    assert found == pytest.approx(known + 0.5 * uniform, rel=1e-5)


def test_mlep_adds_reconstruction_of_normals_and_triplets(monkeypatch):
    call = Call("mlep", DATA, monkeypatch, **SHORT)
    assert call.counts() == [Counter({NORMAL: 32, SEEN: 16})] * 3
    assert call.batches[0].features.shape == (48, 24)
    state = {f"{part}.0.weight": torch.eye(2) for part in ("encoder", "decoder")}
    state |= {f"{part}.0.bias": torch.zeros(2) for part in ("encoder", "decoder")}
    x = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]])  # Embedded as (1,0), (0,1), (0.6,0.8).
    labels = torch.tensor([NORMAL, NORMAL, SEEN])
    error = 1.0 / 4  # Only the first normal is not reconstructed: by 1 in one of four numbers.
    triplet = math.sqrt(2) - math.sqrt(0.4**2 + 0.8**2) + 1
    found = call.loss(state, Batch(x, labels)).item()
    assert found == pytest.approx(error + triplet, rel=1e-5)


def test_saoe_scores_by_log_odds_that_do_not_saturate():
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, 40.0, 0.0], [0.0, 41.0, 0.0]])
    found = log_odds(logits)
    p = torch.softmax(logits.double(), 1)[:, 0]
    torch.testing.assert_close(found.double(), ((1 - p) / p).log(), rtol=1e-5, atol=1e-5)
    probability = 1 - torch.softmax(logits, 1)[:, 0]
    assert probability[1] == probability[2]  # What the log-odds are for.
    assert found[1] < found[2]


def test_saoe_score_and_map_by_hand():
    method = build("saoe", **SMALL)
    state = method.fit(DATA)
    scores, s = method.score(state, SHOWN), double(state)
    logits = adapted(s, white(s, SHOWN)) @ s["head.weight"].T + s["head.bias"]  # (n, 16, 3)
    for value, chosen in ((scores.total, logits.amax(1)), (scores.maps.flatten(1), logits)):
        p = torch.softmax(chosen, -1)[..., 0]
        torch.testing.assert_close(value.double(), ((1 - p) / p).log(), rtol=1e-3, atol=1e-4)


def test_outliers_have_the_variance_of_normals_and_few_of_their_directions():
    a, b = draws(2, 60, 16, 24)
    made = outliers(a, b, torch_generator("outliers"))
    assert made.shape == a.shape
    assert made.square().mean().item() == pytest.approx(1.0, abs=0.03)
    cosine = F.cosine_similarity(made, b, dim=2)
    assert abs(cosine.mean().item()) < 0.1  # Before the permutation it would be 0.7 or more.


def test_outliers_mix_two_normals_with_one_permutation_per_image():
    a, b = torch.zeros(3, 16, 24), torch.arange(24.0).expand(3, 16, 24)
    made = outliers(a, b, torch_generator("outliers"))
    assert bool((made == made[:, :1]).all())  # All positions alike, as in b.
    scale = made.max(2).values[:, 0] / 23
    torch.testing.assert_close(made[:, 0].sort().values, scale[:, None] * torch.arange(24.0))
    assert bool((scale >= 0.7).all())  # 0.5 / sqrt(0.5), at the largest share of a.
    assert bool((scale <= 1).all())
    assert not torch.equal(made[0, 0].argsort(), made[1, 0].argsort())
    only_a = outliers(torch.arange(16.0)[:, None].expand(3, 16, 24), 0 * b, torch_generator("o"))
    places = only_a[..., 0].argsort(1)
    assert not torch.equal(places[0], torch.arange(16))  # The positions are shuffled.
    assert not torch.equal(places[0], places[1])


def test_outliers_come_from_normals_alone():
    _, data = whitened_training(DATA, 0.02)
    for batch in exposed_batches(data, 3, 4):
        assert batch.features.shape == (20, 16, 24)
        batch = with_outliers(batch, 4, torch_generator("outliers"))
        assert batch.labels.tolist() == [NORMAL] * 4 + [SEEN] * 4 + [PSEUDO] * 4 + [OUTLIER] * 4
        assert batch.features.shape == (16, 16, 24)
    data.anomaly.need("rotated").tensor.fill_(math.nan)
    for batch in exposed_batches(data, 3, 4):
        assert bool(batch.features[batch.labels == SEEN].isnan().all())
        assert bool(batch.features[batch.labels != SEEN].isfinite().all())


def test_mlep_pools_before_it_whitens_with_the_same_result():
    white, data = whitened_training(DATA, 0.02)
    for name in ("normal", "anomaly"):
        views = getattr(data, name).need("rotated").take()
        found = pooled_white(white, getattr(DATA, name).need("rotated"))
        torch.testing.assert_close(found, views.mean(2), rtol=1e-2, atol=2e-3)  # float16 views


def test_mlep_scores_by_standardised_error_and_distance():
    method = build("mlep", epochs=1, iterations=10, head_width=8, embedding=4)
    state = method.fit(DATA)
    s = double(state)

    def parts(images: ImageSet) -> dict[str, torch.Tensor]:
        x = white(s, images).mean(1)
        z = F.normalize(layers(s, "encoder.0", "encoder.1", x), dim=1)
        error = (layers(s, "decoder.0", "decoder.1", z) - x).square().mean(1)
        return {"z": z, "reconstruction": error, "distance": (z - s["centre"]).norm(dim=1)}

    normals, shown, heads = parts(DATA.normal), parts(SHOWN), method.score(state, SHOWN).heads
    np.testing.assert_allclose(s["centre"], normals["z"].mean(0), atol=1e-5)
    for name, values in heads.items():
        reference = normals[name]
        expected = (shown[name] - reference.mean()) / reference.std(unbiased=False)
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)
