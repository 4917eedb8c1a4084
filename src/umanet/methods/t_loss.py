"""T-Loss: errors of a prediction have heavy tails, whose weight is learned, so that bad targets count less.

Reference:
    Gonzalez-Jimenez et al.: "Robust T-Loss for Medical Image Segmentation", MICCAI 2023,
    DOI 10.1007/978-3-031-43898-1_68.

Changed: the target is the majority vote, as there are several annotations; several classes are one vector of errors,
for data with more than one, of which the background is one (so a binary task has each error twice; one channel as
published); the degrees of freedom stay above 1e-3 (released: 1e-8); the loss is divided by the length of that vector,
so that one learning rate suits all sizes. As published there is no Dice term.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import HALF
from umanet.methods.fused_target import Fuser
from umanet.methods.method import Method
from umanet.models import Backbone, Predictor
from umanet.types import Batch, Prediction, Sample, Task

LEAST = 1e-3


class Tails(nn.Module):
    """Degrees of freedom of Student's t-distribution: the fewer, the heavier its tails."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self) -> Float[Tensor, ""]:
        return self.log.exp() + LEAST


@final
class TLoss(Method):
    """Backbone, primary predictor, and the tails of its errors."""

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.tails = Tails()
        self.fuse = Fuser("majority", task, config)

    def target(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"]:
        return self.fuse(sample, epoch)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        assert batch.target is not None  # the data set calls target()
        probabilities = self.primary(self.backbone(batch.image)).float().softmax(1)
        known = batch.target.sum(1, keepdim=True) > HALF
        squares = ((batch.target - probabilities).square() * known).flatten(1).sum(1)
        length = known.flatten(1).sum(1).clamp_min(1) * probabilities.shape[1]
        nu = self.tails()
        constant = torch.lgamma(nu / 2) - torch.lgamma((nu + length) / 2) + length / 2 * (math.pi * nu).log()
        return {"segmentation": ((constant + (nu + length) / 2 * (squares / nu).log1p()) / length).mean()}

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        return Prediction(self.primary(self.backbone(image)).float().softmax(1))
