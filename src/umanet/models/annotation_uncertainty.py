"""AUEM, the annotation uncertainty estimation module: where is each annotation likely to be wrong?"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor, nn
from torch.nn import functional

from umanet.data.geometry import resample
from umanet.models.layers import AVERAGE_POOL, CHANNELS_LAST, CONVOLUTION
from umanet.types import IGNORE, Task, any_silence, as_index

# w = sigmoid(2) = 0.88 at the start: annotations are innocent until shown otherwise.
START_BIAS = -2.0


class AnnotationUncertainty(nn.Module):
    """Features of the image and one annotation to the logit ``g`` of "this annotation is wrong here".

    Uncertainty is ``u = softplus(g)``, reliability ``w = exp(-u) = sigmoid(-g)``. ``g`` is a sum: what the image alone
    says against a label, voxel by voxel, once for all annotators; what is said against an annotator who says this class
    (where annotators are identified); and what is said against this annotation around here, on a grid that is
    ``stride`` times coarser, interpolated. So annotators cost little. The network's own prediction is not an input on
    purpose: in trials the module then confirmed its errors.

    Reference:
        Wang et al., "Learning robust medical image segmentation from multi-source annotations", Medical Image
        Analysis 2025, DOI 10.1016/j.media.2025.103489, has the module; its layers here are ours.
    """

    def __init__(self, task: Task, features: int, width: int, stride: int, *, embedding: bool = True):
        super().__init__()
        convolution = CONVOLUTION[task.spatial_dims]
        self.num_classes, self.stride = task.num_classes, stride
        self.against_label = nn.Sequential(
            nn.Linear(features, width), nn.LeakyReLU(0.1, inplace=True), nn.Linear(width, task.num_classes, bias=False)
        )
        # One linear layer over (features, annotation) as a sum, so that the image's part is computed once.
        self.from_image = convolution(features, width, 3, padding=1)
        self.from_annotation = convolution(task.num_classes, width, 3, padding=1, bias=False)
        known = embedding and task.annotators_are_identified
        self.annotator = nn.Parameter(torch.zeros(len(task.annotators), width)) if known else None
        self.habit = nn.Parameter(torch.zeros(len(task.annotators), task.num_classes)) if known else None
        self.context = convolution(width, width, 3, padding=1)
        self.out = nn.Linear(width, 1)
        nn.init.constant_(self.out.bias, START_BIAS)

    def forward(
        self, features: Float[Tensor, "B F *spatial"], annotations: Integer[Tensor, "B R *spatial"]
    ) -> Float[Tensor, "B R *spatial"]:
        around = self.around(features, annotations, silent=any_silence(annotations))
        return around + self.against(features, as_index(annotations))

    def against(
        self, features: Float[Tensor, "B F *spatial"], labels: Int64[Tensor, "B R *spatial"]
    ) -> Float[Tensor, "B R *spatial"]:
        """What is said against the label of each voxel by the image there, and by who said it."""
        against = self._against_labels(features).gather(1, labels)
        if self.habit is None:
            return against
        by_annotator = labels.movedim(1, 0)
        habits = self.habit.gather(1, by_annotator.flatten(1)).view(by_annotator.shape)
        return against + habits.movedim(0, 1)

    def _against_labels(self, features: Float[Tensor, "B F *spatial"]) -> Float[Tensor, "B K *spatial"]:
        """``against_label``, whose layers are of features that lie last, of features that lie first."""
        layers: Any = self.against_label
        (first, activation, last), flat = layers, features.flatten(2)
        hidden = torch.baddbmm(first.bias[:, None], first.weight.expand(len(flat), -1, -1), flat)
        return (last.weight @ activation(hidden)).unflatten(2, features.shape[2:])

    def around(
        self, features: Float[Tensor, "B F *spatial"], annotations: Integer[Tensor, "B R *spatial"], *, silent: bool
    ) -> Float[Tensor, "B R *spatial"]:
        """What is said against each annotation around here, where some are ``silent``; features get no gradient."""
        images, annotators, *shape = annotations.shape
        kernel: Any = tuple(min(self.stride, side) for side in shape)
        pool = AVERAGE_POOL[len(shape)](kernel, ceil_mode=True, count_include_pad=False)
        with torch.no_grad():
            shares = self._shares(annotations, pool, silent=silent).to(features.dtype)
            image = pool(features)
        hidden = self.from_image(image)[:, None].expand(-1, annotators, *[-1] * (len(shape) + 1))
        if self.annotator is not None:
            hidden = hidden + self.annotator.view(1, annotators, -1, *[1] * len(shape))
        # Two times faster on a CPU for so few channels; no difference to the values.
        last = CHANNELS_LAST[len(shape)]
        hidden = hidden.flatten(0, 1).contiguous(memory_format=last)
        hidden = hidden + self.from_annotation(shares.contiguous(memory_format=last))
        hidden = functional.leaky_relu_(self.context(functional.leaky_relu_(hidden, 0.1)), 0.1)
        cells = self.out(hidden.movedim(1, -1))[..., 0]
        full = resample(cells, [side * self.stride for side in cells.shape[1:]], "linear")
        return full.unflatten(0, (images, annotators))[(..., *(slice(side) for side in shape))]

    def _shares(
        self, annotations: Integer[Tensor, "B R *spatial"], pool: Callable[[Tensor], Tensor], *, silent: bool
    ) -> Float[Tensor, "N K *cells"]:
        """Of each class in every cell; none where an annotation says nothing. N is B times R."""
        labels = annotations.flatten(0, 1)
        mask = torch.empty(labels.shape, device=labels.device)
        shares = [pool(torch.eq(labels, k, out=mask)) for k in range(1, self.num_classes)]
        said = torch.ones_like(shares[0])
        if silent:
            said -= pool(torch.eq(labels, IGNORE, out=mask))
        return torch.stack([said - torch.stack(shares).sum(0), *shares], 1)
