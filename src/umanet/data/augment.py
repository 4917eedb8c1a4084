"""Augmentation of a whole batch, on the device that learns from it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from umanet.data.change import Change
from umanet.data.patches import Patches
from umanet.types import Batch

HALF = 0.5
"""A target sums to 1, or to 0 where nothing is known."""


def augmented(patches: Patches) -> Batch:
    """The batch with every patch changed as was drawn for it: the same for image, annotations and target.

    Images and targets are interpolated linearly, labels are those of the nearest voxel; beyond the edge the nearest
    voxel of the patch counts.
    """
    image, codes, target = patches.image, patches.codes, patches.targets()
    if any(change.grid is not None for change in patches.changes):
        grid = _grid(patches)
        image = _moved(image, grid, "bilinear")
        # Numbers below 2^24 survive as floats, and there are never as many rows.
        codes = _moved(codes[:, None].float(), grid, "nearest")[:, 0].long()
        target = None if target is None else _known_or_not(_moved(target, grid, "bilinear"))
    return patches.batch(_intensities(image, patches.changes), codes, target)


def _grid(patches: Patches) -> Float[Tensor, "B *spatial D"]:
    axes = patches.codes.ndim - 1
    still = np.eye(axes, axes + 1, dtype=np.float32)
    grids = np.stack([still if change.grid is None else change.grid for change in patches.changes])
    # torch names the last axis first.
    order = [*range(axes - 1, -1, -1), axes]
    theta = torch.from_numpy(np.ascontiguousarray(grids[:, order[:-1]][:, :, order])).to(patches.image.device)
    size = [len(grids), 1, *patches.codes.shape[1:]]
    return functional.affine_grid(theta, size, align_corners=True)


def _moved(values: Float[Tensor, "B N *spatial"], grid: Tensor, mode: str) -> Float[Tensor, "B N *spatial"]:
    return functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=True)


def _known_or_not(target: Float32[Tensor, "B K *spatial"]) -> Float32[Tensor, "B K *spatial"]:
    """Interpolated between known and unknown voxels: each is again the one or the other."""
    total = target.sum(1, keepdim=True)
    return torch.where(total < HALF, 0.0, target / total.clamp_min(HALF))


def _intensities(image: Float32[Tensor, "B C *spatial"], changes: Sequence[Change]) -> Float32[Tensor, "B C *spatial"]:
    per_image = (-1, *[1] * (image.ndim - 1))
    gains, offsets = (
        torch.tensor(numbers, device=image.device).view(per_image)
        for numbers in ([change.gain for change in changes], [change.offset for change in changes])
    )
    image = image * gains + offsets
    for number, change in enumerate(changes):
        if change.noise:
            # Of its own seed, so that a patch's noise is the same whatever batch it is in.
            rng = torch.Generator(image.device).manual_seed(change.seed)
            noise = torch.randn(image.shape[1:], generator=rng, device=image.device)
            image[number].add_(noise, alpha=change.noise)
    return image
