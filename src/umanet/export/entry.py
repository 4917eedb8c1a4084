"""What is exported of a case, and how its files are written for other tools.

Images are volumes as ``.nii.gz``, photographs as ``.png``, other pictures as ``.tif``: one file per channel, but RGB
photographs as one. A file that is right already is copied; others are converted without loss. Labels are class indices,
0 to K - 1, and K for voxels that an annotation ignores.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from umanet.data.files import whole_file
from umanet.data.formats import JPEG, NIFTI, TIFF, suffix_of
from umanet.data.images import read_image, read_labels
from umanet.data.index import DatasetIndex
from umanet.data.nifti import write_nifti
from umanet.data.pictures import write_picture
from umanet.errors import DatasetError, ImageError
from umanet.types import IGNORE, Case, Geometry

VOLUME, PHOTOGRAPH, PICTURE = ".nii.gz", ".png", ".tif"
KINDS = (np.uint8, np.uint16, np.int16, np.int32)
"""Types that hold whole numbers, the smallest first."""


@dataclass(frozen=True)
class Entry:
    """A case with the label maps that are to be exported.

    Attributes:
        case: As the data set has it.
        labels: Annotator to file; the only name is empty where a case has one label map.
        index: To read the labels by.
        only: What the one label map is: ``consensus``, ``truth``, or the annotator who drew it.
        truth: To be exported beside the labels; None where it is not known, or where it is the label map.
    """

    case: Case
    labels: Mapping[str, Path]
    index: DatasetIndex
    only: str = ""
    truth: Path | None = None

    @property
    def is_test(self) -> bool:
        return self.case.split == "test"


def file_ending(cases: Iterable[Case], spatial_dims: int) -> str:
    """The file type for all images and labels of an export.

    Raises:
        ImageError: A file of an unknown type.
    """
    suffixes = {suffix_of(path) for case in cases for path in case.image}
    if spatial_dims == 3 or suffixes <= set(NIFTI):
        return VOLUME
    return PHOTOGRAPH if suffixes <= {".png", *JPEG, ".bmp"} else PICTURE


def write_image(case: Case, index: DatasetIndex, ending: str, name: Path, *, split: bool = False) -> list[Path]:
    """Write the image as ``name_0000.png``, ``name_0001.png`` and so on.

    Args:
        case: Whose image.
        index: Its data set.
        ending: Of ``file_ending``.
        name: Path of the files without channel number and type.
        split: One file per channel for RGB photographs too.

    Returns:
        The files, in the order of the channels.

    Raises:
        ImageError: Another number of channels than the index says, or no readable image.
    """
    values, geometry = read_image(case.image, index.spatial_dims)
    if len(values) != len(index.channels):
        raise ImageError(
            f"{len(values)} channels found, {len(index.channels)} ({', '.join(index.channels)}) expected, in case "
            f"{case.id!r}. Mend the file or the channels in dataset.json."
        )
    rgb = ending == PHOTOGRAPH and len(case.image) == 1 and len(values) == 3 and not split
    number = 1 if rgb else len(values)
    paths = [name.with_name(f"{name.name}_{channel:04}{ending}") for channel in range(number)]
    name.parent.mkdir(parents=True, exist_ok=True)
    if len(case.image) == number and all(_is_right(path, ending) for path in case.image):
        for source, path in zip(case.image, paths, strict=True):
            shutil.copyfile(source, path)
    elif rgb:
        with whole_file(paths[0]) as temporary:
            Image.fromarray(np.moveaxis(values, 0, 2).astype(np.uint8)).save(temporary, format="PNG")
    else:
        for channel, path in zip(values, paths, strict=True):
            _write(path, _smallest(channel), geometry)
    return paths


def write_labels(path: Path, source: Path, entry: Entry) -> None:
    """Write a label map as class indices, with K (the number of classes) where it is ignored.

    Raises:
        AnnotationError: A value without a class.
        GeometryError: Another grid than the image.
        ImageError: Unreadable.
    """
    _, geometry = read_image(entry.case.image, entry.index.spatial_dims)
    labels = read_labels(source, entry.index, geometry)
    labels = np.where(labels == IGNORE, len(entry.index.classes), labels).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, labels, geometry)


def class_names(index: DatasetIndex) -> dict[str, int]:
    """Names to the values in exported labels, ``ignore`` last where the data set ignores any.

    Raises:
        DatasetError: A class has a name that means something else there.
    """
    names = ["background", *(definition.name for definition in index.classes[1:])]
    taken = {"background", "ignore"} & set(names[1:])
    if taken:
        raise DatasetError(
            f"The class {next(iter(taken))!r} found, another name expected: other tools mean something else by it. "
            "Rename it in dataset.json."
        )
    if index.ignore:
        names.append("ignore")
    return {name: value for value, name in enumerate(names)}


def _is_right(path: Path, ending: str) -> bool:
    """Whether other tools read the file as we do."""
    if not path.name.lower().endswith(ending):
        return False
    if ending == PHOTOGRAPH:
        with Image.open(path) as picture:
            return picture.mode in ("L", "RGB", "I;16")
    return ending == VOLUME


def _write(path: Path, values: Shaped[np.ndarray, "*spatial"], geometry: Geometry) -> None:
    if path.name.endswith(VOLUME):
        write_nifti(path, values, geometry)
        return
    if values.dtype not in (np.uint8, np.uint16) and suffix_of(path) not in TIFF:
        raise ImageError(
            f"Values from {values.min():g} to {values.max():g} found, whole numbers from 0 to 65535 expected, "
            f"for {path.name}. Save the image as TIFF."
        )
    write_picture(path, values, geometry.resolution)


def _smallest(
    values: Float32[np.ndarray, "*spatial"],
) -> Shaped[np.ndarray, "*spatial"]:
    """In the smallest type that holds the values exactly; as they are where they are no whole numbers."""
    for kind in KINDS:
        info = np.iinfo(kind)
        if info.min <= values.min() and values.max() <= info.max and (values == np.rint(values)).all():
            return values.astype(kind)
    return values
