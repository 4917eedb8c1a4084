"""Raw data of annotators who do not say everything: one draws the tumour only, one ignores a stripe of every image."""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from fake_data.arrays import ball

IGNORED = 99
CLASSES = ("background=0", "organ=1", "tumour=2")
STRIPE = 7
"""Rows that Carl ignores."""


def write_silence(folder: Path, shape: tuple[int, ...] = (32, 40), cases: int = 10) -> Path:
    """Anna draws all, Bert the tumour only, Carl all but the first rows. A folder that ``import folder`` takes."""
    rng = np.random.default_rng(0)
    for number in range(cases):
        centre = tuple(side / 2 + rng.uniform(-1, 1) for side in shape)
        truth = np.zeros(shape, np.uint8)
        for share, label in ((0.36, 1), (0.18, 2)):
            truth[ball(shape, centre, share * min(shape)).numpy()] = label
        name = f"case{number}"
        write(folder / "images" / name, 40 + 60 * truth + rng.normal(0, 10, shape))
        write(folder / "truth" / name, truth)
        for who, step in (("anna", 0), ("bert", 1), ("carl", -1)):
            drawn = np.roll(truth, step, axis=-1)
            if who == "bert":
                drawn[drawn == 1] = 0
            elif who == "carl":
                drawn[:STRIPE] = IGNORED
            write(folder / "annotations" / who / name, drawn)
    return folder


def write(path: Path, values: np.ndarray) -> Path:
    """A picture or a volume; the file's path with its type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values.clip(0, 255).astype(np.uint8)
    file = path.with_name(path.name + (".png" if values.ndim == 2 else ".nii.gz"))
    if values.ndim == 2:
        Image.fromarray(values).save(file)
    else:
        nib.save(nib.Nifti1Image(values, np.diag([-1.0, 1.0, 2.0, 1.0])), file)
    return file
