"""Evidence: the log ratio of two Gaussians, one of normals and one of anomalies, in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from osad.learn.heads import positions, top_k_mean
from osad.learn.images import ImageSet, Rows, Scores, State, TrainingData
from osad.learn.lazy_torch import F, torch
from osad.learn.left_out import Gaussian
from osad.learn.products import matmul
from osad.methods.fields import not_negative, positive, probability
from osad.methods.registry import method

SPREADS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
"""Values of tau that a run chooses from."""
SHRINKAGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Weights of the identity that a run chooses from, for what is pooled of each network."""
OF_POSITIONS = 0.1
"""That of positions: those of an image are so alike that their likelihood asks for less."""
WEIGHTS = (0.0, 0.5, 1.0)
"""Values of the weight of the positions that a run chooses from."""


def log_ratio(
    lengths: torch.Tensor, products: torch.Tensor, level: torch.Tensor, tau: float, shrink: float
) -> torch.Tensor:
    """Compute log N(z; m, (1 + tau) I) / N(z; 0, I) but for its constant, m = shrink * point.

    Args:
        lengths: |z|².
        products: z . point.
        level: |point|².
        tau: excess of the anomalies' variance, > 0.
        shrink: factor of the point, in [0, 1].
    """
    seen = 2 * shrink * products - shrink**2 * level
    return (tau * lengths + seen) / (2 * (1 + tau))


@dataclass(frozen=True)
class Terms:
    """What the log ratios of some images are made of (see `log_ratio`).

    Attributes:
        lengths: (n, P).
        products: (n, P, k), with k points.
        levels: (n, k) or (1, k).
    """

    lengths: torch.Tensor
    products: torch.Tensor
    levels: torch.Tensor

    @property
    def least(self) -> torch.Tensor:
        """The smallest products, (k,)."""
        return self.products.amin((0, 1))

    @classmethod
    def of(cls, z: torch.Tensor, points: torch.Tensor, least: torch.Tensor) -> Terms:
        """Return those of whitened vectors (n, P, d) and points (k, d).

        No product is less than the normals' ``least`` (k,): to be unlike the seen anomalies, more
        than every normal is, speaks for nothing, and a black image is.
        """
        products = matmul(z, points.T).clamp_min(least)
        return cls(z.square().sum(2), products, points.square().sum(1).unsqueeze(0))

    def ratios(self, point: int, tau: float, shrink: float) -> torch.Tensor:
        """Return the images' log ratios, (n,): the mean of the largest tenth over positions."""
        level = self.levels[:, point].unsqueeze(1)
        return top_k_mean(log_ratio(self.lengths, self.products[:, :, point], level, tau, shrink))


def distance(normals: Sequence[Terms], seen: Sequence[Terms]) -> float:
    """Return how far outside the normals the seen anomalies lie, in the normals' own spread.

    It is the mean over anomalies and networks of the standard score of log |z|² among those of
    left-out normals.
    """
    scores = 0.0
    for normal, anomaly in zip(normals, seen, strict=True):
        low, high = (terms.lengths.clamp_min(1e-12).log() for terms in (normal, anomaly))
        scores += float((high.mean() - low.mean()) / low.std().clamp_min(1e-9))
    return scores / len(normals)


