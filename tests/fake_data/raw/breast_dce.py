"""MAMA-MIA as it is downloaded: folders in upper case, files in lower case, phases that vary in number and size."""

from pathlib import Path

import nibabel as nib
import numpy as np

CASES = (
    "DUKE_001", "DUKE_002", "DUKE_019", "ISPY1_1001", "ISPY1_1002", "ISPY1_1003", "ISPY2_100899", "ISPY2_102011",
    "NACT_01", "NACT_02",
)  # fmt: skip
TEST = ("DUKE_019", "NACT_02")


def write(folder: Path, *, shape: tuple[int, int, int] = (24, 26, 20)) -> Path:
    rng = np.random.default_rng(0)
    grid = np.indices(shape)
    for number, case in enumerate(CASES):
        centre = np.array(shape) / 2 + rng.integers(-3, 4, 3)
        tumour = ((grid - centre.reshape(3, 1, 1, 1)) ** 2).sum(0) < 25
        # Sagittal slices, a tenth apart in size.
        step = 1 + 0.1 * (number % 3)
        affine = np.array([[0.0, 0.0, 2.0 * step, -9], [step, 0, 0, 4], [0, step, 0, 7], [0, 0, 0, 1]])
        name = case.lower()
        for phase in range(2 + number % 3):
            values = rng.normal(300, 20, shape) + 50 + tumour * 200 * min(phase, 1)
            _save(folder / "images" / case / f"{name}_{phase:04}.nii.gz", values.astype(np.int16), affine)
        _save(folder / "segmentations" / "expert" / f"{name}.nii.gz", tumour.astype(np.uint8), affine)
        automatic = np.roll(tumour, 1, 0).astype(np.uint8)
        _save(folder / "segmentations" / "automatic" / f"{name}.nii.gz", automatic, affine)
    train = [case for case in CASES if case not in TEST]
    rows = ["train_split,test_split"]
    rows += [f"{case},{TEST[at] if at < len(TEST) else ''}" for at, case in enumerate(train)]
    (folder / "train_test_splits.csv").write_text("\r\n".join(rows) + "\r\n")
    (folder / "clinical_and_imaging_info.xlsx").write_bytes(b"PK\x03\x04")
    return folder


def _save(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
