"""Running sums of how reliable annotators were where they contradict one another."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

RUNNING_MEAN = 0.97
"""What is left of a running sum or mean after a step."""


def sums_by_class(
    values: Float[Tensor, "1 R D"], labels: Integer[Tensor, "1 R D"], where: Bool[Tensor, "1 R D"], classes: int
) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R K"]]:
    """Sum and number of the values that lie in ``where``, per annotator and class that is said there."""
    annotators = values.shape[1]
    first = torch.arange(annotators, device=values.device) * classes
    said, counted = (first[:, None] + labels[0]).flatten(), where[0].float()
    total, count = (
        torch.zeros(annotators * classes, device=values.device).scatter_add_(0, said, each.flatten())
        for each in (values[0] * counted, counted)
    )
    return total.view(annotators, classes), count.view(annotators, classes)


def add_fading(
    total: Float[Tensor, "R *k"],
    count: Float[Tensor, "R *k"],
    more: Float[Tensor, "R *k"],
    counted: Float[Tensor, "R *k"],
) -> None:
    """Let the sums of the annotators who occur in a batch fade, and add those of the batch."""
    occurs = (counted.flatten(1).sum(1) if counted.ndim > 1 else counted) > 0
    fade = torch.where(occurs, RUNNING_MEAN, 1.0).view(-1, *[1] * (total.ndim - 1))
    total.mul_(fade).add_(more)
    count.mul_(fade).add_(counted)
