"""JSRT and SCR as they are downloaded: raw radiographs with dark bones, one GIF per structure in two folds."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48
"""Of the masks; the images have twice as many pixels."""


def write(folder: Path, *, cases: int = 6) -> Path:
    rng = np.random.default_rng(0)
    (folder / "All247images").mkdir(parents=True)
    for kind in ("JPCLN", "JPCNN"):
        for number in range(1, cases + 1):
            _write_case(folder, f"{kind}{number:03}", 2 - number % 2, rng)
    return folder


def _write_case(folder: Path, case: str, fold: int, rng: np.random.Generator) -> None:
    rows, columns = np.indices((SIDE, SIDE)) + rng.uniform(-2, 2, (2, 1, 1))
    left, right = columns > 28, columns < 20
    lung = (np.abs(columns - 24) < 20) & (rows > 8) & (rows < 38)
    masks = {
        "left lung": lung & left,
        "right lung": lung & right,
        "heart": np.hypot(rows - 30, columns - 26) < 7,
        "left clavicle": (np.abs(rows - 10) < 2) & lung & left,
        "right clavicle": (np.abs(rows - 10) < 2) & lung & right,
    }
    # Dark where X-rays were held back: bones and the heart have low values.
    values = 1500 + 1500 * lung - 1000 * (masks["heart"] | masks["left clavicle"] | masks["right clavicle"])
    image = np.kron(values, np.ones((2, 2))) + rng.normal(0, 40, (2 * SIDE, 2 * SIDE))
    image.clip(0, 4095).astype(">u2").tofile(folder / "All247images" / f"{case}.IMG")
    for structure, mask in masks.items():
        target = folder / "scr/scratch" / f"fold{fold}" / "masks" / structure / f"{case}.gif"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(target)
