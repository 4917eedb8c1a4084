"""Crops of LIDC-IDRI nodules as re-released: 8-bit PNG, 1-bit masks, two nodules of every other patient."""

from pathlib import Path

import numpy as np
from PIL import Image


def write(folder: Path, *, patients: int = 8, side: int = 48) -> Path:
    rng = np.random.default_rng(0)
    rows, columns = np.indices((side, side))
    (folder / "images").mkdir(parents=True)
    for number in range(patients * 3 // 2):
        name = f"LIDC-IDRI-{number % patients + 1:04}_nodule-{number // patients}.png"
        grey = 60 + rng.normal(0, 8, (side, side))
        grey[(rows - side / 2) ** 2 + (columns - side / 2) ** 2 < 64] += 120
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
        for reader in range(1, 5):
            mask = (rows - side / 2) ** 2 + (columns - side / 2 + reader) ** 2 < (5 + reader + number % 2) ** 2
            path = folder / "annotations" / f"reader{reader}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return folder
