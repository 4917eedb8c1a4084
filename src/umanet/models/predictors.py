"""Predictors: features to classes."""

from jaxtyping import Float
from torch import Tensor, nn

from umanet.models.layers import CONVOLUTION, INSTANCE_NORM
from umanet.types import Task


class Predictor(nn.Module):
    """Features to logits per class. The primary and the auxiliary predictor are two of these on one backbone."""

    def __init__(self, task: Task, features: int):
        super().__init__()
        convolution, norm = CONVOLUTION[task.spatial_dims], INSTANCE_NORM[task.spatial_dims]
        self.layers = nn.Sequential(
            convolution(features, features, 3, padding=1, bias=False),
            norm(features, affine=True),
            nn.LeakyReLU(0.1),
            convolution(features, task.num_classes, 1),
        )

    def forward(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B K *spatial"]:
        return self.layers(features)
