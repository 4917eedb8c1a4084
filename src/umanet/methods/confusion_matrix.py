"""CM-Net: the truth as one network sees it, and a confusion matrix per annotator and voxel that explains the rest.

Reference:
    Zhang et al.: "Disentangling Human Error from the Ground Truth in Segmentation of Medical Images", NeurIPS 2020,
    DOI 10.48550/arXiv.2007.15963.

Changed: cross-entropy is taken of log-probabilities (the released loss applies a second softmax to probabilities), and
the Dice semimetric of every annotator is added, as all methods here have it. Matrices see features without gradient,
start near the identity, and are left there for the first steps: otherwise they learn the segmentation in place of the
network. ``confusion_matrix.matrices = "global"`` has one matrix per annotator for all voxels.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.losses import annotation_loss
from umanet.methods.method import Method, require_identified
from umanet.models import Backbone, Predictor
from umanet.models.layers import CONVOLUTION
from umanet.types import Batch, Prediction, Task

START = 4.0
"""Logit of the diagonal at the start: with two classes an annotator is right with a probability of 0.98."""


class ConfusionMatrices(nn.Module):
    """Features to P(annotator says j | the truth is k), per annotator, and per voxel or alike for all."""

    def __init__(self, task: Task, features: int, *, per_voxel: bool):
        super().__init__()
        annotators, classes = len(task.annotators), task.num_classes
        self.shape = annotators, classes, classes
        self.bias = nn.Parameter((START * torch.eye(classes)).repeat(annotators, 1, 1))
        self.layer = None
        if per_voxel:
            self.layer = CONVOLUTION[task.spatial_dims](features, annotators * classes**2, 1, bias=False)
            nn.init.zeros_(self.layer.weight)

    def forward(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B R K K *spatial"]:
        """Axes: annotator, what is said, what is true."""
        bias = self.bias.view(1, *self.shape, *[1] * (features.ndim - 2))
        logits = bias if self.layer is None else bias + self.layer(features).unflatten(1, self.shape)
        return logits.float().softmax(2).expand(len(features), *self.shape, *features.shape[2:])


@final
class ConfusionMatrix(Method):
    """Backbone, primary predictor, and matrices that are dropped where only the segmentation is wanted."""

    deployed = ("backbone", "primary", "matrices")
    per_annotator = True
    needs_identity = True
    has_idle_parts = True  # the matrices, before they learn

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        require_identified(task, config.method)
        self.options, self.drawn = config.confusion_matrix, task.drawn
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.matrices = ConfusionMatrices(task, config.backbone.features, per_voxel=self.options.matrices == "voxel")

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        features = self.backbone(batch.image)
        matrices = self.matrices(features.detach())
        if progress < self.options.warm_up:
            matrices = matrices.detach()
        said = _said(matrices, self.primary(features).float().softmax(1))
        trace = torch.einsum("brkk...->br...", matrices)
        mean = trace.flatten(2).mean(2)[batch.present].mean()
        return {
            "segmentation": annotation_loss(said.clamp_min(1e-8).log(), batch.annotations, batch.present, self.drawn),
            "trace": self.options.trace * mean,
        }

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        features = self.backbone(image)
        probabilities = self.primary(features).float().softmax(1)
        return Prediction(probabilities, _said(self.matrices(features), probabilities))


def _said(
    matrices: Float[Tensor, "B R K K *spatial"], probabilities: Float[Tensor, "B K *spatial"]
) -> Float[Tensor, "B R K *spatial"]:
    return torch.einsum("brjk...,bk...->brj...", matrices, probabilities)
