"""DPDL: scores of both its forms against a transcription, its energy and its variants."""

import dataclasses
import inspect
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dpdl_cases import FORMS, VARIANTS, carried, each_form, made, plain_step, randn
from learn_cases import DATA, PACKS, SHOWN, bounded, check_scales, double, white

from osad.core.errors import ConfigError
from osad.learn.density import density
from osad.learn.gaussian import standardised
from osad.learn.heads import deviation_loss, top_k_mean
from osad.learn.images import ImageSet, Rows, State
from osad.methods import registry
from osad.methods.dpdl.heads import Form
from osad.methods.dpdl.method import CROSS_ENTROPY, DPDL, HEADS
from osad.methods.trial import changed, changed_images


def test_the_forms_are_the_default_and_a_variant():
    values = registry.get("dpdl").resolve()
    assert FORMS["default"].items() <= values.items()
    fixed = registry.get("dpdl.cross_entropy").overrides
    assert fixed == CROSS_ENTROPY
    assert {k: v for k, v in fixed.items() if k not in ("epochs", "lr")} == FORMS["former"]
    # In the default form the objective reaches the score through the adapter alone.
    objectives = {"literal", "ranking", "bridge_matching"}
    for name, values in VARIANTS.items():
        form = CROSS_ENTROPY if name in objectives else {}
        assert registry.get(f"dpdl.{name}").overrides == form | values


def plain_parts(method: DPDL, state: State, images: ImageSet) -> tuple[State, torch.Tensor]:
    """Return the heads' scores before they are standardised, and the maps (n, P)."""
    s, frozen = double(state), white(state, images)
    heads, _, _ = plain_step(method, s, frozen)
    local = "residual"
    if method.residual == "energy":
        local = "energy"
        gaps = carried(method, frozen).unsqueeze(-2) - s["codes"]
        heads["energy"] = gaps.square().sum(-1).amin(-1)
    # The mean of the top 10 % of 16 positions is the largest.
    parts = {name: values.max(1).values for name, values in heads.items()}
    maps = [heads[name] / s.get(f"scale.{name}.std", 1.0) for name in ("anomaly", local)]
    if local == "energy":
        del parts["energy"]
        vectors = frozen / math.sqrt(24) if method.lengths else F.normalize(frozen, dim=2)
        parts["residual"] = density(s, vectors)
    return parts | {"normal": -parts["normal"]}, sum(maps)


@pytest.mark.parametrize("eps", [0.001, 0.1])
@pytest.mark.parametrize("variant", ["", "flattened"])
@each_form
def test_scores_are_those_of_the_plain_computation(form, variant, eps):
    method = made(form, variant, eps=eps)
    state = method.fit(DATA)
    expected, maps = plain_parts(method, state, SHOWN)
    if method.standardised:
        normal, _ = plain_parts(method, state, DATA.normal)
        if method.residual == "energy":  # Of normals left out: tests/unit/learn/test_density.py.
            expected |= standardised(state, {"residual": expected["residual"]})
            del normal["residual"]
        for name, values in normal.items():
            expected[name] = bounded(expected[name], values)
    else:
        assert not any(key.startswith("scale.") for key in state)
    scores = method.score(state, SHOWN)
    for head, values in expected.items():
        np.testing.assert_allclose(scores.heads[head], values, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores.total, sum(expected.values()), rtol=1e-3, atol=3e-3)
    np.testing.assert_allclose(scores.maps.flatten(1), maps, rtol=1e-3, atol=5e-4)


@each_form
def test_other_parts_of_a_form_may_be_switched_alone(form):
    for key, value in FORMS["former" if form == "default" else "default"].items():
        method = made(form, **{key: value})
        state = method.fit(DATA)
        expected, _ = plain_parts(method, state, SHOWN)
        ours = dataclasses.replace(method, standardised=False).score(state, SHOWN).heads
        for head, values in expected.items():
            np.testing.assert_allclose(ours[head], values, rtol=1e-3, atol=1e-3)


def test_heads_are_standardised_on_the_training_normals_by_hand():
    check_scales(made(), HEADS, "residual")


