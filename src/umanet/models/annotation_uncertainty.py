"""AUEM, the annotation uncertainty estimation module: where is each annotation likely to be wrong?"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional

from umanet.models.layers import CHANNELS_LAST, CONVOLUTION
from umanet.types import IGNORE, Task

# w = sigmoid(2) = 0.88 at the start: annotations are innocent until shown otherwise.
START_BIAS = -2.0


class AnnotationUncertainty(nn.Module):
    """Features of the image and one annotation to the logit ``g`` of "this annotation is wrong here".

    Uncertainty is ``u = softplus(g)``, reliability ``w = exp(-u) = sigmoid(-g)``. The network's own prediction is
    not an input on purpose: in trials the module then confirmed its errors.

    Reference:
        Wang et al., "Learning robust medical image segmentation from multi-source annotations", Medical Image
        Analysis 2025, DOI 10.1016/j.media.2025.103489, has the module; its layers here are ours.
    """

    def __init__(self, task: Task, features: int, width: int, *, embedding: bool = True):
        super().__init__()
        convolution = CONVOLUTION[task.spatial_dims]
        self.num_classes = task.num_classes
        # One linear layer over (features, annotation) as a sum, so that the image's part is computed once.
        self.from_image = convolution(features, width, 3, padding=1)
        self.from_annotation = convolution(task.num_classes, width, 3, padding=1, bias=False)
        known = embedding and task.annotators_are_identified
        self.annotator = nn.Parameter(torch.zeros(len(task.annotators), width)) if known else None
        self.context = convolution(width, width, 3, padding=2, dilation=2)
        self.out = convolution(width, 1, 1)
        nn.init.constant_(self.out.bias, START_BIAS)  # type: ignore[arg-type]  # has a bias

    def forward(
        self, features: Float[Tensor, "B F *spatial"], annotations: Integer[Tensor, "B R *spatial"]
    ) -> Float[Tensor, "B R *spatial"]:
        images, annotators, *spatial = annotations.shape
        # Two to three times faster on a CPU for so few channels; no difference to the values.
        layout = CHANNELS_LAST[len(spatial)]
        labels, ignored = annotations.flatten(0, 1), annotations.flatten(0, 1) == IGNORE
        onehot = functional.one_hot(labels.masked_fill(ignored, 0).long(), self.num_classes).movedim(-1, 1)
        if ignored.any():
            onehot = onehot * ~ignored[:, None]  # no class where an annotation says nothing
        onehot = onehot.to(features.dtype, memory_format=layout)
        hidden = self.from_annotation(onehot).unflatten(0, (images, annotators))
        hidden = hidden + self.from_image(features)[:, None]
        if self.annotator is not None:
            hidden = hidden + self.annotator.view(1, annotators, -1, *[1] * len(spatial))
        hidden = functional.leaky_relu(hidden.flatten(0, 1).contiguous(memory_format=layout), 0.1)
        hidden = functional.leaky_relu(self.context(hidden), 0.1)
        return self.out(hidden).view(images, annotators, *spatial)
