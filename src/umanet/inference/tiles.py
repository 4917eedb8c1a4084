"""A network over images that are larger than what it sees at once."""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import combinations

import torch
from jaxtyping import Float
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from umanet.config import Precision

Network = Callable[[Tensor], Tensor]
"""Tiles ``(B, C, *spatial)`` to maps ``(B, N, *spatial)``."""
OVERLAP = 0.5
HALVES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "16": torch.float16}


def half_on_cuda(precision: Precision) -> torch.dtype | None:
    """What a network computes in on a CUDA device; None for float32. ``auto``: bfloat16 where the device has it."""
    if precision == "auto":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return HALVES.get(precision)


def mirrored(network: Network, axes: tuple[int, ...]) -> Network:
    """The mean of what ``network`` says of a tile and of its mirror images: along each axis, and along several."""
    if not axes:
        return network
    flips = [[axis + 2 for axis in some] for number in range(1, len(axes) + 1) for some in combinations(axes, number)]

    def run(tile: Tensor) -> Tensor:
        total = network(tile)
        for flip in flips:
            total = total + network(tile.flip(flip)).flip(flip)
        return total / (1 + len(flips))

    return run


@torch.inference_mode()
def run_in_tiles(
    network: Network,
    inputs: Float[Tensor, "B C *spatial"],
    patch: tuple[int, ...],
    device: torch.device,
    precision: Precision = "32",
) -> Float[Tensor, "B N *spatial"]:
    """``network`` over overlapping tiles of ``patch`` voxels, blended with Gaussian weights.

    Only tiles are on ``device``; inputs and outputs stay in main memory, so that memory there does not grow with the
    image. Images of the patch's size pass in one piece; smaller ones are padded with zeros. ``precision`` is that of
    the training and counts on CUDA devices only; outputs are float32.
    """
    half = half_on_cuda(precision) if device.type == "cuda" else None

    def run(tile: Tensor) -> Tensor:
        with nullcontext() if half is None else torch.autocast("cuda", half):
            return network(tile).float()

    if tuple(inputs.shape[2:]) == tuple(patch):
        return run(inputs.to(device)).cpu()
    tiled = sliding_window_inference(
        inputs,
        patch,
        4,
        run,
        overlap=OVERLAP,
        mode="gaussian",
        device="cpu",
        sw_device=device,
    )
    assert isinstance(tiled, Tensor)
    return tiled
