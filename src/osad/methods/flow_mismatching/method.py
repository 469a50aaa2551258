"""Flow Mismatching: how far a flow of normals strays from the straight line to a test image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn.batches import Batch
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.loop import batched, cosine, minimise
from osad.learn.ranges import check_ranges
from osad.learn.velocity import (
    MovingAverage,
    fit_projection,
    flow_batches,
    init_velocity,
    project,
    projected_normals,
    velocity,
)
from osad.methods.flow_mismatching.mismatch import AGGREGATIONS, heat, image_score
from osad.methods.registry import SETTINGS, method

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

EXPONENTS = (0, 1, 2)


@method(
    title="Flow Mismatching",
    paper="Flow Mismatching (arXiv 2605.23070)",
    packs=("plain",),
    settings=SETTINGS,
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
    """Hyper-parameters of Flow Mismatching on cached features.

    Attributes:
        epochs: passes over the training normals.
        batch: images of a step.
        dims: principal components of the standardised channels that the flow lives in.
        shrinkage: in (0, 1], how far the components keep their own variances (1) or get equal
            ones (towards 0).
        width: channels of the velocity network.
        blocks: its residual blocks.
        lr: learning rate of AdamW, falling to 0 along a cosine.
        weight_decay: of AdamW.
        ema: decay of the moving average of the network that scores.
        paths: K, noise draws that an image is compared with.
        times: T, interior times t_j = j / (T + 1) of each path.
        aggregation: over paths: ``minimum``, ``mean``, ``median`` or ``percentile``.
        fraction: a of ``percentile``, the ⌈a K⌉-th smallest, in (0, 1].
        exponent: of the weight over time w(t) = t^exponent; 0, 1 or 2.
    """

    epochs: int = 30
    batch: int = 32
    dims: int = 256
    shrinkage: float = 0.02
    width: int = 256
    blocks: int = 2
    lr: float = 3e-3
    weight_decay: float = 1e-4
    ema: float = 0.999
    paths: int = 4
    times: int = 4
    aggregation: str = "minimum"
    fraction: float = 0.3
    exponent: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(
            self,
            counts=["epochs", "batch", "dims", "width", "blocks", "paths", "times"],
            positive=["lr"],
            not_negative=["weight_decay"],
            probabilities=["ema"],
            shares=["shrinkage", "fraction"],
        )
        if self.ema == 1:
            raise ValueError("ema is 1, must be less: the average would never move")
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"aggregation is {self.aggregation!r}, must be one of {', '.join(AGGREGATIONS)}"
            )
        if self.exponent not in EXPONENTS:
            raise ValueError(f"exponent is {self.exponent}, must be 0, 1 or 2")

    def fit(self, data: TrainingData) -> State:
        """Train the flow from noise to normals; ``noise`` (K, P, d) is kept for scoring."""
        rows = data.normal.deepest
        height, width = rows.tensor.shape[2:]
        projection = fit_projection(rows, self.dims, shrinkage=self.shrinkage)
        vectors = projected_normals(data, projection)
        n, positions, channels = vectors.shape
        state = init_velocity(channels, self.width, self.blocks, torch_generator(data.key, "init"))
        state = {name: value.to(rows.device) for name, value in state.items()}
        average = MovingAverage(state, self.ema)
        steps = self.epochs * -(-n // self.batch)
        minimise(
            state,
            flow_batches(vectors, data.key, steps, self.batch),
            _Loss((height, width), torch_generator(data.key, "paths")),
            lr=self.lr,
            weight_decay=self.weight_decay,
            decoupled=True,
            schedule=cosine(steps),
            after_step=average,
        )
        noise = torch.randn(
            self.paths, positions, channels, generator=torch_generator(data.key, "noise")
        )
        return projection | average.state | {"noise": noise.to(rows.device)}

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return maximum plus top 1 % of the heat, (n,), and the heat as maps (n, h, w)."""
        rows = images.deepest
        height, width = rows.tensor.shape[2:]

        def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return velocity(state, x, t, (height, width))

        values = torch.cat(
            [
                heat(
                    field,
                    project(state, rows.take(part)),
                    state["noise"],
                    times=self.times,
                    how=self.aggregation,
                    fraction=self.fraction,
                    exponent=self.exponent,
                )
                for part in batched(len(images))
            ]
        )
        return Scores(image_score(values), maps=values.unflatten(1, (height, width)))


class _Loss:
    """Flow matching along straight paths: E|v(x_t, t) - (X - e)|², x_t = (1-t) e + t X.

    Attributes:
        size: height and width of the maps.
        generator: of the noise e and the time t, one per image, drawn anew in each step.
    """

    def __init__(self, size: tuple[int, int], generator: torch.Generator) -> None:
        self.size, self.generator = size, generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        """Return the mean over images, positions and channels."""
        x = batch.features
        noise = torch.randn(x.shape, generator=self.generator).to(x.device)
        t = torch.rand(len(x), generator=self.generator).to(x.device)
        target = x - noise
        found = velocity(state, noise + t[:, None, None] * target, t, self.size)
        return (found - target).square().mean()
