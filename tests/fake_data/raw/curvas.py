"""CURVAS 2024 as it is downloaded: CT with three annotations, in the folders of the splits."""

from pathlib import Path

import nibabel as nib
import numpy as np

SPLITS = {"training_set": 6, "validation_set": 2, "testing_set": 2}
SHAPE = (24, 24, 12)


def write(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    number = 0
    for split, cases in SPLITS.items():
        for _ in range(cases):
            number += 1
            write_case(folder / split / f"UKCHLL{number:03}", rng)
    return folder


def write_case(folder: Path, rng: np.random.Generator, *, annotators: int = 3, classes: int = 3) -> None:
    folder.mkdir(parents=True)
    grid = np.indices(SHAPE).astype(float)
    centre = np.array([12, 12, 6]) + rng.uniform(-1, 1, 3)
    distance = np.sqrt(((grid - centre[:, None, None, None]) ** 2).sum(0))
    image = (-100 + 150 * (distance < 6) + rng.normal(0, 8, SHAPE)).astype(np.int16)
    affine = np.diag([-0.8, -0.8, 1.5, 1.0])
    nib.save(nib.Nifti1Image(image, affine), folder / "image.nii.gz")
    for annotator in range(1, annotators + 1):
        inside = distance < 5 + annotator / 3
        labels = np.where(inside, 1 + np.minimum(grid[0] // 8, classes - 1), 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, affine), folder / f"annotation_{annotator}.nii.gz")
