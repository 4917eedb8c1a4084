"""Co-teaching: of two networks each learns what the other finds easy, for what is hard to learn may be wrong.

Reference:
    Han et al.: "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018,
    DOI 10.48550/arXiv.1804.06872.

Changed: images are labelled with the majority vote, as the paper has one label; which are hard is told by the mean
cross-entropy over their voxels, as a Dice loss would call small objects hard. So many are left out that it is the right
share in the mean, as batches are small. The first network is released, so that prediction costs what it does elsewhere.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from umanet.config import RunConfig
from umanet.losses import segmentation_loss
from umanet.methods.fused_target import Fuser
from umanet.methods.method import Method
from umanet.models import Backbone, Predictor
from umanet.types import Batch, Prediction, Sample, Task


@final
class CoTeaching(Method):
    """Two networks of backbone and predictor."""

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        self.options = config.co_teaching
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.other = nn.Sequential(Backbone(task, config.backbone), Predictor(task, config.backbone.features))
        self.fuse = Fuser("majority", task, config)

    def target(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"]:
        return self.fuse(sample, epoch)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        assert batch.target is not None  # the data set calls target()
        forget = self.options.forget * min(1.0, progress / self.options.warm_up)
        mine, others = self.primary(self.backbone(batch.image)), self.other(batch.image)
        return {
            "segmentation": segmentation_loss(mine, batch.target, use=_easy(others, batch.target, forget)),
            "other": segmentation_loss(others, batch.target, use=_easy(mine, batch.target, forget)),
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        return Prediction(self.primary(self.backbone(image)).float().softmax(1))


@torch.no_grad()
def _easy(
    logits: Float[Tensor, "B K *spatial"], target: Float[Tensor, "B K *spatial"], forget: float
) -> Bool[Tensor, " B"]:
    """All images but those with the largest losses, which are this share of all in the mean."""
    losses = functional.cross_entropy(logits.float(), target, reduction="none").flatten(1).sum(1)
    losses /= target.sum(1).flatten(1).sum(1).clamp_min(1)
    easy = torch.ones_like(losses, dtype=torch.bool)
    easy[losses.topk(int(forget * len(losses) + float(torch.rand(())))).indices] = False
    return easy
