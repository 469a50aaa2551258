"""DPDL in both its forms, small, and its training step by torch alone, for the tests of DPDL."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from learn_cases import adapted, build, layers, mixture

from osad.core.seeds import torch_generator
from osad.learn.batches import NORMAL, PSEUDO, SEEN
from osad.learn.images import State
from osad.methods.dpdl.method import DPDL

TINY = {
    "epochs": 1, "iterations": 5, "adapter": 4, "head_width": 8, "prototypes": 3,
    "codebook_samples": 100, "lr": 1e-2, "batch": 12,
}  # fmt: skip
LABELS = torch.tensor([NORMAL] * 4 + [SEEN] * 3 + [PSEUDO] * 2)
FORMS: dict[str, dict[str, Any]] = {
    "default": {"loss": "deviation", "lengths": True, "residual": "energy", "standardised": True},
    "former": {
        "loss": "cross_entropy", "lengths": False, "residual": "learned", "standardised": False,
    },
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "literal": {"objective": "literal"},
    "ranking": {"objective": "ranking"},
    "bridge_matching": {"objective": "bridge_matching"},
    "flattened": {"flattened": True},
    "no_anomaly": {"without": "anomaly"},
    "no_residual": {"without": "residual"},
    "no_normal": {"without": "normal"},
    "only_residual": {"without": "anomaly+normal"},
    "no_dpl": {"dpl": False},
    "no_dfl": {"dispersion": 0.0},
}

each_form = pytest.mark.parametrize("form", FORMS)
"""Of DPDL's two forms: the default one and that of `dpdl.cross_entropy`."""


def randn(*shape: int, key: str = "x", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(key, *shape), dtype=dtype)


def made(form: str = "default", variant: str = "", **values: Any) -> DPDL:
    """Return a variant, small, in one of the two forms."""
    method = build("dpdl", **TINY | FORMS[form] | VARIANTS.get(variant, {}) | values)
    assert isinstance(method, DPDL)
    return method


def without(method: DPDL) -> set[str]:
    """Return the heads that have no parameters."""
    fixed = {"residual"} if method.residual == "energy" else set()
    return set(method.without.split("+")) | fixed


def parameters(method: DPDL, dtype: torch.dtype = torch.float32) -> State:
    """Return random parameters for 16 positions of 24 channels, as leaves, with 3 prototypes."""
    d = 16 * 24 if method.flattened else 24
    codes = 0.8 * F.normalize(randn(3, d), dim=1)
    state = {
        "adapter.down.weight": 0.2 * randn(4, 24),
        "adapter.down.bias": 0.1 * randn(4),
        "adapter.up.weight": 0.2 * randn(24, 4),
        "adapter.up.bias": 0.1 * randn(24),
        "anomaly.weight": randn(1, 24),
        "anomaly.bias": randn(1),
        "residual.weight": randn(1, 24, key="residual"),
        "residual.bias": randn(1, key="residual"),
        "normal.0.weight": randn(8, 24) / 5,
        "normal.0.bias": randn(8),
        "normal.1.weight": randn(1, 8),
        "normal.1.bias": randn(1),
        "bridge.r": 0.9 * codes,
        "bridge.log_s": math.log(0.1) + 0.3 * randn(3, d, key="s"),
        "bridge.a": -0.45 * codes.square().sum(1),
    }
    return {
        key: value.to(dtype).clone().requires_grad_()
        for key, value in state.items()
        if key.split(".")[0] not in without(method)
    }


def components(state: State, eps: float) -> Any:
    """Return v as a mixture; its factor is the sum of alpha."""
    std = (eps * state["bridge.log_s"].exp()).sqrt()
    return mixture(state["bridge.r"], std, state["bridge.a"] / eps)


def carried(method: DPDL, v: torch.Tensor) -> torch.Tensor:
    """Return what the bridge carries of vectors (n, P, c)."""
    v = v.flatten(1).unsqueeze(1) if method.flattened else v
    return v / math.sqrt(v.shape[-1]) if method.lengths else F.normalize(v, dim=-1)


def plain_step(method: DPDL, s: State, frozen: torch.Tensor) -> Any:
    """Return what all heads with parameters give, position by position, and the levels l(x).

    By torch alone; all positions have a gradient.
    """
    v, eps = adapted(s, frozen), method.eps
    x, r, spread = carried(method, v), s["bridge.r"], s["bridge.log_s"].exp()
    logits = (s["bridge.a"] + x.square() @ spread.T / 2 + x @ r.T) / eps
    heads: State = {}
    if "anomaly.weight" in s:
        heads["anomaly"] = v @ s["anomaly.weight"][0] + s["anomaly.bias"]
    if "residual.weight" in s:
        w = logits.softmax(-1)
        psi = w @ r + (w @ spread) * x
        parts = components(s, eps).component_distribution
        nearest = parts.log_prob(psi.unsqueeze(-2)).argmax(-1)
        residual = ((psi - r[nearest]) / spread[nearest].sqrt()).reshape(v.shape)
        residual = F.layer_norm(residual, (24,))
        heads["residual"] = residual @ s["residual.weight"][0] + s["residual.bias"]
    if "normal.0.weight" in s:
        heads["normal"] = layers(s, "normal.0", "normal.1", v.mean(1))
    if method.loss == "deviation":
        heads = {name: values.abs() for name, values in heads.items()}
    return heads, eps * logits.logsumexp(-1), v
