"""CHASE_DB1 as it is downloaded: one folder, JPEG photographs, 1-bit PNG of two observers."""

from pathlib import Path

import numpy as np
from PIL import Image


def write(folder: Path, *, children: int = 6, shape: tuple[int, int] = (48, 50)) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows, columns = np.indices(shape)
    for child in range(1, children + 1):
        for eye in "LR":
            vessel = np.abs(rows - shape[0] / 2 - 8 * np.sin(columns / 9 + rng.uniform(0, 6))) < 3
            photo = np.stack([150 - 60 * vessel, 80 - 50 * vessel, 40 - 10 * vessel], 2) + rng.normal(0, 6, (*shape, 3))
            name = f"Image_{child:02}{eye}"
            Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.jpg", quality=90)
            Image.fromarray(vessel).save(folder / f"{name}_1stHO.png")
            Image.fromarray(np.roll(vessel, 1, 0)).save(folder / f"{name}_2ndHO.png")
    return folder
