"""MPFM: the scores and losses of both its forms against their equations."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from learn_cases import (
    DATA,
    PACKS,
    SHOWN,
    Call,
    adapted,
    bounded,
    build,
    check_scales,
    double,
    draws,
    layers,
    mixture,
    white,
)

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN, Batch
from osad.learn.density import density
from osad.learn.gaussian import standardised
from osad.learn.images import ImageSet, State
from osad.methods import registry
from osad.methods.mpfm import method as mpfm
from osad.methods.mpfm import transformer
from osad.methods.mpfm.mixture import (
    mutual_information_loss,
    prototype_log_joint,
    surprise,
)

TINY = {
    "epochs": 1, "iterations": 5, "batch": 12, "adapter": 4, "head_width": 8, "dims": 6,
    "components": 3, "width": 16, "blocks": 1, "positions": 5, "lr": 1e-2,
}  # fmt: skip
VARIANTS = (
    "mpfm", "mpfm.independent", "mpfm.no_mixture", "mpfm.no_anomaly_flow",
    "mpfm.no_mutual_information",
)  # fmt: skip


FORMS: dict[str, dict[str, Any]] = {
    "default": {"loss": "deviation", "lengths": True, "density": "frozen", "standardised": True},
    "former": {
        "loss": "cross_entropy", "lengths": False, "density": "mapped", "standardised": False,
    },
}  # fmt: skip
each_form = pytest.mark.parametrize("form", FORMS)


def small(form: str = "default", name: str = "mpfm", **values: Any) -> mpfm.MPFM:
    method = build(name, **TINY | FORMS[form] | values)
    assert isinstance(method, mpfm.MPFM)
    return method


def call(monkeypatch: pytest.MonkeyPatch, form: str = "default", name: str = "mpfm") -> Call:
    """Return what a fit minimises, with the state that it starts from, moved a little."""
    started = Call(name, DATA, monkeypatch, **TINY | FORMS[form] | {"standardised": False})
    for key in sorted(started.state.keys() - mpfm.FIXED):
        value = started.state[key]
        started.state[key] = value + 0.1 * draws(*value.shape, key=key)
    return started


def test_the_forms_are_the_default_and_a_variant():
    assert FORMS["default"].items() <= registry.get("mpfm").resolve().items()
    fixed = registry.get("mpfm.cross_entropy").overrides
    assert fixed == mpfm.CROSS_ENTROPY
    assert {k: v for k, v in fixed.items() if k not in ("epochs", "lr")} == FORMS["former"]


def scaled(method: mpfm.MPFM, x: torch.Tensor) -> torch.Tensor:
    return x if method.lengths else F.layer_norm(x, (24,))


def net(s: State, prefix: str, x: torch.Tensor) -> torch.Tensor:
    return layers(s, f"{prefix}.0", f"{prefix}.1", x).squeeze(-1)


def plain_flow(method: mpfm.MPFM, s: State, frozen: torch.Tensor):
    """Return adapted vectors, z_0, psi, and psi's offset from its prototype, by the equations."""
    x = scaled(method, adapted(s, frozen))
    z = (x - s["pca.mean"]) @ s["pca.matrix"]
    flow = transformer.trunk(s, z, transformer.encoded_time(s, torch.zeros(1).to(z)))
    weights = transformer.log_weights(s, flow).exp().unsqueeze(-1)
    psi = (z + (weights * transformer.means(s, flow)).sum(2)).mean(1)
    means = s["prototype.mean"]
    nearest = means[torch.cdist(psi, means).argmin(1)]
    return x, z, psi, (psi - nearest) / s["prototype.log_std"].exp()


def level(s: State, psi: torch.Tensor) -> torch.Tensor:
    """Return minus the log density under prototypes, per dimension."""
    mean, weight, std = (s[f"prototype.{name}"] for name in ("mean", "log_weight", "log_std"))
    return -mixture(mean, std.exp(), weight).log_prob(psi) / psi.shape[1]


def plain_parts(method: mpfm.MPFM, state: State, images: ImageSet) -> tuple[State, torch.Tensor]:
    """Return the heads' scores before they are standardised, and the maps (n, P)."""
    s, frozen = double(state), white(state, images)
    x, _, psi, offset = plain_flow(method, s, frozen)
    deviation = method.loss == "deviation"
    places, residual, normal = (
        values.abs() if deviation else values
        for values in (
            net(s, "anomaly", x),
            net(s, "residual", offset),
            net(s, "normal", x.mean(1)),
        )
    )
    if method.density == "frozen":
        gaussian = density(s, scaled(method, frozen))
    elif deviation:
        gaussian = level(s, psi)
    else:
        gaussian = F.softplus(s["gaussian.a"]) * (level(s, psi) - s["gaussian.b"])
    # The mean of the top 10 % of 16 positions is the largest.
    parts = {"gaussian": gaussian, "anomaly": places.max(1).values}
    return parts | {"residual": residual, "normal": -normal}, places


