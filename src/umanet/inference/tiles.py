"""A network over images that are larger than what it sees at once."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

OVERLAP = 0.5


@torch.inference_mode()
def run_in_tiles(
    network: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "B C *spatial"],
    patch: tuple[int, ...],
    device: torch.device,
) -> Float[Tensor, "B N *spatial"]:
    """``network`` over overlapping tiles of ``patch`` voxels, blended with Gaussian weights.

    Only tiles are on ``device``; inputs and outputs stay in main memory, so that memory there does not grow with the
    image. Images of the patch's size pass in one piece; smaller ones are padded with zeros.
    """
    if tuple(inputs.shape[2:]) == tuple(patch):
        return network(inputs.to(device)).float().cpu()
    tiled = sliding_window_inference(
        inputs,
        patch,
        4,
        lambda tile: network(tile).float(),
        overlap=OVERLAP,
        mode="gaussian",
        device="cpu",
        sw_device=device,
    )
    assert isinstance(tiled, Tensor)
    return tiled
