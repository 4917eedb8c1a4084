"""Probabilistic U-Net: a latent space of all ways to annotate an image; a sample of it gives one whole annotation.

Reference:
    Kohl et al.: "A Probabilistic U-Net for Segmentation of Ambiguous Images", NeurIPS 2018,
    DOI 10.48550/arXiv.1806.05034.

Changed: every step learns from all annotations of an image, where the paper draws one; the Dice semimetric is added to
the reconstruction, as all methods here have it; samples for predictions are always the same ones; standard deviations
lie between e^-2 and e^2, as without a bound the divergence became huge in our trials and the prior useless from there
on.
"""

from typing import final

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from umanet.config import RunConfig
from umanet.losses import annotation_loss
from umanet.methods.method import Method
from umanet.models import Backbone
from umanet.models.latent import FixedNoise, LatentEncoder, LatentPredictor, onehot, with_annotations
from umanet.types import Batch, Prediction, Task

LARGEST_LOG = 2.0
"""Of a standard deviation of prior and posterior."""


@final
class ProbUNet(Method):
    """Backbone, prior and posterior of the latent space, and a predictor that sees a sample of it."""

    deployed = ("backbone", "primary", "prior", "noise")
    samples = True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        self.options, self.drawn, self.num_classes = config.latent, task.drawn, task.num_classes
        size, channels = self.options.dimensions, config.backbone.channels
        self.backbone = Backbone(task, config.backbone)
        self.primary = LatentPredictor(task, config.backbone.features, size)
        self.prior = LatentEncoder(task.spatial_dims, len(task.channels), channels, size)
        self.posterior = LatentEncoder(task.spatial_dims, len(task.channels) + self.num_classes, channels, size)
        self.noise = FixedNoise(self.options.samples, size)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        images, annotators = batch.present.shape
        shown = onehot(batch.annotations, self.num_classes)
        prior = _bounded(self.prior(batch.image))
        posterior = _bounded(self.posterior(with_annotations(batch.image, shown)))
        drawn = posterior.rsample().unflatten(0, (images, annotators))
        said = self.primary(self.backbone(batch.image), drawn).float().log_softmax(2)
        before = Normal(prior.loc.repeat_interleave(annotators, 0), prior.scale.repeat_interleave(annotators, 0))
        divergence = kl_divergence(posterior, before).sum(1).view(images, annotators)
        voxels = batch.annotations[0, 0].numel()
        return {
            "segmentation": annotation_loss(said, batch.annotations, batch.present, self.drawn),
            "divergence": self.options.beta * divergence[batch.present].mean() / voxels,
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        prior = _bounded(self.prior(image))
        points = prior.loc[:, None] + prior.scale[:, None] * self.noise.values
        samples = self.primary(self.backbone(image), points).float().softmax(2)
        return Prediction(samples.mean(1), samples=samples)


def _bounded(wide: Normal) -> Normal:
    """Smoothly, so that there is a gradient back from the bound."""
    return Normal(wide.loc, (LARGEST_LOG * (wide.scale.log() / LARGEST_LOG).tanh()).exp())
