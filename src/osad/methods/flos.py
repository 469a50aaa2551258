"""FLOS: DevNet's network, trained with the focal loss on its logit."""

from __future__ import annotations

from dataclasses import dataclass

from osad.learn.batches import Batch, averaged
from osad.learn.images import ImageSet, Scores, State, TrainingData
from osad.learn.lazy_torch import F, torch
from osad.learn.single_head import image_scores, score_maps, train_head
from osad.methods.fields import at_least, flag, not_negative, positive, share
from osad.methods.images import SCALES
from osad.methods.registry import method


@method(
    title="FLOS",
    paper="focal loss (Lin et al., ICCV 2017), as a baseline of Ding et al., CVPR 2022",
    packs=("plain", "rotated"),
    maps=True,
    full_budget={"epochs": 50, "adapter": 128},
    variants={"signed": {"absolute": False}},
    images={"images": {"epochs": 50, "lr": 2e-4, "adapter": 0, "scales": SCALES}},
)
@dataclass(frozen=True)
class FLOS:
    """FLOS on cached features.

    Without |.| of the position scores the head starts in the direction of the seen anomalies.
    """

    epochs: int = at_least(1, 20, "passes of `iterations` steps")
    iterations: int = at_least(1, 20, "steps of an epoch")
    batch: int = at_least(1, 48, "images of a step, half normal and half seen anomalies")
    lr: float = positive(1e-3, "learning rate of Adam")
    lr_step: int = at_least(1, 10, "epochs between divisions of the learning rate by 10")
    weight_decay: float = not_negative(1e-5, "L2 term")
    absolute: bool = flag(True, "take the absolute value of position scores, as the release does")
    gamma: float = not_negative(2.0, "how much less images count that are classified well already")
    adapter: int = not_negative(32, "hidden width of the residual adapter; 0 leaves it out")
    shrinkage: float = share(0.02, "of the whitening of the normals' position vectors")

    def fit(self, data: TrainingData) -> State:
        """Train adapter and head; all tensors of the model are returned."""
        return train_head(data, self, self._loss, aim=not self.absolute)

    def score(self, state: State, images: ImageSet) -> Scores:
        """Return the logits (n,) and those of the positions (n, h, w)."""
        return score_maps(state, images, absolute=self.absolute)

    def _loss(self, state: State, batch: Batch) -> torch.Tensor:
        logits = averaged([image_scores(state, x, absolute=self.absolute) for x in batch.scales])
        return focal_loss(logits, batch.labels > 0, gamma=self.gamma)


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """Compute the focal loss, mean of -(1 - p_t)^gamma log p_t, p_t that of the true class.

    Args:
        logits: (n,) float32, of class 1.
        targets: (n,) in {0, 1}.
        gamma: 0 gives the cross-entropy; the larger, the less well classified images count.

    Source:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017 (arXiv 1708.02002), eq. 5,
        with alpha = 1 for both classes.

    Example:
        >>> import torch
        >>> focal_loss(torch.tensor([0.0, 0.0]), torch.tensor([0, 1]), gamma=2)  # log(2) / 4
        tensor(0.1733)
    """
    wrong = torch.where(targets.bool(), -logits, logits)  # 1 - p_t = sigmoid(wrong)
    return (torch.sigmoid(wrong) ** gamma * F.softplus(wrong)).mean()
