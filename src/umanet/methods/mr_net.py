"""MRNet: the network is told how much each annotator is to be believed, redraws what each of them would say, and looks
again where these differ.

Reference:
    Ji et al.: "Learning Calibrated Medical Image Segmentation via Multi-rater Agreement Modeling", CVPR 2021,
    DOI 10.1109/CVPR46437.2021.01216.

Changed: belief is embedded in the decoder's features by scale and shift, where the paper uses a recurrent layer at the
bottleneck, and the attention multiplies features with one plus the spread of the redrawn annotations: so that all
methods have one backbone, and in 3D too. In training beliefs are random for every image, among those who annotated it
(the paper's data have all annotations of all images); for predictions all are believed alike. The released code
learns in each step with one annotator, with random and with equal beliefs, trains redrawing and attention by optimisers
of their own without gradient to the features, and has a term of reconstruction. All that is left out; the equal beliefs
that ours predicts with are only the mean of those that it is taught with.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import annotation_loss, segmentation_loss, shown_where, weighted_consensus
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone, Predictor
from umanet.models.layers import CONVOLUTION
from umanet.types import Batch, Prediction, Task, as_index


class Belief(nn.Module):
    """Features to features that know how much each annotator is believed."""

    def __init__(self, task: Task, features: int):
        super().__init__()
        self.scale, self.shift = (nn.Parameter(torch.zeros(len(task.annotators), features)) for _ in range(2))

    def forward(
        self, features: Float[Tensor, "B F *spatial"], belief: Float[Tensor, "B R"]
    ) -> Float[Tensor, "B F *spatial"]:
        over_space = *features.shape[:2], *[1] * (features.ndim - 2)
        scale, shift = ((belief @ own).view(over_space) for own in (self.scale, self.shift))
        return features * (1 + scale) + shift


class Redrawing(nn.Module):
    """Features and a first guess to logits of what each annotator would say."""

    def __init__(self, task: Task, features: int):
        super().__init__()
        self.shape = len(task.annotators), task.num_classes
        self.layer = CONVOLUTION[task.spatial_dims](
            features + task.num_classes, len(task.annotators) * task.num_classes, 1
        )

    def forward(
        self, features: Float[Tensor, "B F *spatial"], guess: Float[Tensor, "B K *spatial"]
    ) -> Float[Tensor, "B R K *spatial"]:
        return self.layer(torch.cat([features, guess.to(features.dtype)], 1)).float().unflatten(1, self.shape)


@final
class MRNet(Method):
    """Backbone, belief, a first predictor, the redrawing, and the primary predictor, which looks again."""

    deployed = ("backbone", "primary", "belief", "first", "redrawing")
    per_annotator, needs_identity = True, True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        features, self.drawn = config.backbone.features, task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.belief = Belief(task, features)
        self.first, self.primary = (Predictor(task, features) for _ in range(2))
        self.redrawing = Redrawing(task, features)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        belief = torch.rand(batch.present.shape, device=batch.image.device) * batch.present
        belief = belief / belief.sum(1, keepdim=True).clamp_min(1e-6)
        first, redrawn, final_logits = self._forward(batch.image, belief)
        weights = shown_where(batch.annotations, batch.present) * belief.view(*belief.shape, *[1] * (first.ndim - 2))
        probabilities = final_logits.detach().float().softmax(1)
        target = weighted_consensus(
            as_index(batch.annotations), weights, torch.zeros_like(probabilities), probabilities, self.drawn
        )
        return {
            "segmentation": segmentation_loss(final_logits, target),
            "first": 0.5 * segmentation_loss(first, target),
            "annotators": 0.5 * annotation_loss(redrawn.log_softmax(2), batch.annotations, batch.present, self.drawn),
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        annotators = len(self.belief.scale)
        belief = torch.full((len(image), annotators), 1 / annotators, device=image.device)
        _, redrawn, final_logits = self._forward(image, belief)
        return Prediction(final_logits.float().softmax(1), redrawn.softmax(2))

    def _forward(
        self, image: Float[Tensor, "B C *spatial"], belief: Float[Tensor, "B R"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        features = self.belief(self.backbone(image), belief)
        first = self.first(features)
        redrawn = self.redrawing(features, first.float().softmax(1))
        spread = redrawn.softmax(2).std(1, correction=0).sum(1, keepdim=True)
        return first, redrawn, self.primary(features * (1 + spread.to(features.dtype)))
