"""Pionono: a normal distribution of the latent space per annotator: how they draw, and how far they differ from
themselves.

Reference:
    Schmidt, Morales-Alvarez, Molina: "Probabilistic Modeling of Inter- and Intra-observer Variability in Medical Image
    Segmentation", ICCV 2023, DOI 10.48550/arXiv.2307.11397.

Changed: dimensions are independent (the paper learns a covariance); every step learns from all annotations, where the
paper draws one; what is predicted is the mean over annotators, where the paper adds a gold annotator by majority vote.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from umanet.config import RunConfig
from umanet.losses import annotation_loss
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone
from umanet.models.latent import LARGEST_LOG, FixedNoise, LatentPredictor
from umanet.types import Batch, Prediction, Task


class Styles(nn.Module):
    """A normal distribution per annotator."""

    def __init__(self, task: Task, dimensions: int):
        super().__init__()
        self.mean = nn.Parameter(torch.randn(len(task.annotators), dimensions))
        self.log = nn.Parameter(torch.full((len(task.annotators), dimensions), -1.0))

    def forward(self) -> Normal:
        return Normal(self.mean, self.log.clamp(-LARGEST_LOG, LARGEST_LOG).exp())


@final
class Pionono(Method):
    """Backbone, a predictor that sees a sample of an annotator's style, and the styles."""

    deployed = ("backbone", "primary", "styles", "noise")
    per_annotator, samples, needs_identity = True, True, True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        self.options, self.drawn = config.latent, task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.primary = LatentPredictor(task, config.backbone.features, self.options.dimensions)
        self.styles = Styles(task, self.options.dimensions)
        self.noise = FixedNoise(self.options.samples, self.options.dimensions)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        styles = self.styles()
        drawn = styles.rsample(torch.Size([len(batch.image)]))
        said = self.primary(self.backbone(batch.image), drawn).float().log_softmax(2)
        usual = Normal(torch.zeros_like(styles.loc), torch.ones_like(styles.scale))
        divergence = kl_divergence(styles, usual).sum(1) * batch.present.float().mean(0)
        voxels = batch.annotations[0, 0].numel()
        return {
            "segmentation": annotation_loss(said, batch.annotations, batch.present, self.drawn),
            "divergence": self.options.beta * divergence.sum() / voxels,
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        styles, features = self.styles(), self.backbone(image)
        personal = self._probabilities(features, styles.loc)
        # Annotators take turns.
        who = torch.arange(len(self.noise.values), device=image.device) % len(styles.loc)
        samples = self._probabilities(features, styles.loc[who] + styles.scale[who] * self.noise.values)
        return Prediction(personal.mean(1), personal, samples)

    def _probabilities(
        self, features: Float[Tensor, "B F *spatial"], points: Float[Tensor, "N L"]
    ) -> Float[Tensor, "B N K *spatial"]:
        return self.primary(features, points.expand(len(features), *points.shape)).float().softmax(2)