MIXED = [{"loss": "cross_entropy"}, {"lengths": False}, {"density": "mapped"}]


@pytest.mark.parametrize(
    ("form", "name", "changes"),
    [(form, name, {}) for form in FORMS for name in VARIANTS]
    + [("default", "mpfm", changes) for changes in MIXED],
)
def test_scores_follow_the_equations(form, name, changes):
    method = small(form, name, **changes)
    state = method.fit(DATA)
    expected, maps = plain_parts(method, state, SHOWN)
    if method.standardised:
        normal, _ = plain_parts(method, state, DATA.normal)
        if method.density == "frozen":  # Of normals left out: tests/unit/learn/test_density.py.
            expected |= standardised(state, {"gaussian": expected["gaussian"]})
            del normal["gaussian"]
        for head, values in normal.items():
            expected[head] = bounded(expected[head], values)
    assert method.standardised == any(key.startswith("scale.") for key in state)
    assert (method.density == "frozen") == ("image.prototypes" in state)
    scores = method.score(state, SHOWN)
    for head, values in expected.items():
        np.testing.assert_allclose(scores.heads[head], values, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(scores.total, sum(expected.values()), rtol=2e-3, atol=5e-3)
    np.testing.assert_allclose(scores.maps.flatten(1), maps, rtol=2e-3, atol=2e-3)


def test_heads_are_standardised_on_the_training_normals_by_hand():
    check_scales(small(), mpfm.HEADS, "gaussian")


def test_the_frozen_density_does_not_depend_on_the_training():
    short, long = (small(iterations=iterations).fit(DATA) for iterations in (1, 10))
    for name in ("image.mean", "image.matrix", "image.prototypes", "scale.gaussian.std"):
        assert torch.equal(short[name], long[name])
    assert not torch.equal(short["prototype.mean"], long["prototype.mean"])


@each_form
def test_the_projection_keeps_the_largest_variances(form):
    method = small(form, iterations=1)
    state = method.fit(DATA)
    x = scaled(method, white(state, DATA.normal)).flatten(0, 1)
    covariance = np.cov(x.numpy().T, bias=True)
    kept = state["pca.matrix"].double().numpy()
    np.testing.assert_allclose(kept.T @ kept, np.eye(6), atol=1e-5)
    largest = np.linalg.eigvalsh(covariance)[-6:].sum()
    assert np.trace(kept.T @ covariance @ kept) == pytest.approx(largest, rel=1e-4)
    np.testing.assert_allclose(state["pca.mean"], x.mean(0), atol=1e-4)


def test_there_are_at_most_as_many_dimensions_as_channels_and_few_prototypes():
    few = PACKS.training(range(10), [24], "cell")
    state = small(dims=99, components=99).fit(few)
    assert state["prototype.mean"].shape == (3, 24)
    assert small(name="mpfm.no_mixture").fit(few)["prototype.mean"].shape == (1, 6)


LABELS = torch.tensor([NORMAL] * 5 + [SEEN] * 3 + [PSEUDO] * 4)


def dropped(s: State, prefix: str, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a network's output with a tenth of its hidden units dropped."""
    hidden = (x @ s[f"{prefix}.0.weight"].T + s[f"{prefix}.0.bias"]).relu()
    kept = torch.rand(hidden.shape, generator=generator) >= 0.1
    return (hidden * kept / 0.9) @ s[f"{prefix}.1.weight"][0] + s[f"{prefix}.1.bias"]


def plain_loss(method: mpfm.MPFM, s: State, batch: Batch, generator: torch.Generator):
    """Return the loss of a batch whose first five images are its normals."""
    x, z, psi, offset = plain_flow(method, s, batch.features)
    deviation, y = method.loss == "deviation", (batch.labels != NORMAL).float()
    outputs = {
        "anomaly": net(s, "anomaly", x),
        "residual": dropped(s, "residual", offset, generator),
        "normal": dropped(s, "normal", x.mean(1), generator),
    }
    if deviation:
        outputs = {head: values.abs() for head, values in outputs.items()}
    else:
        gaussian = level(s, psi) - s["gaussian.b"]
        outputs["gaussian"] = F.softplus(s["gaussian.a"]) * gaussian
    outputs["anomaly"] = outputs["anomaly"].max(1).values
    total = torch.zeros(())
    for head, score in outputs.items():
        target = 1 - y if head == "normal" else y
        if deviation:
            total = total + ((1 - target) * score + target * (5 - score).relu()).mean()
        else:
            total = total + F.binary_cross_entropy_with_logits(score, target)
    nll = transformer.flow_nll(
        s, z.detach(), generator, coupled=method.coupled, n_positions=method.positions
    )
    total = total + nll[:5].mean()
    total = total + method.beta * F.softplus(nll[:5].mean().detach() + 1 - nll[5:]).mean()
    information = mutual_information_loss(prototype_log_joint(s, psi[:5]))
    return total + method.mutual_information * information


@pytest.mark.parametrize("name", VARIANTS)
@each_form
def test_a_step_has_the_value_and_gradients_of_the_plain_one(form, name, monkeypatch):
    started = call(monkeypatch, form, name)
    method, batch = started.method, Batch(draws(12, 16, 24), LABELS)
    assert method.components == (1 if name == "mpfm.no_mixture" else 3)
    assert method.coupled == (name != "mpfm.independent")
    assert (method.beta == 0) == (name == "mpfm.no_anomaly_flow")
    assert (method.mutual_information == 0) == (name == "mpfm.no_mutual_information")
    ours, plain = (
        {key: value.clone().requires_grad_(key not in mpfm.FIXED) for key, value in state.items()}
        for state in (started.state, started.state)
    )
    loss = started.loss(ours, batch)
    expected = plain_loss(method, plain, batch, torch_generator("cell", "flow"))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    idle = set()
    if name == "mpfm.no_mixture":  # One weight is always 1.
        idle = {"prototype.log_weight", "flow.weights.weight", "flow.weights.bias"}
    elif name == "mpfm.no_mutual_information" and form == "default":
        idle = {"prototype.log_weight"}  # The density of what is mapped has no loss.
    for key in ours.keys() - mpfm.FIXED:
        found, wanted = ours[key].grad, plain[key].grad
        if key in idle:
            assert found is None or found.abs().max() < 1e-6, key
        else:
            # A single bias may have as many images on either side of |.|.
            assert wanted.numel() == 1 or wanted.abs().max() > 1e-5, key
            assert (found - wanted).abs().max() <= 2e-4 * wanted.abs().max() + 1e-7, key


@each_form
def test_a_step_without_normals_still_has_a_loss(form, monkeypatch):
    started = call(monkeypatch, form)
    batch = Batch(draws(12, 16, 24), torch.full((12,), PSEUDO))
    assert bool(started.loss(started.state, batch).isfinite())


def test_the_flow_s_likelihood_moves_the_network_alone(monkeypatch):
    started = call(monkeypatch)
    state = {key: value.clone().requires_grad_() for key, value in started.state.items()}
    _, z = mpfm.encode(state, draws(6, 16, 24), lengths=True)
    options: dict[str, Any] = {"coupled": True, "n_positions": 5}
    transformer.flow_nll(state, z.detach(), torch_generator("nll"), **options).sum().backward()
    moved = {key for key, value in state.items() if value.grad is not None}
    assert all(key.startswith("flow.") for key in moved)
    assert {"flow.means.weight", "flow.spread.0.weight", "flow.block0.merge.weight"} <= moved


def test_the_mapped_feature_moves_adapter_network_and_prototypes(monkeypatch):
    started = call(monkeypatch)
    state = {key: value.clone().requires_grad_() for key, value in started.state.items()}
    _, z = mpfm.encode(state, draws(6, 16, 24), lengths=True)
    surprise(state, mpfm.mapped(state, z)).sum().backward()
    for key in ("adapter.up.weight", "flow.means.weight", "flow.weights.weight", *mpfm.PROTOTYPE):
        assert state[key].grad.abs().max() > 0


def test_the_gaussian_head_starts_calibrated_on_normals(monkeypatch):
    started = call(monkeypatch, "former")
    start = small("former", lr=1e-12, iterations=1)
    monkeypatch.undo()
    scores = start.score(start.fit(DATA), DATA.normal).heads["gaussian"]
    assert scores.mean().abs() < 1e-3
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-2)
    assert started.options["lr_factor"] == dict.fromkeys(mpfm.PROTOTYPE, 0.1)
    assert started.options["fixed"] == {"pca.mean", "pca.matrix", "flow.places"}
    assert started.options["decoupled"]
    assert set(mpfm.PROTOTYPE) < started.options["no_decay"]


@each_form
def test_dropout_belongs_to_training(form, monkeypatch):
    started = call(monkeypatch, form)
    options = {"calibrated": form == "former"}
    features, z = mpfm.encode(started.state, draws(6, 16, 24), lengths=True)
    psi = mpfm.mapped(started.state, z)
    plain, again = (mpfm.heads(started.state, features, psi, **options) for _ in range(2))
    dropped = mpfm.heads(started.state, features, psi, torch_generator("dropout"), **options)
    for head in ("residual", "normal"):
        assert torch.equal(plain[head], again[head])
        assert not torch.equal(plain[head], dropped[head])
    for head in ("gaussian", "anomaly"):
        assert torch.equal(plain[head], dropped[head])


@pytest.mark.parametrize("n_normals", [1, 2, 5])
@each_form
def test_few_normals_are_enough(form, n_normals):
    method = small(form)
    state = method.fit(PACKS.training(range(n_normals), [24], "cell"))
    assert len(state["prototype.mean"]) == 1
    assert bool(method.score(state, SHOWN).total.isfinite().all())
