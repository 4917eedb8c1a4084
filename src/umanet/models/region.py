"""What annotations say voxel by voxel, all in all: highest and lowest label, and where a decision is made."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from umanet.types import IGNORE, Batch


def highest_said(batch: Batch) -> Integer[Tensor, "B *spatial"]:
    """The highest label; 0 where nobody says anything."""
    annotations = batch.annotations
    if batch.silent:
        annotations = annotations.masked_fill(annotations == IGNORE, 0)
    if not batch.complete:
        annotations = annotations & _mask(batch.present, annotations)
    return annotations.amax(1)


def lowest_said(batch: Batch) -> Integer[Tensor, "B *spatial"]:
    """The lowest label; ``IGNORE``, which is higher than any, where nobody says anything."""
    annotations = batch.annotations
    if not batch.complete:
        annotations = annotations | _mask(~batch.present, annotations)
    return annotations.amin(1)


def anybody_silent(batch: Batch) -> Bool[Tensor, "B *spatial"]:
    """Where a present annotation is ``IGNORE``."""
    annotations, present = batch.annotations, batch.present
    if not batch.silent:
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
    highest: Integer[Tensor, "B *spatial"], probabilities: Float[Tensor, "B K *spatial"], margin: int
) -> Bool[Tensor, "B *spatial"]:
    """Where a decision is made: where the highest label said, or predicted, is foreground, dilated.

    Elsewhere everybody agrees, and on small objects that agreement would drown the rest. Where nothing at all is
    foreground, the region is the whole image.
    """
    region = (highest > 0) | (probabilities[:, 1:].amax(1) > probabilities[:, 0])
    for axis in range(1, region.ndim):
        drawn, side = region.clone(), region.shape[axis]
        for step in range(1, min(margin, side - 1) + 1):
            region.narrow(axis, step, side - step).logical_or_(drawn.narrow(axis, 0, side - step))
            region.narrow(axis, 0, side - step).logical_or_(drawn.narrow(axis, step, side - step))
    nothing = ~region.flatten(1).any(1)
    return region | nothing.view(-1, *[1] * (region.ndim - 1))


def disputed(
    batch: Batch,
    highest: Integer[Tensor, "B *spatial"],
    rest: dict[int, tuple[Bool[Tensor, "B *spatial"], Bool[Tensor, " K"]]],
    num_classes: int,
) -> Bool[Tensor, "B *spatial"]:
    """Where no class is possible by all that is said; ``rest`` as ``rest_votes`` has it."""
    if not rest:
        return lowest_said(batch) < highest
    annotations, present = batch.annotations, batch.present
    shown = (annotations != IGNORE) & present.view(*present.shape, *[1] * (annotations.ndim - 2))
    definite = shown.clone()
    for r, (where, _) in rest.items():
        definite[:, r] &= ~where
    images, _, *spatial = annotations.shape
    possible_by = torch.zeros(images, num_classes, *spatial, device=annotations.device)
    # A silent voxel adds 0, wherever.
    labels = annotations.masked_fill(annotations == IGNORE, 0).long()
    possible_by.scatter_add_(1, labels, definite.float())
    for r, (where, possible) in rest.items():
        possible_by += (where & shown[:, r])[:, None] * possible.view(1, -1, *[1] * len(spatial))
    return possible_by.amax(1) < shown.sum(1)
