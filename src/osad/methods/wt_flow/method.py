"""WT-Flow: a flow from normal features to Gaussian noise along the worst transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osad.core.lazy import lazy
from osad.core.seeds import torch_generator
from osad.learn.batches import Batch
from osad.learn.heads import top_k_mean
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
from osad.methods.registry import SETTINGS, method
from osad.methods.wt_flow.transport import locally_worst, worst_target

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")

COUPLINGS = ("local", "analytic", "independent")
PROXIES = ("density", "shell", "target")


@method(
    title="WT-Flow",
    paper="WT-Flow, time-reversed flow matching with worst transport (arXiv 2508.05461)",
    packs=("plain",),
    settings=SETTINGS,
    maps=True,
    normal_only=True,
    full_budget={"group": 512, "width": 1024, "blocks": 4},
    variants={
        "analytic": {"coupling": "analytic"},
        "independent": {"coupling": "independent"},
    },
)
@dataclass(frozen=True)
class WTFlow:
    """Hyper-parameters of the flow on cached features.

    Attributes:
        coupling: how noise is assigned to features: ``local`` (worst assignment within groups of
            a batch), ``analytic`` (farthest point of the sphere of radius sqrt(d), with noise) or
            ``independent``.
        group: position vectors of a group of the local coupling.
        jitter: standard deviation of the noise of the analytic coupling.
        proxy: what is read from the end point x1 of the flow: ``density`` (P1, |x1|^2 / 2d),
            ``shell`` (P2, ||x1|^2 / d - 1|) or ``target`` (P3, |x1 - z_w(x)|^2 / d).
        steps: Euler steps of the flow at scoring time.
        top: share of the positions whose mean is the image's score; less than one position
            counts as one, the largest.
        dims: d, principal components of the standardised channels.
        shrinkage: 1 keeps the components' variances, smaller values equalise them.
        width: of the velocity network.
        blocks: of the velocity network.
        epochs: passes of ``iterations`` steps.
        iterations: steps of an epoch.
        batch: images of a step.
        lr: first learning rate of AdamW; it falls along a cosine.
        weight_decay: decay of the weights.
        ema: decay of the moving average of the weights, which is what is kept.
    """

    coupling: str = "local"
    group: int = 128
    jitter: float = 0.1
    proxy: str = "target"
    steps: int = 1
    top: float = 0.1
    dims: int = 320
    shrinkage: float = 0.02
    width: int = 128
    blocks: int = 2
    epochs: int = 50
    iterations: int = 20
    batch: int = 32
    lr: float = 3e-3
    weight_decay: float = 1e-4
    ema: float = 0.999

    def __post_init__(self) -> None:
        """Check the ranges."""
        counts = ["group", "steps", "dims", "width", "blocks", "epochs", "iterations", "batch"]
        check_ranges(
            self,
            counts=counts,
            positive=["lr"],
            not_negative=["jitter", "weight_decay"],
            shares=["top", "shrinkage"],
        )
        for name, known in (("coupling", COUPLINGS), ("proxy", PROXIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be one of {known}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}, must lie in [0, 1)")

    def fit(self, data: TrainingData) -> State:
        """Fit the projection and train the velocity network on the plain normals."""
        rows = data.normal.deepest
        projection = fit_projection(rows, self.dims, shrinkage=self.shrinkage)
        vectors = projected_normals(data, projection)
        initial = init_velocity(
            vectors.shape[2], self.width, self.blocks, torch_generator(data.key, "init")
        )
        initial = {name: value.to(rows.device) for name, value in initial.items()}
        total = self.epochs * self.iterations
        average = MovingAverage(initial, self.ema)
        minimise(
            initial,
            flow_batches(vectors, data.key, total, self.batch),
            _Loss(self, side(rows.tensor), torch_generator(data.key, "noise")),
            lr=self.lr,
            weight_decay=self.weight_decay,
            decoupled=True,
            schedule=cosine(total),
            after_step=average,
        )
        return projection | average.state

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the mean of the top positions, (n,), and the positions' scores as maps."""
        rows = images.deepest
        size = side(rows.tensor)
        maps = []
        for part in batched(len(images)):
            x = project(state, rows.take(part))
            maps.append(density_proxy(x, transported(state, x, size, self.steps), self.proxy))
        scores = torch.cat(maps)
        return Scores(top_k_mean(scores, self.top), maps=scores.unflatten(1, size))


def side(maps: torch.Tensor) -> tuple[int, int]:
    """Return height and width of maps (n, c, h, w)."""
    return maps.shape[2], maps.shape[3]


def transported(state: State, x: torch.Tensor, size: tuple[int, int], steps: int) -> torch.Tensor:
    """Move position vectors from time 0 to time 1 along the velocity by Euler steps.

    Args:
        state: velocity network.
        x: (n, P, d).
        size: height and width of the maps.
        steps: number n of steps, each of length 1/n.

    Returns:
        (n, P, d); with one step x + v(x, 0).

    Source:
        WT-Flow (arXiv 2508.05461): inference takes one step.
    """
    for step in range(steps):
        time = torch.full((len(x),), step / steps, device=x.device)
        x = x + velocity(state, x, time, size) / steps
    return x


def density_proxy(x: torch.Tensor, end: torch.Tensor, proxy: str) -> torch.Tensor:
    """Measure how unlikely the end points of the flow are.

    Args:
        x: (..., d), the vectors.
        end: (..., d), where the flow takes them.
        proxy: ``density``: |end|^2 / 2d, minus the log density of the Gaussian up to constants;
            ``shell``: ||end|^2 / d - 1|, distance from the sphere where a Gaussian lies;
            ``target``: |end - z_w(x)|^2 / d, with one step |v(x, 0) - u_wt(x)|^2 / d.

    Returns:
        (...), 0 or more, higher is more anomalous.

    Source:
        Reconstructed from WT-Flow (arXiv 2508.05461), whose formula could not be read.
    """
    d = x.shape[-1]
    if proxy == "target":
        return (end - worst_target(x)).square().sum(-1) / d
    square = end.square().sum(-1) / d
    return square / 2 if proxy == "density" else (square - 1).abs()


def coupled(x: torch.Tensor, noise: torch.Tensor, method: WTFlow) -> torch.Tensor:
    """Return the end points z (n, P, d) that a batch x (n, P, d) is paired with.

    Args:
        x: position vectors.
        noise: (n, P, d), standard normal draws.
        method: which coupling, and its group or jitter.
    """
    if method.coupling == "independent":
        return noise
    if method.coupling == "analytic":
        return worst_target(x) + method.jitter * noise
    flat = locally_worst(x.flatten(0, 1), noise.flatten(0, 1), method.group)
    return flat.view_as(x)


@dataclass(frozen=True)
class _Loss:
    """Mean squared error of the velocity on straight paths, E |v(x_t, t) - (z - x)|^2 / d."""

    method: WTFlow
    size: tuple[int, int]
    generator: torch.Generator

    def __call__(self, state: State, batch: Batch) -> torch.Tensor:
        x = batch.features
        noise = torch.randn(x.shape, generator=self.generator).to(x)
        t = torch.rand(len(x), generator=self.generator).to(x)
        displacement = coupled(x, noise, self.method) - x
        between = x + t[:, None, None] * displacement
        return (velocity(state, between, t, self.size) - displacement).square().mean()
