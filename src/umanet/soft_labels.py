"""Labels as probabilities: what they let expect of an annotation, and how they are learned."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional


def expected_dice(
    consensus: Float[Tensor, "B K *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    counted: Bool[Tensor, "B R *spatial"],
    draws: Bool[Tensor, "R K"],
) -> Float[Tensor, "B R"]:
    """Of annotations with the truth, as the consensus has it: mean over the classes that each annotator draws.

    Where nothing of an annotation counts, NaN. The Dice of a class that an annotation lacks is 1 if it is nowhere: of
    that, the probability at the voxel where it is least.
    """
    found = []
    for k in range(1, consensus.shape[1]):
        says = ((annotations == k) & counted).flatten(2)
        likely = (consensus[:, k, None] * counted).flatten(2)
        dice = 2 * (likely * says).sum(2) / (likely.sum(2) + says.sum(2)).clamp_min(1e-6)
        found.append(torch.where(says.any(2), dice, 1 - likely.amax(2)))
    mean = torch.stack(found, 2).masked_fill(~draws[:, 1:], torch.nan).nanmean(2)
    return mean.masked_fill(~counted.flatten(2).any(2), torch.nan)


def as_interpolated(target: Float[Tensor, "B K *spatial"]) -> Float[Tensor, "B K *spatial"]:
    """As smooth as a soft target that augmentation moves by linear interpolation; annotations move by whole voxels.

    A shift by any part of a voxel smooths by (1, 10, 1) / 12 in the mean: three quarters stay, the rest is a mean of
    three. Where nobody says anything (a target of zeros), nothing is said, nor spread.
    """
    known = target.sum(1, keepdim=True) > 0
    pool = {4: functional.avg_pool2d, 5: functional.avg_pool3d}[target.ndim]
    smooth = torch.cat([target, known.to(target.dtype)], 1)
    for axis in range(2, target.ndim):
        size = [3 if other == axis else 1 for other in range(2, target.ndim)]
        near = pool(smooth, size, 1, [side // 2 for side in size], count_include_pad=False)
        smooth = 0.75 * smooth + 0.25 * near
    return smooth[:, :-1] / smooth[:, -1:].clamp_min(1e-6) * known
