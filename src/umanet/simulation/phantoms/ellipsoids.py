"""The plainest phantom, in 2D and 3D."""

import numpy as np
from jaxtyping import Float, UInt8


def ellipsoids(
    rng: np.random.Generator, shape: tuple[int, ...] = (24, 28, 20), num_classes: int = 3
) -> tuple[Float[np.ndarray, "*spatial"], UInt8[np.ndarray, "*spatial"]]:
    """Bright ellipsoids in noise, one of each class side by side along the first axis; in 2D, ellipses.

    Returns:
        The image in [0, 1] and labels in 0 ... ``num_classes`` - 1; class k is brighter than class k - 1.
    """
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    half = np.array(shape) / 2
    half[0] /= num_classes - 1
    labels = np.zeros(shape, dtype=np.uint8)
    for index in range(1, num_classes):
        centre = np.array(shape) / 2 + rng.uniform(-0.1, 0.1, len(shape)) * half - 0.5
        centre[0] += (2 * index - num_classes) * half[0]
        radii = rng.uniform(0.5, 0.8, len(shape)) * half
        labels[(((grid - centre) / radii) ** 2).sum(axis=-1) < 1] = index
    clean = 0.2 + 0.6 * labels / (num_classes - 1)
    return np.clip(clean + rng.normal(0, 0.05, shape), 0, 1), labels
