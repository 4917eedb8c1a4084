"""Data sets that people annotated: how they lie, and how they are split by patient."""

from pathlib import Path
from typing import Any

import nibabel as nib
from PIL import Image

SPLIT = {"train": 0.6, "validation": 0.1, "test": 0.3}
LIDC: dict[str, Any] = {"annotators_are_identified": False, "patient_pattern": r"(LIDC-IDRI-\d+)"}
CHASE_DB1: dict[str, Any] = {
    "image_pattern": r"(?P<case>Image_\d+[LR])",
    "annotation_pattern": r"(?P<case>Image_\d+[LR])_(1st|2nd)HO",
    "patient_pattern": r"Image_(\d+)",
}
LAYOUTS = {"lidc-2d": LIDC, "lidc-3d": LIDC, "chase-db1": CHASE_DB1}
"""Folder to what its index is told."""
SIDE = 64
"""Pixels around the centre of a crop, where the nodule is. Other patches of the larger crops teach a network to find a
nodule in every tile, and half the resolution leaves five pixels of the median one (docs/concepts/log.md)."""


def crop_centres(data: Path, folder: Path) -> Path:
    """A copy of the data, every file cut to its central ``SIDE`` x ``SIDE`` pixels. Done once."""
    for source in sorted([*data.glob("images/*"), *data.glob("annotations/*/*")]):
        target = folder / source.relative_to(data)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"partial-{source.name}")
        if source.suffix == ".png":
            picture = Image.open(source)
            left, top = ((side - SIDE) // 2 for side in picture.size)
            picture.crop((left, top, left + SIDE, top + SIDE)).save(partial)
        else:
            volume = nib.Nifti1Image.from_filename(source)
            left, top = ((side - SIDE) // 2 for side in volume.shape[:2])
            volume.slicer[left : left + SIDE, top : top + SIDE].to_filename(partial)
        partial.replace(target)
    return folder
