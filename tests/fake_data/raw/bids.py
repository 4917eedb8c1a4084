"""A BIDS data set: T1w of eight patients, two with two sessions, and a pipeline of two annotators in derivatives."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (20, 24, 18)


def write(folder: Path, *, patients: int = 8) -> Path:
    rng = np.random.default_rng(0)
    pipeline = folder / "derivatives" / "manual drawing"
    description(folder / "dataset_description.json", DatasetType="raw")
    for number in range(1, patients + 1):
        for session in ("a", "b") if number <= 2 else (None,):
            parts = [f"sub-{number:02}", *([f"ses-{session}"] if session else [])]
            place, start = Path(*parts, "anat"), "_".join(parts)
            labels = lesion(number)
            save(folder / place / f"{start}_acq-mprage_T1w.nii.gz", 90 + 40 * labels + rng.normal(0, 8, SHAPE))
            save(folder / place / f"{start}_acq-mprage_FLAIR.nii.gz", 60 + 70 * labels + rng.normal(0, 8, SHAPE))
            for annotator, moved in (("anna", 0), ("bert", 1)):
                drawn = np.roll(labels, moved, 1)
                save(pipeline / place / f"{start}_space-orig_desc-{annotator}_dseg.nii.gz", drawn)
    description(pipeline / "dataset_description.json", DatasetType="derivative", GeneratedBy=[{"Name": "manual"}])
    (pipeline / "desc-anna_dseg.tsv").write_text("index\tname\tabbreviation\n1\tWhite matter\tWM\n2\tlesion\tL\n")
    (pipeline / "desc-bert_dseg.tsv").write_text("index\tname\n1\tWhite matter\n2\tlesion\n")
    save(folder / "derivatives" / "fast" / "sub-01" / "anat" / "sub-01_desc-preproc_T1w.nii.gz", np.zeros(SHAPE))
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t54\n")
    return folder


def description(path: Path, **said: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Name": "made up", "BIDSVersion": "1.9.0", **said}))


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if np.issubdtype(values.dtype, np.integer) else np.float32
    nib.save(nib.Nifti1Image(values.astype(kind), np.diag([1.0, 1.0, 1.2, 1.0])), path)


def lesion(number: int) -> np.ndarray:
    grid = np.indices(SHAPE) - np.array([10, 11 + number % 3, 9]).reshape(3, 1, 1, 1)
    distance = np.sqrt((grid**2).sum(0))
    return (distance < 7).astype(np.uint8) + (distance < 3)
