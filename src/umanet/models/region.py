"""What annotations say voxel by voxel, all in all: highest and lowest label, and where a decision is made."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from umanet.types import IGNORE, any_silence, as_index, rest_votes


def highest_said(
    annotations: Integer[Tensor, "B R *spatial"], present: Bool[Tensor, "B R"]
) -> Integer[Tensor, "B *spatial"]:
    """The highest label; 0 where nobody says anything."""
    if any_silence(annotations):
        annotations = annotations.masked_fill(annotations == IGNORE, 0)
    if not present.all():
        annotations = annotations & _mask(present, annotations)
    return annotations.amax(1)


def lowest_said(
    annotations: Integer[Tensor, "B R *spatial"], present: Bool[Tensor, "B R"]
) -> Integer[Tensor, "B *spatial"]:
    """The lowest label; ``IGNORE``, which is higher than any, where nobody says anything."""
    if not present.all():
        annotations = annotations | _mask(~present, annotations)
    return annotations.amin(1)


def anybody_silent(
    annotations: Integer[Tensor, "B R *spatial"], present: Bool[Tensor, "B R"]
) -> Bool[Tensor, "B *spatial"]:
    """Where a present annotation is ``IGNORE``."""
    if not any_silence(annotations):
        return torch.zeros_like(annotations[:, 0], dtype=torch.bool)
    return ((annotations == IGNORE) & present.view(*present.shape, *[1] * (annotations.ndim - 2))).any(1)


def one_hot(labels: Integer[Tensor, "B *spatial"], num_classes: int) -> Float[Tensor, "B K *spatial"]:
    """Labels as probabilities."""
    images, *shape = labels.shape
    maps = torch.empty(images, num_classes, *shape, device=labels.device)
    for k in range(num_classes):
        torch.eq(labels, k, out=maps[:, k])  # no integers of eight bytes in between
    return maps


def _mask(chosen: Bool[Tensor, "B R"], like: Tensor) -> Tensor:
    """All bits of a label, or none."""
    return (chosen * IGNORE).to(like.dtype).view(*chosen.shape, *[1] * (like.ndim - 2))


def region_of_interest(
    annotations: Integer[Tensor, "B R *spatial"],
    present: Bool[Tensor, "B R"],
    probabilities: Float[Tensor, "B K *spatial"],
    margin: int,
) -> Bool[Tensor, "B *spatial"]:
    """Where a decision is made: the union of the present annotations' and the predicted foreground, dilated.

    Elsewhere everybody agrees, and on small objects that agreement would drown the rest. Where nothing at all is
    foreground, the region is the whole image.
    """
    region = (highest_said(annotations, present) > 0) | (probabilities[:, 1:].amax(1) > probabilities[:, 0])
    for axis in range(1, region.ndim):
        drawn, side = region.clone(), region.shape[axis]
        for step in range(1, min(margin, side - 1) + 1):
            region.narrow(axis, step, side - step).logical_or_(drawn.narrow(axis, 0, side - step))
            region.narrow(axis, 0, side - step).logical_or_(drawn.narrow(axis, step, side - step))
    nothing = ~region.flatten(1).any(1)
    return region | nothing.view(-1, *[1] * (region.ndim - 1))


def disputed(
    annotations: Integer[Tensor, "B R *spatial"],
    present: Bool[Tensor, "B R"],
    drawn: tuple[tuple[int, ...], ...],
    num_classes: int,
) -> Bool[Tensor, "B *spatial"]:
    """Where no class is possible by all that is said."""
    rest = rest_votes(annotations, drawn, num_classes)
    if not rest:
        return lowest_said(annotations, present) < highest_said(annotations, present)
    shown = (annotations != IGNORE) & present.view(*present.shape, *[1] * (annotations.ndim - 2))
    definite = shown.clone()
    for r, (where, _) in rest.items():
        definite[:, r] &= ~where
    images, _, *spatial = annotations.shape
    possible_by = torch.zeros(images, num_classes, *spatial, device=annotations.device)
    possible_by.scatter_add_(1, as_index(annotations), definite.float())
    for r, (where, possible) in rest.items():
        possible_by += (where & shown[:, r])[:, None] * possible.view(1, -1, *[1] * len(spatial))
    return possible_by.amax(1) < shown.sum(1)
