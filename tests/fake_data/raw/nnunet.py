"""A raw data set of nnU-Net v2 with two annotators: volumes of two channels, an ignore label, a part of test images."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

LABELS = {"background": 0, "liver": 1, "lesion/cyst": 2, "ignore": 3}
AFFINE = np.diag([-0.8, 0.8, 1.5, 1.0])


def write(folder: Path, *, training: int = 8, test: int = 2, ignored: bool = False) -> Path:
    rng = np.random.default_rng(0)
    for number in range(training + test):
        part = "Tr" if number < training else "Ts"
        name = f"scan {number:02}"
        labels = _labels(number)
        if ignored and number % 2:
            labels[:2] = LABELS["ignore"]
        for channel in range(2):
            values = labels * (40 + 20 * channel) + rng.normal(100, 9, labels.shape)
            save(folder / f"images{part}" / f"{name}_{channel:04}.nii.gz", values.astype(np.float32))
        save(folder / f"labels{part}_anna" / f"{name}.nii.gz", labels)
        save(folder / f"labels{part}_bert" / f"{name}.nii.gz", np.roll(labels, 1, 0))
    save(folder / "imagesTs" / "nobody_0000.nii.gz", np.zeros((24, 22, 20), np.float32))
    save(folder / "imagesTs" / "nobody_0001.nii.gz", np.zeros((24, 22, 20), np.float32))
    unknown = {} if ignored else {"labels": {name: value for name, value in LABELS.items() if name != "ignore"}}
    describe(folder, numTraining=training, **unknown)
    return folder


def describe(folder: Path, **changes: object) -> None:
    said = {"channel_names": {"0": "T1", "1": "T2"}, "labels": LABELS, "numTraining": 8, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**said, **changes}))


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), path)


def _labels(number: int) -> np.ndarray:
    grid = np.indices((24, 22, 20)) - np.array([12, 11 + number % 3, 10]).reshape(3, 1, 1, 1)
    distance = np.sqrt((grid**2).sum(0))
    return ((distance < 8).astype(np.uint8) + (distance < 4)).astype(np.uint8)
