"""D-Persona: a Probabilistic U-Net whose samples reach from what all drew to what any drew, and an attention per
annotator that finds in its latent space how this one draws.

Reference:
    Wu et al.: "Diversified and Personalized Multi-rater Medical Image Segmentation", CVPR 2024,
    DOI 10.48550/arXiv.2403.13417.

Changed: both stages are trained at once, so that the budget is that of the other methods; the attention sees features
and latent space without gradient, as the paper freezes them, while the predictor that both stages share learns from
both. Every step learns from all annotations, the released first stage from one at random. The posterior sees one
annotation at a time, the released one all at once. An annotator's query is linear in the mean features, the released
one convolutional, and its attention is over 8 samples of the prior in training and as many as are asked for (16) in
prediction, released: 100. The bound is on the highest and the lowest probability among samples, by cross-entropy. What
is predicted is the mean over annotators.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn import functional

from umanet.config import RunConfig
from umanet.losses import annotation_loss, shown_where, who_draws
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone
from umanet.models.latent import FixedNoise, LatentEncoder, LatentPredictor, onehot, with_annotations
from umanet.types import Batch, Prediction, Task

BANK = 8
"""Samples of the prior in a step of the training."""


class Personas(nn.Module):
    """Per annotator: which of the samples of a latent space is theirs, as attention, for the features of an image."""

    def __init__(self, task: Task, features: int, dimensions: int):
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(len(task.annotators), features + 1, dimensions))

    def forward(self, features: Float[Tensor, "B F *spatial"], bank: Float[Tensor, "B M L"]) -> Float[Tensor, "B R L"]:
        mean = functional.pad(features.float().flatten(2).mean(2), (0, 1), value=1.0)
        queries = torch.einsum("bf,rfl->brl", mean, self.queries)
        return (queries @ bank.mT).softmax(2) @ bank


@final
class Persona(Method):
    """Backbone, prior and posterior of the latent space, a predictor that sees a sample of it, and the personas."""

    deployed = ("backbone", "primary", "prior", "noise", "personas")
    per_annotator, samples, needs_identity = True, True, True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        self.options, self.drawn, self.num_classes = config.latent, task.drawn, task.num_classes
        size, channels, features = self.options.dimensions, config.backbone.channels, config.backbone.features
        self.backbone = Backbone(task, config.backbone)
        self.primary = LatentPredictor(task, features, size)
        self.prior = LatentEncoder(task.spatial_dims, len(task.channels), channels, size)
        self.posterior = LatentEncoder(task.spatial_dims, len(task.channels) + self.num_classes, channels, size)
        self.personas = Personas(task, features, size)
        self.noise = FixedNoise(self.options.samples, size)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        images, annotators = batch.present.shape
        shown = onehot(batch.annotations, self.num_classes)
        prior, posterior = self.prior(batch.image), self.posterior(with_annotations(batch.image, shown))
        features = self.backbone(batch.image)
        drawn = posterior.rsample().unflatten(0, (images, annotators))
        said = self.primary(features, drawn).float().log_softmax(2)
        before = type(prior)(*(value.repeat_interleave(annotators, 0) for value in (prior.loc, prior.scale)))
        divergence = kl_divergence(posterior, before).sum(1).view(images, annotators)
        bank = prior.rsample(torch.Size([BANK])).movedim(0, 1)
        diverse = self.primary(features, bank).float().softmax(2)
        own = self.personas(features.detach(), bank.detach())
        personal = self.primary(features.detach(), own).float().log_softmax(2)
        voxels = batch.annotations[0, 0].numel()
        return {
            "segmentation": annotation_loss(said, batch.annotations, batch.present, self.drawn),
            "divergence": self.options.beta * divergence[batch.present].mean() / voxels,
            "bound": self._bound(diverse, shown, batch),
            "personal": annotation_loss(personal, batch.annotations, batch.present, self.drawn),
        }

    def _bound(
        self, diverse: Float[Tensor, "B M K *spatial"], said: Float[Tensor, "B R K *spatial"], batch: Batch
    ) -> Float[Tensor, ""]:
        """The highest probability of a foreground class among samples is its union, the lowest its intersection."""
        shown = shown_where(batch.annotations, batch.present)[:, :, None]
        union = (said * shown).amax(1)[:, 1:]
        draws = who_draws(self.drawn, *said.shape[1:3]).to(said.device)
        shown = shown & draws.view(*draws.shape, *[1] * (said.ndim - 3))
        intersection = torch.where(shown, said, 1.0).amin(1)[:, 1:]
        known = shown.any(1)[:, 1:].expand_as(union)
        terms = [
            functional.binary_cross_entropy(found[:, 1:].clamp(1e-6, 1 - 1e-6), target, reduction="none")
            for found, target in ((diverse.amax(1), union), (diverse.amin(1), intersection))
        ]
        return (sum(terms) * known).sum() / known.sum().clamp_min(1) / 2

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        features, prior = self.backbone(image), self.prior(image)
        bank = prior.loc[:, None] + prior.scale[:, None] * self.noise.values
        personal = self.primary(features, self.personas(features, bank)).float().softmax(2)
        return Prediction(personal.mean(1), personal, self.primary(features, bank).float().softmax(2))
