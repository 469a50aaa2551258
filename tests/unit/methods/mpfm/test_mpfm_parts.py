"""MPFM's parts: its mixtures of Gaussians and its transformer."""

import math

import pytest
import torch
import torch.nn.functional as F
from learn_cases import draws, mixture

from osad.core.seeds import torch_generator
from osad.learn.heads import linear
from osad.learn.images import State
from osad.methods.mpfm import transformer
from osad.methods.mpfm.mixture import (
    initial_prototypes,
    joint_log_density,
    mixture_nll,
    mutual_information_loss,
    nearest_mean,
    repulsion_loss,
    surprise,
)


def network(*, random: bool = True) -> State:
    """Return a network for maps of 2 x 3 positions with 5 dimensions, moved from its start."""
    state = transformer.init_transformer(
        draws(3, 5), width=16, blocks=2, size=(2, 3), generator=torch_generator("network")
    )
    if random:
        for name in sorted(state.keys() - {transformer.PLACES}):
            state[name] = state[name] + 0.3 * draws(*state[name].shape, key=name)
    return state


def test_the_likelihood_is_that_of_torch_distributions():
    x, means, weights = draws(4, 7, 5), draws(4, 7, 3, 5, key="m"), draws(4, 7, 3, key="w")
    x, means, log_weights = x.double(), means.double(), weights.double().log_softmax(-1)
    log_std = 0.5 * draws(4, 1, 1, key="s").double()
    expected = -mixture(means, log_std.exp().unsqueeze(-1), log_weights).log_prob(x)
    torch.testing.assert_close(mixture_nll(x, means, log_weights, log_std), expected)
    # One component is the squared error.
    found = mixture_nll(x[0], means[0, :, :1], torch.zeros(1), torch.tensor([math.log(0.3)]))
    constant = 5 * math.log(0.3) + 2.5 * math.log(2 * math.pi)
    squared = (x[0] - means[0, :, 0]).square().sum(1)
    torch.testing.assert_close(found, squared / (2 * 0.3**2) + constant)


def test_the_likelihood_has_finite_gradients_far_away_and_for_a_small_spread():
    x = torch.full((1, 64), 50.0, requires_grad=True)
    log_std = torch.full((1,), -4.0, requires_grad=True)
    mixture_nll(x, torch.zeros(8, 64), torch.zeros(8), log_std).sum().backward()
    assert bool(x.grad.isfinite().all() and log_std.grad.isfinite().all())


def test_mutual_information_wants_sharp_and_balanced_assignments():
    sharp = 100 * F.one_hot(torch.arange(8) % 4, 4).float()
    collapsed = 100 * F.one_hot(torch.zeros(8, dtype=torch.int64), 4).float()
    losses = [float(mutual_information_loss(x)) for x in (sharp, torch.zeros(8, 4), collapsed)]
    assert losses == pytest.approx([-math.log(4), 0, 0], abs=1e-5)
    # Two images, posteriors (3/4, 1/4) and (1/4, 3/4): H(1/4) - log 2.
    half = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert mutual_information_loss(half).item() == pytest.approx(entropy - math.log(2), abs=1e-6)
    assert mutual_information_loss(torch.zeros(0, 4)).item() == 0
    logits = (0.1 * draws(20, 4)).requires_grad_()  # Its descent sharpens the assignments.
    before = mutual_information_loss(logits)
    (gradient,) = torch.autograd.grad(before, logits)
    assert mutual_information_loss(logits - gradient) < before < 0


def test_the_push_on_anomalies_is_bounded():
    reference = torch.tensor(2.0, requires_grad=True)
    nll = torch.tensor([3.0, 1e6], requires_grad=True)
    loss = repulsion_loss(nll, reference, 1.0)  # softplus(2 + 1 - 3) = log 2 and 0.
    assert loss.item() == pytest.approx(math.log(2) / 2)
    loss.backward()
    assert nll.grad.tolist() == [-0.25, 0.0]
    assert reference.grad is None
    assert repulsion_loss(nll[:0], reference, 1.0).item() == 0


