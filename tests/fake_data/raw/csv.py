"""A manifest beside files that lie anyhow: images in a folder with a space, annotations above the manifest."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

FIRST = ("case", "image", "annotator", "annotation", "patient", "split")


def write(folder: Path, *, patients: int = 8) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(patients):
        disc = (np.hypot(*(np.indices((48, 50)) - np.array([24, 20 + number]).reshape(2, 1, 1))) < 12) * np.uint8(1)
        image = Path("my images") / f"Röntgen {number}.png"
        save(folder / "lists" / image, (90 + 70 * disc + rng.normal(0, 8, disc.shape)).clip(0, 255).astype(np.uint8))
        for annotator in ("anna", "bert") if number % 4 else ("anna",):
            drawn = Path("..") / "masks" / f"{annotator}, {number}.png"
            save(folder / "lists" / drawn, np.roll(disc, len(annotator) * (annotator == "bert"), 0) * 255)
            split = "test" if number < 2 else ""
            rows.append((f"case {number}", image.as_posix(), annotator, drawn.as_posix(), f"P{number}", split))
    return manifest(folder / "lists" / "manifest ü.csv", rows)


def manifest(path: Path, rows, first=FIRST, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([first, *rows])
    return path


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