@method(
    title="Evidence",
    paper="this benchmark (closed form, no training)",
    packs=("plain", "pooled"),
    heads=("images", "positions"),
    maps=True,
)
@dataclass(frozen=True)
class Evidence:
    """Is an image a normal one, or one of the kind of those seen, or of an unknown kind?

    Features are whitened by the normals, z ~ N(0, I). Anomalies are N(m, (1 + tau) I) with m a
    shrunken mean of those seen: tau says how unlike them others may be. The farther outside the
    normals several seen ones lie, the more being unlike normals is trusted.
    """

    tau: float = positive(0.2, "excess of the anomalies' variance; if several, by their distance")
    freedom: float = positive(2.0, "standard deviation of log tau before anomalies are seen")
    kappa: float = not_negative(2.0, "seen anomalies that the mean 0 of the prior counts for")
    shrinkage: float = probability(
        0.0, "weight of the identity in the covariances; 0: the likeliest, 0.1 of positions"
    )

    def fit(self, data: TrainingData) -> State:
        """Return whitenings, means of the seen anomalies, tau and the scales of the ratios."""
        count = len(data.anomaly)
        state: State = {}
        normals, seen = [], []
        for number, rows in enumerate(_views(data.normal)):
            others = _views(data.anomaly)[number]
            vectors = rows.map(_vectors)
            local = vectors.shape[1] > 1
            gaussian = Gaussian.fit(vectors, self.shrinkage or OF_POSITIONS)
            if not (self.shrinkage or local):
                gaussian = gaussian.likeliest(SHRINKAGES)
            mean, matrix = gaussian.whitening()
            z = matmul(others.map(_vectors) - mean, matrix)
            # What is special about an anomaly's own longest vectors, beside a normal's longest.
            tops = _tops(z) - (_tops(matmul(vectors - mean, matrix)).mean(0) if local else 0)
            # The mean of all seen, then those of all but one.
            rest = (tops.sum(0) - tops) / max(count - 1, 1)
            points = torch.cat([tops.mean(0, keepdim=True), rest])
            normals.append(Terms(*gaussian.left_out(points)))
            seen.append(Terms.of(z, points, normals[-1].least.float()))
            state |= {
                f"{number}.least": normals[-1].least[:1].float(),
                f"{number}.mean": mean,
                f"{number}.matrix": matrix,
                f"{number}.point": points[0],
            }
        tau, weight = self._chosen(normals, seen)
        shrink = count / (count + self.kappa)
        ratios = torch.stack([terms.ratios(0, tau, shrink) for terms in normals])
        state["ratio.mean"] = ratios.mean(1).float()
        state["ratio.std"] = ratios.std(1, unbiased=False).clamp_min(1e-9).float()
        return state | {"chosen": torch.tensor([tau, weight, shrink])}

    def _chosen(self, normals: Sequence[Terms], seen: Sequence[Terms]) -> tuple[float, float]:
        """Choose tau and the positions' weight by how each seen anomaly ranks without itself."""
        count = len(seen[0].lengths)
        if count < 2:
            return self.tau, 0.0
        expected = self.tau * distance(normals[:-1], seen[:-1])
        expected = min(max(expected, SPREADS[0]), SPREADS[-1])
        shrink = (count - 1) / (count - 1 + self.kappa)
        best = (-math.inf, expected, 0.0)
        for tau in SPREADS:
            gaps = torch.zeros(len(WEIGHTS), count, dtype=torch.float64)
            for one in range(count):
                low = torch.stack([terms.ratios(one + 1, tau, shrink) for terms in normals])
                high = torch.stack([terms.ratios(one + 1, tau, shrink)[one] for terms in seen])
                mean, std = low.mean(1, keepdim=True), low.std(1, keepdim=True).clamp_min(1e-9)
                low, high = (low - mean) / std, (high.unsqueeze(1) - mean) / std
                for place, weight in enumerate(WEIGHTS):
                    factors = torch.ones(len(low), 1, dtype=low.dtype, device=low.device)
                    factors[-1] = weight
                    lows = (factors * low).sum(0)
                    gaps[place, one] = F.logsigmoid(
                        ((factors * high).sum() - lows) / lows.std()
                    ).mean()
            doubt = (math.log(tau / expected) / self.freedom) ** 2 / 2
            for place, weight in enumerate(WEIGHTS):
                best = max(
                    best, (float(gaps[place].sum()) - doubt, tau, weight), key=lambda x: x[0]
                )
        return best[1:]

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the sum of the standardised log ratios, (n,), and those of positions as maps."""
        _, weight, _ = map(float, state["chosen"])
        ratios = [_ratios(state, number, rows) for number, rows in enumerate(_views(images))]
        parts = torch.stack([top_k_mean(part) for part in ratios], 1)
        parts = (parts - state["ratio.mean"]) / state["ratio.std"]
        heads = {"images": parts[:, :-1].sum(1), "positions": weight * parts[:, -1]}
        total = heads["images"] + heads["positions"]
        return Scores(total, heads, ratios[-1].unflatten(1, images.deepest.size))


def _ratios(state: State, number: int, rows: Rows) -> torch.Tensor:
    """Return the log ratios of images' vectors, (n, P)."""
    mean, matrix, point, least = (
        state[f"{number}.{name}"] for name in ("mean", "matrix", "point", "least")
    )
    tau, _, shrink = map(float, state["chosen"])

    def ratios(x: torch.Tensor) -> torch.Tensor:
        terms = Terms.of(matmul(_vectors(x) - mean, matrix), point.unsqueeze(0), least)
        return log_ratio(terms.lengths, terms.products[..., 0], terms.levels, tau, shrink)

    return rows.map(ratios)


def _views(images: ImageSet) -> list[Rows]:
    """Return what is pooled of each network, and the maps."""
    return [*images.pooled, images.deepest]


def _vectors(x: torch.Tensor) -> torch.Tensor:
    """Turn maps (n, c, h, w) or what is pooled of them (n, 2, c) into vectors (n, P, d)."""
    return positions(x) if x.ndim == 4 else x.flatten(1).unsqueeze(1)


def _tops(z: torch.Tensor) -> torch.Tensor:
    """Average the tenth of an image's vectors that is longest: (n, P, d) -> (n, d)."""
    count = max(int(0.1 * z.shape[1]), 1)
    places = z.square().sum(2).topk(count, 1).indices
    return z.gather(1, places.unsqueeze(2).expand(-1, -1, z.shape[2])).mean(1)