@pytest.mark.parametrize("head", HEADS)
@each_form
def test_a_head_left_out_has_no_parameters_and_no_score(form, head):
    method = made(form, f"no_{head}")
    state = method.fit(DATA)
    assert not any(key.split(".")[0] == head for key in state)
    scores = method.score(state, SHOWN)
    assert bool((scores.heads[head] == 0).all())
    others = [values for name, values in scores.heads.items() if name != head]
    torch.testing.assert_close(scores.total, others[0] + others[1])
    full = made(form, lr=1e-9).fit(DATA)
    alone = made(form, f"no_{head}", lr=1e-9).fit(DATA)
    for key, value in alone.items():
        if not key.startswith(f"scale.{head}."):
            torch.testing.assert_close(value, full[key], rtol=1e-4, atol=1e-6)


@each_form
def test_maps_are_the_sum_of_the_position_scores(form):
    heads = {}
    for left_out, head in (("residual", "anomaly"), ("anomaly", "residual")):
        method = made(form, f"no_{left_out}", standardised=False)
        scores = method.score(method.fit(DATA), SHOWN)
        if head == "anomaly" or method.residual == "learned":
            torch.testing.assert_close(top_k_mean(scores.maps.flatten(1)), scores.heads[head])
    method = made(form)
    state = method.fit(DATA)
    both = method.score(state, SHOWN).maps
    for left_out, head in (("residual", "anomaly"), ("anomaly", "residual")):
        part = {key: value for key, value in state.items() if key.split(".")[0] != left_out}
        heads[head] = dataclasses.replace(method, without=left_out).score(part, SHOWN).maps
        assert heads[head].abs().max() > 0
    torch.testing.assert_close(both, heads["anomaly"] + heads["residual"])


@each_form
def test_flattened_bridge_carries_whole_maps(form):
    method = made(form, "flattened")
    state = method.fit(DATA)
    for key in ("codes", "bridge.r", "bridge.log_s"):
        assert state[key].shape == (3, 16 * 24)
    v = randn(2, 16, 24)
    x = Form(lengths=method.lengths, flattened=True, absolute=False).points(v)
    length = math.sqrt(16 * 24) if method.lengths else v.flatten(1).norm(dim=1, keepdim=True)
    np.testing.assert_allclose(x[:, 0], v.flatten(1) / length, rtol=1e-5)
    idle = {"adapter.up.weight": torch.zeros(24, 4), "adapter.up.bias": torch.zeros(24)}
    maps = method.score(state | idle, SHOWN).maps
    assert (maps[0] - maps[1]).abs().max() > 0


def crop(rows: Rows) -> Rows:
    """Return rows of maps of one position (``pixels`` are no maps, and not read)."""
    return dataclasses.replace(rows, tensor=rows.tensor[..., :1, :1].contiguous())


@each_form
def test_flattened_and_positions_are_the_same_for_one_position(form):
    data = changed(DATA, crop)
    results = []
    for variant in ("", "flattened"):
        method = made(form, variant, codebook_samples=20)
        state = method.fit(data)
        results.append((state, method.score(state, changed_images(SHOWN, crop))))
    (state, scores), (flat_state, flat_scores) = results
    for key, value in state.items():
        torch.testing.assert_close(flat_state[key], value, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(flat_scores.total, scores.total, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(flat_scores.maps, scores.maps, rtol=1e-3, atol=1e-3)


@each_form
def test_every_objective_learns_something_else(form):
    variants = ("", "no_dpl", "no_dfl", "literal", "ranking", "bridge_matching")
    bridges = [made(form, variant).fit(DATA)["bridge.r"] for variant in variants]
    for one, other in itertools.combinations(bridges, 2):
        assert (one - other).abs().max() > 1e-6


@pytest.mark.parametrize("n_normals", [1, 2, 5])
@each_form
def test_few_normals_are_enough(form, n_normals):
    few = PACKS.training(range(n_normals), [24], "cell")
    method = made(form, prototypes=32)
    state = method.fit(few)
    assert len(state["codes"]) == 1
    assert bool(method.score(state, SHOWN).total.isfinite().all())


@each_form
def test_the_normality_head_starts_with_everything_normal(form):
    method = made(form, lr=1e-9)
    start = method.fit(DATA)["normal.1.bias"].item()
    drawn = made(form, lr=1e-9, loss="cross_entropy").fit(DATA)["normal.1.bias"].item()
    margin = inspect.signature(deviation_loss).parameters["margin"].default
    assert start - drawn == pytest.approx(margin if method.loss == "deviation" else 0, abs=1e-5)


def test_there_must_be_something_to_learn():
    made(variant="only_residual", dpl=False)
    made("former", "only_residual", dpl=False, dispersion=0.0)
    with pytest.raises(ConfigError, match="nothing is learned"):
        made(variant="only_residual", dpl=False, dispersion=0.0)
