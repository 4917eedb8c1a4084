"""DICOM as a study of several annotators leaves it: a CT series, one annotator's SEG, another's RTSTRUCT of a half."""

from pathlib import Path

import numpy as np

from fake_data.dicom import write_series
from fake_data.dicom_annotations import square, write_rtstruct, write_seg


def write(folder: Path, *, patients: int = 8, shape: tuple[int, int, int] = (8, 24, 24)) -> Path:
    rng = np.random.default_rng(0)
    for patient in range(1, patients + 1):
        place = folder / f"P{patient:02}"
        mass = np.zeros(shape, bool)
        first = int(rng.integers(3, 9))
        mass[2:6, first : first + 11, first : first + 11] = True
        mass[3, first + 4 : first + 7, first + 4 : first + 7] = False
        values = -800 + 850 * mass + rng.normal(0, 20, shape)
        datasets = write_series(place / "ct" / "thorax", values, suffix=".dcm" if patient % 2 else "")
        write_seg(place / "annotations" / "anna.dcm", datasets, {"Mass": mass, "node": np.roll(mass, 9, 2) & ~mass})
        if patient % 2:
            outlines = [square(datasets[s], first - 0.5, first + 10.5) for s in range(2, 6)]
            outlines.append(square(datasets[3], first + 3.5, first + 6.5))
            write_rtstruct(place / "annotations" / "ben.dcm", datasets, {"mass": outlines})
    (folder / "README.txt").write_text("made up")
    return folder
