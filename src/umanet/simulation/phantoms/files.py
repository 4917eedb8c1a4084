"""Phantoms as files: a folder of images and one of the truth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from umanet.simulation.phantoms.chest_xray import chest_xray
from umanet.simulation.scenarios import generator

Picture = tuple[Float[np.ndarray, "*channels H W"], UInt8[np.ndarray, "H W"]]


def write_phantoms(
    output: Path,
    cases: int,
    size: int = 128,
    seed: int = 0,
    *,
    draw: Callable[[np.random.Generator, int], Picture] = chest_xray,
) -> None:
    """Write ``images/phantom_000.png`` ... and their labels under the same names in ``truth/``.

    A truth of one class has 0 and 255, of several their labels.

    Args:
        output: Gets the two folders.
        cases: How many.
        size: Pixels a side.
        seed: Together with its number, decides what a phantom is.
        draw: The kind of phantom: grey, or red, green and blue.
    """
    for folder in ("images", "truth"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        name = f"phantom_{number:03}.png"
        image, labels = draw(generator(seed, "phantom", name), size)
        pixels = np.rint(255 * (image if image.ndim == 2 else np.moveaxis(image, 0, -1))).astype(np.uint8)
        Image.fromarray(pixels).save(output / "images" / name)
        Image.fromarray(labels if labels.max() > 1 else 255 * labels).save(output / "truth" / name)
