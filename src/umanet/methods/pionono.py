"""Pionono: a normal distribution of the latent space per annotator: how they draw, and how far they differ from
themselves.

Reference:
    Schmidt, Morales-Alvarez, Molina: "Probabilistic Modeling of Inter- and Intra-observer Variability in Medical Image
    Segmentation", ICCV 2023, DOI 10.48550/arXiv.2307.11397.

Changed: dimensions are independent (the paper learns a covariance), so that no matrix has to stay positive definite;
every step learns from all annotations, where the paper draws one: all methods see as many. As there, a gold annotator
who draws the majority vote is learned too, and predicted: at the mean of its distribution, in the released code as a
mean over samples. One sample a step (5 there), and no L2 term on the networks that see it.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from umanet.config import RunConfig
from umanet.losses import annotation_loss, segmentation_loss
from umanet.methods.fused_target import Fuser
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone
from umanet.models.latent import LARGEST_LOG, FixedNoise, LatentPredictor
from umanet.types import Batch, Prediction, Sample, Task


class Styles(nn.Module):
    """A normal distribution per annotator, and last that of the gold annotator."""

    def __init__(self, task: Task, dimensions: int):
        super().__init__()
        self.mean = nn.Parameter(torch.randn(len(task.annotators) + 1, dimensions))
        self.log = nn.Parameter(torch.full((len(task.annotators) + 1, dimensions), -1.0))

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
        self.fuse = Fuser("majority", task, config)

    def target(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"]:
        return self.fuse(sample, epoch)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        assert batch.target is not None  # the data set calls target()
        styles = self.styles()
        drawn = styles.rsample(torch.Size([len(batch.image)]))
        said = self.primary(self.backbone(batch.image), drawn).float()
        usual = Normal(torch.zeros_like(styles.loc), torch.ones_like(styles.scale))
        often = functional.pad(batch.present.float().mean(0), (0, 1), value=1.0)
        divergence = (kl_divergence(styles, usual).sum(1) * often).sum() / often.sum()
        voxels = batch.annotations[0, 0].numel()
        own = said[:, :-1].log_softmax(2)
        return {
            "segmentation": annotation_loss(own, batch.annotations, batch.present, self.drawn),
            "gold": segmentation_loss(said[:, -1], batch.target),
            "divergence": self.options.beta * divergence / voxels,
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        styles, features = self.styles(), self.backbone(image)
        everybody = self._probabilities(features, styles.loc)
        # Annotators take turns.
        who = torch.arange(len(self.noise.values), device=image.device) % (len(styles.loc) - 1)
        samples = self._probabilities(features, styles.loc[who] + styles.scale[who] * self.noise.values)
        return Prediction(everybody[:, -1], everybody[:, :-1], samples)

    def _probabilities(
        self, features: Float[Tensor, "B F *spatial"], points: Float[Tensor, "N L"]
    ) -> Float[Tensor, "B N K *spatial"]:
        return self.primary(features, points.expand(len(features), *points.shape)).float().softmax(2)
