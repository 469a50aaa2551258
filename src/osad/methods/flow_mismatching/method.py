"""Flow Mismatching: how far a flow of normals strays from the straight line to a test image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from osad.core.seeds import torch_generator
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.learn.velocity import project, train_flow, velocity
from osad.methods.fields import at_least, choice, decay, not_negative, positive, share
from osad.methods.flow_mismatching.mismatch import AGGREGATIONS, heat, image_score
from osad.methods.registry import method


@method(
    title="Flow Mismatching",
    paper="Flow Mismatching (arXiv 2605.23070)",
    packs=("plain",),
    maps=True,
    normal_only=True,
    full_budget={"epochs": 100, "dims": 256, "width": 256, "blocks": 4, "paths": 8, "times": 8},
    variants={
        "mean": {"aggregation": "mean"},
        "median": {"aggregation": "median"},
        "percentile": {"aggregation": "percentile"},
        "flat_weight": {"exponent": 0},
        "linear_weight": {"exponent": 1},
    },
)
@dataclass(frozen=True)
class FlowMismatching:
    """Flow Mismatching on cached features."""

    epochs: int = at_least(1, 30, "passes over the training normals")
    batch: int = at_least(1, 32, "images of a step")
    dims: int = at_least(1, 64, "principal components of the standardised channels of the flow")
    shrinkage: float = share(
        0.02, "1 keeps the components' variances, smaller values equalise them"
    )
    width: int = at_least(1, 128, "channels of the velocity network")
    blocks: int = at_least(1, 2, "its residual blocks")
    lr: float = positive(3e-3, "learning rate of AdamW, falling to 0 along a cosine")
    weight_decay: float = not_negative(1e-4, "of AdamW")
    ema: float = decay(0.999, "decay of the moving average of the network that scores")
    paths: int = at_least(1, 4, "K, noise draws that an image is compared with")
    times: int = at_least(1, 4, "T, interior times t_j = j / (T + 1) of each path")
    aggregation: str = choice("minimum", "over paths", AGGREGATIONS)
    fraction: float = share(0.3, "a of `percentile`, the ⌈a K⌉-th smallest")
    exponent: int = choice(2, "of the weight over time w(t) = t^exponent", (0, 1, 2))

    def fit(self, data: TrainingData) -> State:
        """Train the flow from noise to normals; ``noise`` (K, P, d) is kept for scoring."""
        rows = data.normal.deepest
        steps = self.epochs * -(-len(rows) // self.batch)
        state = train_flow(data, self, lambda x, noise: (noise, x), steps=steps, purpose="paths")
        shape = (self.paths, math.prod(rows.size), state["projection.matrix"].shape[1])
        noise = torch.randn(shape, generator=torch_generator(data.key, "noise"))
        return state | {"noise": noise.to(rows.device)}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return maximum plus top 1 % of the heat, (n,), and the heat as maps (n, h, w)."""
        rows = images.deepest
        values = rows.map(
            lambda maps: heat(
                lambda x, t: velocity(state, x, t, rows.size),
                project(state, maps),
                state["noise"],
                times=self.times,
                how=self.aggregation,
                fraction=self.fraction,
                exponent=self.exponent,
            )
        )
        return Scores(image_score(values), maps=values.unflatten(1, rows.size))
