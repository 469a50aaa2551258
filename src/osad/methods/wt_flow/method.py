"""WT-Flow: a flow from normal features to Gaussian noise along the worst transport."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.heads import top_k_mean
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import torch
from osad.learn.velocity import project, train_flow, velocity
from osad.methods.fields import at_least, choice, decay, not_negative, positive, share
from osad.methods.registry import method
from osad.methods.wt_flow.transport import locally_worst, worst_target

COUPLINGS = ("local", "analytic", "independent")
PROXIES = ("density", "shell", "target")


@method(
    title="WT-Flow",
    paper="WT-Flow, time-reversed flow matching with worst transport (arXiv 2508.05461)",
    packs=("plain",),
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
    """WT-Flow on cached features.

    Couplings assign noise to features: ``local`` by the worst assignment within groups of a batch,
    ``analytic`` as the farthest point of the sphere of radius sqrt(d), with noise, ``independent``
    as drawn. Proxies: see `density_proxy`.
    """

    coupling: str = choice("local", "how noise is assigned to features", COUPLINGS)
    group: int = at_least(1, 128, "position vectors of a group of the local coupling")
    jitter: float = not_negative(0.1, "standard deviation of the analytic coupling's noise")
    proxy: str = choice("target", "what is read from the end point of the flow", PROXIES)
    steps: int = at_least(1, 1, "Euler steps of the flow at scoring time")
    top: float = share(0.1, "share of the positions, at least one, whose mean is the score")
    dims: int = at_least(1, 320, "principal components of the standardised channels of the flow")
    shrinkage: float = share(
        0.02, "1 keeps the components' variances, smaller values equalise them"
    )
    width: int = at_least(1, 128, "channels of the velocity network")
    blocks: int = at_least(1, 2, "its residual blocks")
    epochs: int = at_least(1, 50, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(1, 32, "images of a step")
    lr: float = positive(3e-3, "learning rate of AdamW, falling to 0 along a cosine")
    weight_decay: float = not_negative(1e-4, "of AdamW")
    ema: float = decay(0.999, "decay of the moving average of the network that scores")

    def fit(self, data: TrainingData) -> State:
        """Fit the projection and train the velocity network on the plain normals."""
        steps = self.epochs * self.iterations
        return train_flow(
            data, self, lambda x, noise: (x, self.coupled(x, noise)), steps=steps, purpose="noise"
        )

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the mean of the top positions, (n,), and the positions' scores as maps."""
        rows = images.deepest

        def measure(maps: torch.Tensor) -> torch.Tensor:
            x = project(state, maps)
            return density_proxy(x, transported(state, x, rows.size, self.steps), self.proxy)

        scores = rows.map(measure)
        return Scores(top_k_mean(scores, self.top), maps=scores.unflatten(1, rows.size))

    def coupled(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the end points (n, P, d) that x (n, P, d) and normal draws are paired with."""
        if self.coupling == "independent":
            return noise
        if self.coupling == "analytic":
            return worst_target(x) + self.jitter * noise
        return locally_worst(x.flatten(0, 1), noise.flatten(0, 1), self.group).view_as(x)


def transported(state: State, x: torch.Tensor, size: tuple[int, int], steps: int) -> torch.Tensor:
    """Move vectors (n, P, d) from time 0 to 1 along the velocity by Euler steps; ``size``: (h, w).

    Source:
        WT-Flow (arXiv 2508.05461): inference takes one step.
    """
    for step in range(steps):
        time = torch.full((len(x),), step / steps, device=x.device)
        x = x + velocity(state, x, time, size) / steps
    return x


def density_proxy(x: torch.Tensor, end: torch.Tensor, proxy: str) -> torch.Tensor:
    """Measure how unlikely the end points (..., d) of the flow of x (..., d) are: (...), 0 or more.

    ``density`` is |end|^2 / 2d, minus the log density of the Gaussian up to constants; ``shell``
    ||end|^2 / d - 1|, the distance from the sphere where a Gaussian lies; ``target``
    |end - z_w(x)|^2 / d, with one step |v(x, 0) - u_wt(x)|^2 / d.

    Source:
        Reconstructed from WT-Flow (arXiv 2508.05461), whose formula could not be read.
    """
    d = x.shape[-1]
    if proxy == "target":
        return (end - worst_target(x)).square().sum(-1) / d
    square = end.square().sum(-1) / d
    return square / 2 if proxy == "density" else (square - 1).abs()
