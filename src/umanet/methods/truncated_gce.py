"""Truncated generalised cross-entropy, with a map of how far each annotator can be trusted in each voxel.

``sum over r of L_r GCE(p, y_r) + (1 - L_r) c`` with ``GCE = (1 - p(y_r)^q) / q`` and ``c = (1 - K^-q) / q``, its value
at a uniform prediction: where an annotation is not to be trusted the loss is constant, and teaches nothing.

Reference:
    Triana-Martinez et al.: "Chained Deep Learning Using Generalized Cross-Entropy for Multiple Annotators
    Classification", Sensors 23(7), 2023, DOI 10.3390/s23073518, has the reliability per annotator; Zhang, Sabuncu:
    "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018,
    DOI 10.48550/arXiv.1805.07836, the loss. The package seg_tgce (2025) has both for segmentation, and we know of no
    paper about that; nothing of its code was used.

Changed against seg_tgce: q is 0.5 (0.1 there); the loss of a voxel is that of the class drawn (a mean over classes
there, so that its constant counts K times as much); trust starts high, as nothing is learned where it is low. As there,
trust is one layer on the features that the predictor sees, without a Dice term.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import for_all, log_probability_of, shown_where
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone, Predictor
from umanet.models.layers import CONVOLUTION
from umanet.types import Batch, Prediction, Task

START = 2.0
"""Logit of the trust at the start: 0.88."""


class Trust(nn.Module):
    """Features to the logit of "this annotator can be trusted here"."""

    def __init__(self, task: Task, features: int):
        super().__init__()
        self.layer = CONVOLUTION[task.spatial_dims](features, len(task.annotators), 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.constant_(self.layer.bias, START)  # type: ignore[arg-type]  # has a bias

    def forward(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B R *spatial"]:
        return self.layer(features)


@final
class TruncatedGCE(Method):
    """Backbone, primary predictor, and the trust in annotators."""

    needs_identity = True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        self.q, self.drawn = config.truncated_gce.q, task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.trust = Trust(task, config.backbone.features)
        self.constant = (1 - task.num_classes**-self.q) / self.q

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        features = self.backbone(batch.image)
        said = self.primary(features).float().log_softmax(1)
        right = log_probability_of(for_all(said, batch.annotations), batch.annotations, self.drawn)
        trust = torch.sigmoid(self.trust(features).float())
        each = trust * (1 - (self.q * right).exp()) / self.q + (1 - trust) * self.constant
        shown = shown_where(batch.annotations, batch.present)
        return {"segmentation": (each * shown).sum() / shown.sum().clamp_min(1)}

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        return Prediction(self.primary(self.backbone(image)).float().softmax(1))
