"""A Gaussian of normals, and what each normal would be to the Gaussian of all the others.

Statistics of the images that a covariance was made of are too small, the more so the fewer there
are; leaving an image out and fitting again is exact, and has a closed form. An image has P vectors
(one, or those of its positions); t is the mean eigenvalue of all vectors' covariance, kept fixed.

With N vectors x = mu + delta, D the P deltas of the image left out, S the shrunken covariance of
the others and mu' their mean:

    A = (1 - lam) N / (N - P) C + lam t I          S = A - (1 - lam) D' K D
    J = I + 1 1' / (N - P)                         K = J / (N - P)
    x - mu' = J D (rows)                           u' = u + D' 1 / (N - P) for u = point - mu

and with G = D A^-1 D', v = D A^-1 u, B = (1 - lam) K the matrix inversion lemma gives

    D S^-1 D' = (I - G B)^-1 G = H                 D S^-1 u = (I - G B)^-1 v = w
    u' S^-1 u = u' A^-1 u + v' B w                 det S = det A det(I - G B)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from osad.core.errors import TrainingError
from osad.learn.gaussian import check_finite
from osad.learn.lazy_torch import torch
from osad.learn.products import bmm, eigh, logdet, matmul, solve


@dataclass(frozen=True)
class Gaussian:
    """Mean and shrunken covariance of vectors.

    Attributes:
        mean: (d,) float64.
        basis: (d, d), eigenvectors of the covariance.
        values: (d,), its eigenvalues, 0 or more.
        shrinkage: weight of the identity, in (0, 1].
        vectors: (n, P, d), the deltas in the basis.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    values: torch.Tensor
    shrinkage: float
    vectors: torch.Tensor

    @classmethod
    def fit(cls, x: torch.Tensor, shrinkage: float) -> Gaussian:
        """Fit the vectors (n, P, d) of n images.

        Raises:
            TrainingError: they are not finite.
        """
        flat = x.double().flatten(0, 1)
        mean = flat.mean(0)
        delta = flat - mean
        covariance = matmul(delta.T, delta) / len(delta)
        check_finite(mean, covariance)
        values, basis = eigh(covariance)
        values = values.clamp_min(0)
        # Vectors that are all alike have no spread at all.
        values = values if values.sum() > 0 else torch.full_like(values, 1e-12)
        vectors = matmul(delta, basis).unflatten(0, x.shape[:2])
        return cls(mean, basis, values, shrinkage, vectors)

    @property
    def shrunk(self) -> torch.Tensor:
        """The eigenvalues of the shrunken covariance, (d,)."""
        return (1 - self.shrinkage) * self.values + self.shrinkage * self.values.mean()

    def whitening(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 (mean, W) such that (x - mean) @ W has the identity as covariance."""
        return self.mean.float(), (self.basis / self.shrunk.sqrt()).float()

    def around(self, members: torch.Tensor) -> torch.Tensor:
        """Return the squared lengths of vectors that were taken around means of groups, (n,).

        One vector an image; ``members`` (n,), 2 or more, is the size of its group. Without an image
        its group's mean lies m / (m - 1) times as far from it, and the sum of all squares is less
        by as many times its own: the others of a group hold its direction in their sum.
        """
        n, lam = len(self.vectors), self.shrinkage
        spread = (1 - lam) * n / (n - 1) * self.values + lam * self.values.mean()
        further = members / (members - 1)
        length = further * (self.vectors.squeeze(1).square() / spread).sum(1)
        return further * length / (1 - (1 - lam) / (n - 1) * length)

    def left_out(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what each training image is to the Gaussian of all others.

        Args:
            points: (k, d), whitened, such as means of seen anomalies.

        Returns:
            in the metric of the others' covariance: squared lengths (n, P) of the image's vectors
            from the others' mean, their products (n, P, k) with the points from there, and the
            points' squared lengths (n, k); float64.

        Raises:
            TrainingError: there is a single image.
        """
        delta, root, gram, lost = self._without(slice(None))
        rest, lam = self._rest, self.shrinkage
        u = points.double() * (self.shrunk.sqrt() / root)
        v = matmul(delta, u.T)
        one = torch.eye(gram.shape[1], dtype=lost.dtype, device=lost.device)
        h, w = solve(one - lost, torch.cat([gram, v], 2)).split([len(one), len(points)], 2)
        own = h.sum(2, keepdim=True) / rest
        lengths = self._moved(self._moved(h).transpose(1, 2)).diagonal(dim1=1, dim2=2)
        levels = u.square().sum(1) + ((1 - lam) / rest * v * self._moved(w)).sum(1)
        return lengths, self._moved(w + own), levels + (2 * w + own).sum(1) / rest

    def log_density(self, most: int = 2**13) -> float:
        """Return the mean log density of the images' vectors under the Gaussian of all others.

        Without its constant, and of evenly spaced images with at most ``most`` vectors.

        Raises:
            TrainingError: there is a single image.
        """
        n, per_image, _ = self.vectors.shape
        _, root, gram, lost = self._without(slice(None, None, -(-n * per_image // most)))
        one = torch.eye(per_image, dtype=lost.dtype, device=lost.device)
        h = solve(one - lost, gram)
        lengths = self._moved(self._moved(h).transpose(1, 2)).diagonal(dim1=1, dim2=2).mean()
        return float(-root.log().sum() - (logdet(one - lost).mean() + lengths) / 2)

    def likeliest(self, shrinkages: Sequence[float]) -> Gaussian:
        """Return the one with the shrinkage by which left-out images are most likely."""
        each = [replace(self, shrinkage=value) for value in shrinkages]
        return max(each, key=Gaussian.log_density)

    @property
    def _rest(self) -> int:
        """How many vectors the other images have."""
        return (len(self.vectors) - 1) * self.vectors.shape[1]

    def _moved(self, x: torch.Tensor) -> torch.Tensor:
        """Compute J x of (n, P, m)."""
        return x + x.sum(1, keepdim=True) / self._rest

    def _without(
        self, images: slice
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return D A^-1/2 (k, P, d) of some images, A^1/2 (d,), G and G B (k, P, P)."""
        n = len(self.vectors)
        if n < 2:
            raise TrainingError(
                "there is one training normal; none can be left out of fewer than two"
            )
        spread, lam = self.values, self.shrinkage
        root = ((1 - lam) * n / (n - 1) * spread + lam * spread.mean()).sqrt()
        delta = self.vectors[images] / root
        gram = bmm(delta, delta.transpose(1, 2))
        return delta, root, gram, (1 - lam) / self._rest * self._moved(gram).transpose(1, 2)
