"""PADL: what all annotators mean, what each of them prefers, and by how much either is off by chance.

Reference:
    Liao et al.: "Modeling annotator preference and stochastic annotation error for medical image segmentation",
    Medical Image Analysis 92, 2024, 103028, DOI 10.1016/j.media.2023.103028.

Changed: preferences and errors are layers on the features of one backbone, in place of blocks of their own, as the
backbone is that of all methods; the meta segmentation learns the mean of the annotations that there are, since not all
annotate every image; one draw of the errors a step, as quick as other methods; errors have one deviation for all
classes (released: per class), and no attention by the entropy of the meta segmentation.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import annotation_loss, segmentation_loss, shown_where, weighted_consensus
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone, Predictor
from umanet.models.latent import LARGEST_LOG
from umanet.models.layers import CONVOLUTION
from umanet.types import Batch, Prediction, Task, as_index

START = -2.0
"""Logarithm of the deviation of a logit at the start."""


class Preferences(nn.Module):
    """Features to what each annotator's logits have more than those of all, and the deviation of both."""

    def __init__(self, task: Task, features: int):
        super().__init__()
        convolution, self.annotators, self.classes = (
            CONVOLUTION[task.spatial_dims],
            len(task.annotators),
            task.num_classes,
        )
        self.offset = convolution(features, self.annotators * self.classes, 1)
        self.log = convolution(features, self.annotators + 1, 1)
        for layer, start in ((self.offset, 0.0), (self.log, START)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, start)  # type: ignore[arg-type]  # has a bias

    def offsets(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B R K *spatial"]:
        return self.offset(features).float().unflatten(1, (self.annotators, self.classes))

    def deviations(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B N 1 *spatial"]:
        """Of the annotators, and last of all together; the same for all classes."""
        return self.log(features).float().clamp(-LARGEST_LOG, LARGEST_LOG).exp()[:, :, None]


@final
class PADL(Method):
    """Backbone, primary predictor (the meta segmentation) and preferences."""

    deployed = ("backbone", "primary", "preferences")
    per_annotator, needs_identity = True, True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        self.drawn = task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.preferences = Preferences(task, config.backbone.features)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        features = self.backbone(batch.image)
        meta = self.primary(features).float()
        own = meta[:, None] + self.preferences.offsets(features)
        deviations = self.preferences.deviations(features)
        own = own + deviations[:, :-1] * torch.randn_like(own)
        probabilities = meta.detach().softmax(1)
        shown = shown_where(batch.annotations, batch.present).float()
        target = weighted_consensus(
            as_index(batch.annotations), shown, torch.zeros_like(probabilities), probabilities, self.drawn
        )
        return {
            "segmentation": segmentation_loss(meta + deviations[:, -1] * torch.randn_like(meta), target),
            "annotators": annotation_loss(own.log_softmax(2), batch.annotations, batch.present, self.drawn),
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        features = self.backbone(image)
        meta = self.primary(features).float()
        return Prediction(meta.softmax(1), (meta[:, None] + self.preferences.offsets(features)).softmax(2))