def test_prototypes_start_from_clusters():
    vectors = torch.tensor([[0.0, 1.0], [0.0, -1.0], [9.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    start = initial_prototypes(vectors, 2, "key")
    order = start["prototype.mean"][:, 0].argsort()
    assert start["prototype.mean"][order].flatten().tolist() == pytest.approx([0, 0, 9, 0])
    share = start["prototype.log_weight"].exp()[order].tolist()
    assert share == pytest.approx([3.5 / 6, 2.5 / 6])
    # Squared distances 1 + 1 over 5 vectors of 2 dimensions.
    assert start["prototype.log_std"].exp().item() == pytest.approx(math.sqrt(0.2))


def test_the_network_starts_still_and_with_different_components():
    state = network(random=False)
    z = draws(4, 6, 5)
    for t in (0.0, 0.7):
        time = transformer.encoded_time(state, torch.full((4,), t))
        hidden = transformer.trunk(state, z, time)
        start = linear(state, "flow.input", z) + state[transformer.PLACES]
        torch.testing.assert_close(hidden, F.layer_norm(start, (16,)))  # Blocks are the identity.
        weights = transformer.log_weights(state, hidden)
        torch.testing.assert_close(weights, torch.full((4, 6, 3), -math.log(3)))
        assert transformer.pooled_velocity(state, hidden).abs().max() < 1e-6
        assert transformer.log_std(state, time).tolist() == [0.0] * 4
        means = transformer.means(state, hidden)[0, 0]
        assert torch.pdist(means).min() > 0.1


def test_pooling_before_the_output_layer_changes_nothing():
    state = network()
    hidden = draws(4, 6, 16)
    weights = transformer.log_weights(state, hidden).exp().unsqueeze(-1)
    expected = (weights * transformer.means(state, hidden)).sum(2).mean(1)
    found = transformer.pooled_velocity(state, hidden)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_every_position_reads_all_others_and_no_other_image():
    state = network()
    z = draws(2, 6, 5).requires_grad_()
    hidden = transformer.trunk(state, z, transformer.encoded_time(state, torch.rand(2)))
    (gradient,) = torch.autograd.grad(hidden[0, 0].sum(), z)
    assert bool((gradient[0].abs().sum(1) > 0).all())
    assert gradient[1].abs().max() == 0


def test_attention_is_that_of_torch():
    state = network()
    x = draws(2, 6, 16)
    found = transformer._attention(state, "flow.block0", x)
    joined = linear(state, "flow.block0.attention", x)
    q, k, v = joined.view(2, 6, 3, 4, 4).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 6, 16)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_times_and_places_are_told_apart():
    state = network()
    times = transformer.encoded_time(state, torch.linspace(0, 1, 11))
    assert torch.pdist(times).min() > 1e-3
    places = transformer.encoded_places((7, 7), 16)
    assert places.shape == (49, 16)
    assert torch.pdist(places).min() > 1e-2
    assert places.abs().max() <= 1


def test_the_spread_stays_in_its_range_and_leaves_the_time_alone():
    state = network()
    time = transformer.encoded_time(state, torch.rand(3)).requires_grad_()
    state["flow.spread.1.bias"] = torch.tensor([99.0])
    assert transformer.log_std(state, time).tolist() == [2.0] * 3
    assert not transformer.log_std(state, time).requires_grad


def test_flows_end_at_the_prototype_nearest_to_the_image():
    state = {
        "prototype.mean": torch.tensor([[0.0, 0.0], [10.0, 0.0]]),
        "prototype.log_std": torch.tensor([0.5]).log(),
    }
    # The first image's mean is nearer to the second prototype, though one position is not.
    z = torch.tensor([[[0.0, 0.0], [14.0, 0.0]], [[1.0, 5.0], [1.0, -5.0]]])
    assert nearest_mean(z.mean(1), state["prototype.mean"]).tolist() == [1, 0]
    noise = draws(2, 2, 2)
    ends = transformer.flow_ends(state, z, noise, coupled=True)
    torch.testing.assert_close(ends[0], torch.tensor([10.0, 0.0]) + 0.5 * noise[0])
    torch.testing.assert_close(ends[1], 0.5 * noise[1])
    assert torch.equal(transformer.flow_ends(state, z, noise, coupled=False), noise)


def test_more_likely_features_score_lower_by_the_gaussian_head():
    state = {
        "prototype.mean": torch.tensor([[-3.0, 0.0], [3.0, 0.0]]),
        "prototype.log_weight": torch.zeros(2),
        "prototype.log_std": torch.zeros(1),
    }
    at, near, amid = surprise(state, torch.tensor([[3.0, 0.0], [3.0, 1.0], [0.0, 0.0]]))
    assert at < near < amid
    # At the centre both are 3 away: 9/2 + log 2 pi, over two dimensions.
    assert amid.item() == pytest.approx((4.5 + math.log(2 * math.pi)) / 2, abs=1e-5)
    zeros = torch.zeros(1, 2)
    joint = joint_log_density(zeros, state["prototype.mean"], zeros[0], torch.zeros(1))
    torch.testing.assert_close(joint.softmax(1), torch.full((1, 2), 0.5))
