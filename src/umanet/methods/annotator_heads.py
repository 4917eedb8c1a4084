"""A predictor per annotator on a shared backbone; what is predicted is their mean.

Reference:
    Guan et al.: "Who Said What: Modeling Individual Labelers Improves Classification", AAAI 2018,
    DOI 10.1609/aaai.v32i1.11756.

Changed: segmentation in place of classification, as that is the task here; equal weights of the annotators in the mean,
as the paper learns them from cases of which the truth is known, and here none is. All heads start alike, so that the
order of annotators means nothing.
"""

import copy
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import annotation_loss
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone, Predictor
from umanet.types import Batch, Prediction, Task


class Heads(nn.Module):
    """A predictor per annotator."""

    def __init__(self, task: Task, features: int):
        super().__init__()
        first = Predictor(task, features)
        self.of_annotator = nn.ModuleList(copy.deepcopy(first) for _ in task.annotators)

    def forward(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B R K *spatial"]:
        return torch.stack([head(features) for head in self.of_annotator], 1)


@final
class AnnotatorHeads(Method):
    """Backbone and heads."""

    deployed = ("backbone", "primary")
    per_annotator = True
    needs_identity = True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        self.drawn = task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.primary = Heads(task, config.backbone.features)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        said = self.primary(self.backbone(batch.image)).float().log_softmax(2)
        return {"segmentation": annotation_loss(said, batch.annotations, batch.present, self.drawn)}

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        said = self.primary(self.backbone(image)).float().softmax(2)
        return Prediction(said.mean(1), said)
