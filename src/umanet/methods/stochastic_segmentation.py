"""Stochastic segmentation networks: logits are normal with a covariance of low rank, so that samples are whole
annotations whose voxels belong together.

Reference:
    Monteiro et al.: "Stochastic Segmentation Networks: Modelling Spatially Correlated Aleatoric Uncertainty",
    NeurIPS 2020, DOI 10.48550/arXiv.2006.06015.

Changed: every annotation of an image is one observation; the Dice semimetric of the mean logits is added, as all
methods here have it. Probabilities are those of the mean logits. Samples for predictions are always the same ones, and
without the diagonal part of the covariance, which is noise from voxel to voxel.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import annotation_dice, for_all, log_probability_of, shown_where
from umanet.methods.method import Method
from umanet.models import Backbone, Predictor
from umanet.models.latent import LARGEST_LOG, FixedNoise
from umanet.models.layers import CONVOLUTION
from umanet.types import Batch, Prediction, Task

START = -4.0
"""Logarithm of the variance of a logit at the start, where there is no covariance either: first learn the mean."""


class Spread(nn.Module):
    """Features to the factor of low rank and the diagonal (as a standard deviation) of the covariance of logits."""

    def __init__(self, task: Task, features: int, rank: int):
        super().__init__()
        self.shape = rank, task.num_classes
        convolution = CONVOLUTION[task.spatial_dims]
        self.factor = convolution(features, rank * task.num_classes, 1)
        self.diagonal = convolution(features, task.num_classes, 1)
        for layer, start in ((self.factor, 0.0), (self.diagonal, START)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, start)  # type: ignore[arg-type]  # has a bias

    def forward(
        self, features: Float[Tensor, "B F *spatial"]
    ) -> tuple[Float[Tensor, "B N K *spatial"], Float[Tensor, "B K *spatial"]]:
        diagonal = self.diagonal(features).float().clamp(-LARGEST_LOG, LARGEST_LOG).exp()
        return self.factor(features).float().unflatten(1, self.shape), diagonal.sqrt()


@final
class StochasticSegmentation(Method):
    """Backbone, primary predictor (the mean logits), and their covariance."""

    deployed = ("backbone", "primary", "spread", "noise")
    samples = True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        self.options, self.drawn = config.stochastic, task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.spread = Spread(task, config.backbone.features, self.options.rank)
        self.noise = FixedNoise(self.options.samples, self.options.rank)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        features = self.backbone(batch.image)
        mean = self.primary(features).float()
        factor, diagonal = self.spread(features)
        shown = shown_where(batch.annotations, batch.present)
        draws = []
        for _ in range(self.options.draws):
            along = torch.randn(len(mean), self.options.rank, device=mean.device)
            logits = mean + _along(factor, along[:, None])[:, 0] + diagonal * torch.randn_like(mean)
            said = for_all(logits.log_softmax(1), batch.annotations)
            draws.append((log_probability_of(said, batch.annotations, self.drawn) * shown).flatten(2).sum(2))
        likelihood = torch.stack(draws).logsumexp(0) - math.log(self.options.draws)
        expected = for_all(mean.softmax(1), batch.annotations)
        dice = annotation_dice(expected, batch.annotations, batch.present, self.drawn)
        return {"segmentation": dice - (likelihood * batch.present).sum() / shown.sum().clamp_min(1)}

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        features = self.backbone(image)
        factor, _ = self.spread(features)
        offsets = _along(factor, self.noise.values.expand(len(image), *self.noise.values.shape))
        samples = (self.primary(features).float()[:, None] + offsets).softmax(2)
        return Prediction(self.primary(features).float().softmax(1), samples=samples)


def _along(factor: Float[Tensor, "B N K *spatial"], noise: Float[Tensor, "B M N"]) -> Float[Tensor, "B M K *spatial"]:
    return torch.einsum("bnk...,bmn->bmk...", factor, noise)
