"""A network over images that are larger than what it sees at once."""

from collections.abc import Callable
from contextlib import nullcontext
from itertools import combinations, pairwise, product

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from umanet.config import Precision

Network = Callable[[Tensor], Tensor]
"""Tiles ``(B, C, *spatial)`` to maps ``(B, N, *spatial)``."""
OVERLAP = 0.5
SIGMA = 0.125
"""Of the Gaussian, in sides of the patch."""
LEAST_WEIGHT = 1e-3
BATCH = 4
"""Tiles that the network sees at once."""
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


def in_bfloat16(network: Network) -> Network:
    """The network in bfloat16, wherever it is: half the time and more on processors that have it, else slower."""

    def run(tile: Tensor) -> Tensor:
        with torch.autocast(tile.device.type, torch.bfloat16):
            return network(tile)

    return run


def run_in_tiles(
    network: Network,
    inputs: Float[Tensor, "1 C *spatial"],
    patch: tuple[int, ...],
    device: torch.device,
    precision: Precision = "32",
) -> Float[Tensor, "1 N *spatial"]:
    """``maps_in_tiles`` as one array."""
    return torch.stack(maps_in_tiles(network, inputs, patch, device, precision))[None]


@torch.inference_mode()
def maps_in_tiles(
    network: Network,
    inputs: Float[Tensor, "1 C *spatial"],
    patch: tuple[int, ...],
    device: torch.device,
    precision: Precision = "32",
) -> list[Float[Tensor, "*spatial"]]:
    """``network`` over overlapping tiles of ``patch`` voxels, blended with Gaussian weights.

    Only tiles are on ``device``; inputs and outputs stay in main memory, so that memory there does not grow with the
    image. Images of the patch's size pass in one piece; smaller ones are padded with zeros. ``precision`` is that of
    the training and counts on CUDA devices only; outputs are float32. Every map has its own memory: one that is no
    longer needed can be given up.
    """
    shape = tuple(inputs.shape[2:])
    half = half_on_cuda(precision) if device.type == "cuda" else None

    def run(tile: Tensor) -> Tensor:
        with nullcontext() if half is None else torch.autocast("cuda", half):
            return network(tile).float()

    if shape == tuple(patch):
        return list(run(inputs.to(device)).cpu()[0])
    lacking = [max(side - have, 0) for side, have in zip(patch, inputs.shape[2:], strict=True)]
    if any(lacking):
        inputs = functional.pad(inputs, [end for lack in lacking[::-1] for end in (lack // 2, lack - lack // 2)])
    maps = _blend(run, inputs, patch, device)
    if not any(lacking):
        return maps
    room = [slice(lack // 2, lack // 2 + have) for lack, have in zip(lacking, shape, strict=True)]
    return [map_[tuple(room)].contiguous() for map_ in maps]


def _blend(
    run: Network, inputs: Float[Tensor, "1 C *spatial"], patch: tuple[int, ...], device: torch.device
) -> list[Float[Tensor, "*spatial"]]:
    shape = tuple(inputs.shape[2:])
    starts = [_starts(have, side) for have, side in zip(shape, patch, strict=True)]
    weight, places = gaussian(patch), list(product(*starts))
    on_device, maps = weight.to(device), []
    for first in range(0, len(places), BATCH):
        windows = [_window(place, patch) for place in places[first : first + BATCH]]
        found = run(torch.cat([inputs[(..., *window)] for window in windows]).to(device)).mul(on_device).cpu()
        maps = maps or [torch.zeros(shape) for _ in found[0]]
        for of_tile, window in zip(found, windows, strict=True):
            for map_, values in zip(maps, of_tile, strict=True):
                map_[window] += values
    _divide_by_weights(maps, weight, starts)
    return maps


def _divide_by_weights(
    maps: list[Float[Tensor, "*spatial"]], weight: Float[Tensor, "*patch"], starts: list[list[int]]
) -> None:
    """In place, row after row of tiles along the first axis, so that the weights in memory are those of one row."""
    shape, patch = tuple(maps[0].shape), tuple(weight.shape)
    of_row = torch.zeros(patch[0], *shape[1:])
    for place in product([0], *starts[1:]):
        of_row[_window(place, patch)] += weight
    total = torch.zeros_like(of_row)
    for row, following in pairwise([*starts[0], shape[0]]):
        total += of_row
        done = following - row
        for map_ in maps:
            map_[row:following] /= total[:done]
        # What the next row covers, too, moves to the front.
        kept = total[done:].clone()
        total.zero_()[: len(kept)] = kept


def gaussian(patch: tuple[int, ...]) -> Float[Tensor, "*patch"]:
    """The weight of a tile's voxels, as MONAI's sliding window has it: never below a thousandth."""
    weight = torch.ones(())
    for side in patch:
        place = torch.arange(side) - (side - 1) / 2
        weight = weight[..., None] * torch.exp(-(place**2) / (2 * (SIGMA * side) ** 2))
    return weight.clamp_min(max(weight.min().item(), LEAST_WEIGHT))


def _starts(have: int, side: int) -> list[int]:
    """Where tiles begin along an axis, the last one at the end."""
    step = max(int(side * (1 - OVERLAP)), 1)
    return [min(number * step, have - side) for number in range(-(-(have - side) // step) + 1)]


def _window(start: tuple[int, ...], patch: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(at, at + side) for at, side in zip(start, patch, strict=True))
