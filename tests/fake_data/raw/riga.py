"""RIGA as it is downloaded: contours drawn into copies of JPEG and TIFF photographs, in irregularly named files."""

from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (64, 72)
FOLDERS = {
    "BinRushed/BinRushed1-Corrected": (".jpg", 3),
    "BinRushed/BinRushed2": (".jpg", 2),
    "MESSIDOR": (".tif", 4),
    "Magrabia/MagrabiaMale": (".tif", 2),
    "Magrabia/MagrabiFemale": (".tif", 1),
}
"""File type and number of images."""


def write(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, (suffix, images) in FOLDERS.items():
        (folder / name).mkdir(parents=True)
        for number in range(1, images + 1):
            _write_case(folder / name, number, suffix, rng)
    # As in the download: BinRushed1 has drawings without photographs.
    (folder / "BinRushed/BinRushed1").mkdir()
    Image.new("RGB", SHAPE[::-1]).save(folder / "BinRushed/BinRushed1/image1-1.jpg")
    return folder


def circle(centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - centre[0], columns - centre[1]) - radius


def draw(photograph: np.ndarray, *distances: np.ndarray) -> np.ndarray:
    """Blue lines of two pixels where a distance is zero."""
    copy = photograph.copy()
    for distance in distances:
        copy[np.abs(distance) < 1] = (20, 40, 250)
    return copy


def _write_case(folder: Path, number: int, suffix: str, rng: np.random.Generator) -> None:
    centre = (float(rng.uniform(28, 36)), float(rng.uniform(32, 40)))
    bright = 60 * (circle(centre, 20) < 0) + 50 * (circle(centre, 9) < 0)
    noise = rng.normal(0, 4, (*SHAPE, 3))
    photograph = (np.stack([120 + bright, 70 + bright, 30 + bright / 2], 2) + noise).clip(0, 255).astype(np.uint8)
    save(folder / f"image{number}prime{suffix}", photograph)
    for annotator in range(1, 7):
        copy = draw(photograph, circle(centre, 19 + annotator / 2), circle(centre, 8 + annotator / 2))
        # In MagrabiaMale the first annotator's files begin with a capital.
        name = "Image" if folder.name == "MagrabiaMale" and annotator == 1 else "image"
        save(folder / f"{name}{number}-{annotator}{suffix}", copy)


def save(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path, **({"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}))
