"""A small data set on disk: PNG images of bright discs (or NIfTI volumes of balls) and who drew them."""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from fake_data.arrays import ball
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.types import Case

ANNOTATORS = ("anna", "bert", "carl")


def write_discs(
    folder: Path, shape: tuple[int, ...] = (20, 26), *, train: int = 4, validation: int = 2, identified: bool = True
) -> DatasetIndex:
    """Anna and Bert draw every disc; Carl only those of even number, three voxels off."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(train + validation):
        name = f"disc{number}"
        centre = tuple(side * 0.5 + rng.uniform(-2, 2) for side in shape)
        disc = ball(shape, centre, 0.27 * min(shape)).numpy()
        shifted = ball(shape, (centre[0] + 3, *centre[1:]), 0.27 * min(shape)).numpy()
        drawn = {"anna": disc, "bert": disc} | ({"carl": shifted} if number % 2 == 0 else {})
        cases.append(
            Case(
                name,
                (write_array(folder / "images", name, 60 + 120 * disc + rng.normal(0, 12, shape)),),
                {who: write_array(folder / "annotations" / who, name, labels) for who, labels in drawn.items()},
                write_array(folder / "truth", name, disc),
                patient=name,
                split="train" if number < train else "validation",
            )
        )
    return DatasetIndex(
        name="discs",
        spatial_dims=len(shape),  # type: ignore[arg-type]
        channels=("grey",),
        classes=(ClassDefinition(name="background", values=(0,)), ClassDefinition(name="disc", values=(1,))),
        annotators=ANNOTATORS,
        annotators_are_identified=identified,
        cases=tuple(cases),
    )


def write_array(folder: Path, name: str, values: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = values.clip(0, 255).astype(np.uint8)
    if values.ndim == 2:
        path = folder / f"{name}.png"
        Image.fromarray(values).save(path)
    else:
        path = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path
