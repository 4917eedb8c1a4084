"""Latent spaces: an image (and an annotation) to a normal distribution, and features with a sample of it to classes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from umanet.models.layers import CONVOLUTION
from umanet.types import Task

LARGEST_LOG = 5.0
"""Of a standard deviation: what is beyond it overflows."""


class LatentEncoder(nn.Module):
    """Channels on a grid to a normal distribution with independent dimensions."""

    def __init__(self, spatial_dims: int, inputs: int, channels: Sequence[int], dimensions: int):
        super().__init__()
        layers: list[nn.Module] = []
        for level, width in enumerate(channels):
            layers += [CONVOLUTION[spatial_dims](inputs, width, 3, 1 + (level > 0), padding=1), nn.LeakyReLU(0.1)]
            inputs = width
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(inputs, 2 * dimensions)

    def forward(self, given: Float[Tensor, "B N *spatial"]) -> Normal:
        mean, log = self.out(self.layers(given).flatten(2).mean(2)).float().chunk(2, 1)
        return Normal(mean, log.clamp(-LARGEST_LOG, LARGEST_LOG).exp())


class LatentPredictor(nn.Module):
    """Features and a sample of the latent space, the same in every voxel, to logits per class."""

    def __init__(self, task: Task, features: int, dimensions: int):
        super().__init__()
        convolution = CONVOLUTION[task.spatial_dims]
        # One linear layer over (features, sample) as a sum, so that the features' part is computed once.
        self.from_features = convolution(features, features, 1)
        self.from_sample = nn.Linear(dimensions, features, bias=False)
        self.layers = nn.Sequential(
            nn.LeakyReLU(0.1), convolution(features, features, 1), nn.LeakyReLU(0.1),
            convolution(features, task.num_classes, 1),
        )  # fmt: skip

    def forward(
        self, features: Float[Tensor, "B F *spatial"], samples: Float[Tensor, "B M L"]
    ) -> Float[Tensor, "B M K *spatial"]:
        spatial = [1] * (features.ndim - 2)
        shift = self.from_sample(samples.to(features.dtype))
        hidden = self.from_features(features)[:, None] + shift.view(*shift.shape, *spatial)
        return self.layers(hidden.flatten(0, 1)).unflatten(0, samples.shape[:2])


class FixedNoise(nn.Module):
    """Standard normal noise that never changes, so that a prediction is the same on every machine and in every tile."""

    values: Float[Tensor, "M L"]

    def __init__(self, samples: int, dimensions: int):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.register_buffer("values", torch.randn(samples, dimensions, generator=rng))


def with_annotations(
    image: Float[Tensor, "B C *spatial"], annotations: Float[Tensor, "B R K *spatial"]
) -> Float[Tensor, "N C_and_K *spatial"]:
    """Every annotation as further channels of its image; N is B times R."""
    images = image[:, None].expand(-1, annotations.shape[1], *image.shape[1:])
    return torch.cat([images, annotations], 2).flatten(0, 1)


def onehot(annotations: Tensor, classes: int) -> Float[Tensor, "B R K *spatial"]:
    """Zero for all classes where an annotation is ``IGNORE``."""
    known = annotations < classes
    labels = annotations.masked_fill(~known, 0).long()
    return functional.one_hot(labels, classes).movedim(-1, 2) * known[:, :, None].float()
