"""Predictors: features to classes."""

from typing import Any

import torch
from jaxtyping import Float, Integer
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


def features_of(
    features: Float[Tensor, "B F *spatial"], images: Integer[Tensor, " N"]
) -> Float[Tensor, "N F *spatial"]:
    """Those of some images, ascending, of ``shared`` features; no gradient of zeros is added up for all others."""
    found = _FeaturesOf.apply(features, images)
    assert isinstance(found, Tensor)
    return found


def shared(features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B F *spatial"]:
    """The same, for several predictors, of which some may see some images only (``features_of``)."""
    found = _Shared.apply(features)
    assert isinstance(found, Tensor)
    return found


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].to_dense() if gradients[0].is_sparse else gradients[0]


class _FeaturesOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, images: Tensor) -> Tensor:
        ctx.save_for_backward(images)
        ctx.shape = features.shape
        return features.index_select(0, images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        at = ctx.saved_tensors[0][None]
        return torch.sparse_coo_tensor(at, gradients[0], ctx.shape, check_invariants=False, is_coalesced=True), None
