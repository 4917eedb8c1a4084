"""QUBIQ as it is downloaded: kidney, brain-tumor with four channels along the third axis, prostate with two tasks."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (40, 44)
COUNTS = {"kidney": (1, 3), "brain-tumor": (3, 3), "prostate": (2, 6)}
"""Tasks and annotators."""


def write(folder: Path, *, training: int = 8, validation: int = 2, gap: bool = False) -> Path:
    """With a ``gap``, annotators without a file of a task."""
    rng = np.random.default_rng(0)
    for dataset in COUNTS:
        for part, cases in (("Training", training), ("Validation", validation)):
            for number in range(1, cases + 1):
                _write_case(folder / dataset / part / f"case{number:02}", dataset, rng)
    # Official gaps: a prostate case of five annotators, a tumour without the third structure.
    for task in (1, 2):
        (folder / f"prostate/Training/case02/task{task:02}_seg06.nii.gz").unlink()
    for annotator in (1, 2, 3):
        _save(folder / f"brain-tumor/Training/case01/task03_seg{annotator:02}.nii.gz", np.zeros(SHAPE, np.uint8))
    if gap:
        (folder / "brain-tumor/Training/case02/task02_seg01.nii.gz").unlink()
        (folder / "brain-tumor/Validation/case01/task03_seg02.nii.gz").unlink()
    return folder


def _write_case(folder: Path, dataset: str, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    tasks, annotators = COUNTS[dataset]
    rows, columns = np.indices(SHAPE)
    centre, radius = rng.uniform(16, 24, 2), rng.uniform(9, 12)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    image = (np.where(distance < radius, 300, 100) + rng.normal(0, 9, SHAPE)).astype(np.float32)
    if dataset == "brain-tumor":
        image = np.stack([image, image + 100, image + 200, image + 300], 2)
    elif dataset == "prostate":
        image = image[:, :, None]
    _save(folder / "image.nii.gz", image)
    for task in range(1, tasks + 1):
        for annotator in range(1, annotators + 1):
            drawn = distance < radius / task + 0.7 * annotator
            mask = drawn[:, :, None] if dataset == "prostate" else drawn
            _save(folder / f"task{task:02}_seg{annotator:02}.nii.gz", mask.astype(np.uint8))


def _save(path: Path, values: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
