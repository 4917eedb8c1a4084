"""What augmentation does to a patch, as numbers: drawn where patches are cut, done where they are learned from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from umanet.config import AugmentOptions


@dataclass(frozen=True)
class Change:
    """One patch's augmentation.

    Attributes:
        grid: Where each output voxel's value comes from: an affine map of positions in which the patch goes from -1 to
            1 along every axis, in array order; None: nothing moves.
        gain: Factor of the intensities.
        offset: Added to them then.
        noise: Deviation of the noise that is added then.
        seed: Of the noise.
    """

    grid: Float32[np.ndarray, "D D+1"] | None = None
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0
    seed: int = 0


def draw_change(options: AugmentOptions, patch: tuple[int, ...], rng: np.random.Generator) -> Change:
    """Draw a change for a patch of that many voxels per axis."""
    half = options.probability / 2
    grid = _grid(options, patch, rng)
    gain = 1 + _either_way(options.intensity, rng) if rng.random() < half else 1.0
    offset = _either_way(options.intensity, rng) if rng.random() < half else 0.0
    noise = options.noise * rng.random() if rng.random() < half else 0.0
    return Change(grid, gain, offset, noise, int(rng.integers(2**32)))


def _grid(options: AugmentOptions, patch: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
    moves, mirrored = rng.random() < options.probability, rng.random(len(options.flip)) < 0.5
    still = not (options.rotate or options.scale or options.shift)
    if (not moves or still) and not mirrored.any():
        return None
    axes = len(patch)
    half = np.maximum(np.array(patch) - 1, 1) / 2  # voxels of which the positions' unit consists
    turn, shift = np.eye(axes), np.zeros(axes)
    if moves:
        scale = 1 + rng.uniform(-options.scale, options.scale, axes)
        shift = rng.uniform(-options.shift, options.shift, axes) * patch
        rotation = _rotation(np.deg2rad(rng.uniform(-options.rotate, options.rotate, 1 if axes == 2 else 3)))
        turn, shift = rotation * scale, rotation @ shift
    signs = np.ones(axes)
    signs[list(np.array(options.flip, int)[mirrored])] = -1
    # Positions to voxels, mirrored, turned, and back to positions.
    return np.column_stack([turn * signs * half / half[:, None], shift / half]).astype(np.float32)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """About the only axis in 2D; about the first, second and third in 3D."""
    if len(angles) == 1:
        cosine, sine = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[cosine, -sine], [sine, cosine]])
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        others = [other for other in range(3) if other != axis]
        one[np.ix_(others, others)] = _rotation(angle[None])
        turn = turn @ one
    return turn


def _either_way(most: float, rng: np.random.Generator) -> float:
    return rng.uniform(-most, most)
