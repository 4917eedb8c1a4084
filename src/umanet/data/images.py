"""The two ends of the flow: files to arrays, arrays to files of the same type and geometry."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8

from umanet.data.dicom import read_series
from umanet.data.formats import DICOM, ITK, JPEG, NIFTI, TIFF, VOLUMES, suffix_of
from umanet.data.geometry import grid_difference
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.itk import read_itk, write_itk
from umanet.data.nifti import read_nifti, read_nifti_geometry, write_nifti
from umanet.data.pictures import read_picture, read_picture_values, write_picture
from umanet.errors import AnnotationError, GeometryError, ImageError, OutputError, counted
from umanet.types import IGNORE, Case, Geometry, Sample

PNG_SCALE = 65535
"""Maps in 16-bit PNG files are in these units: 0..65535 means 0..1."""
EIGHT_BITS = 255
"""What 8 bits hold."""


def read_image(paths: Sequence[Path], spatial_dims: int | None) -> tuple[Float32[np.ndarray, "C *spatial"], Geometry]:
    """All channels of an image, unnormalised, volumes with an affine in RAS+ axis order, the rest as stored.

    Args:
        paths: One file with all channels, or several that are stacked in this order.
        spatial_dims: 2 or 3; None takes it from the first file (a volume with one slice is 2D).

    Raises:
        ImageError: A file is missing or unreadable, or holds NaN or infinite values.
        GeometryError: 2D where 3D is expected or the reverse, or the channels lie on different grids.
    """
    values, geometry = read_image_values(paths, spatial_dims)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ImageError(
            f"{counted(bad, 'NaN or infinite value')} found, finite values expected, in {_names(paths)}. Replace them "
            "in the file."
        )
    return values, geometry


def read_image_values(
    paths: Sequence[Path], spatial_dims: int | None
) -> tuple[Float32[np.ndarray, "C *spatial"], Geometry]:
    """``read_image`` for those who look for NaN and infinite values themselves."""
    read = [_read(path, spatial_dims) for path in paths]
    geometry = read[0][1]
    for path, (_, other) in zip(paths, read, strict=True):
        difference = grid_difference(geometry, other)
        if difference:
            raise GeometryError(
                f"{difference} found for channels {paths[0]} and {path}, the same grid expected. Resample one of them."
            )
    return np.concatenate([values.astype(np.float32) for values, _ in read]), geometry


def image_geometry(paths: Sequence[Path], spatial_dims: int | None) -> Geometry:
    """The geometry of an image, of NIfTI files without their values.

    Raises:
        ImageError, GeometryError: As ``read_image``, of the first file.
    """
    if suffix_of(paths[0]) in NIFTI:
        return read_nifti_geometry(paths[0], spatial_dims)
    return _read(paths[0], spatial_dims)[1]


def read_annotation_values(path: Path, spatial_dims: int | None) -> tuple[Shaped[np.ndarray, "*spatial"], Geometry]:
    """The values in an annotation file, before they mean classes.

    Raises:
        ImageError: Missing or unreadable.
        GeometryError: 2D where 3D is expected, or the reverse.
        AnnotationError: Several volumes, a picture in colours, or a lossy file type.
    """
    if suffix_of(path) in JPEG:
        raise AnnotationError(
            f"A JPEG annotation found, a lossless file expected, at {path}. JPEG invents values at edges: take the "
            "file from before the compression."
        )
    channels, geometry = _read(path, spatial_dims, annotation=True)
    if len(channels) > 1 and suffix_of(path) in VOLUMES:
        raise AnnotationError(
            f"{len(channels)} volumes in one file found, one volume of class values expected, in annotation {path}. "
            "Save one volume, or turn the volumes (one per class?) into one of class values."
        )
    if len(channels) > 1 and (channels != channels[:1]).any():
        raise AnnotationError(
            f"{len(channels)} channels that differ found, one value per class expected, in annotation {path}. Convert "
            "its colours to class values."
        )
    return channels[0], geometry


def unknown_values(
    values: Shaped[np.ndarray, "*spatial"], classes: Sequence[ClassDefinition], ignore: Sequence[int] = ()
) -> list[float]:
    """The values that neither a class nor ``ignore`` has, in ascending order."""
    known = {*ignore, *(value for definition in classes for value in definition.values)}
    # Counting each known value is a hundred times faster than sorting all, and most files hold no other.
    if sum(np.count_nonzero(values == value) for value in known) == values.size:
        return []
    return [float(value) for value in np.unique(values) if value not in known]


def labels_from_values(
    values: Shaped[np.ndarray, "*spatial"], classes: Sequence[ClassDefinition], ignore: Sequence[int] = ()
) -> UInt8[np.ndarray, "*spatial"]:
    """File values -> class indices, and ``IGNORE`` for the values in ``ignore``.

    Values without a class become background: ask ``unknown_values`` first.
    """
    labels = np.zeros_like(values, np.uint8)  # in the same order in memory: ten times faster where it is Fortran's
    for value in ignore:
        np.copyto(labels, np.uint8(IGNORE), where=values == value)
    for k, definition in enumerate(classes[1:], start=1):
        for value in definition.values:
            np.copyto(labels, np.uint8(k), where=values == value)
    return labels


def read_labels(path: Path, index: DatasetIndex, geometry: Geometry | None = None) -> UInt8[np.ndarray, "*spatial"]:
    """An annotation (or truth, or predicted label map) as class indices.

    Args:
        path: Any lossless file type.
        index: Says which file values mean which class, and 2D or 3D.
        geometry: Of the image that the annotation belongs to, compared unless None.

    Raises:
        ImageError: Missing or unreadable.
        GeometryError: Another shape or affine than the image.
        AnnotationError: A value without a class, colours, or a lossy file type.
    """
    values, own = read_annotation_values(path, index.spatial_dims)
    difference = grid_difference(geometry, own) if geometry is not None else None
    if difference:
        raise GeometryError(
            f"{difference} found for the image and annotation {path}, the same grid expected. Resample the annotation."
        )
    unknown = unknown_values(values, index.classes, index.ignore)
    if unknown:
        raise AnnotationError(
            f"{describe_unknown(unknown, index.classes)} in {path}. Add the value to a class or mend the file."
        )
    return labels_from_values(values, index.classes, index.ignore)


def describe_unknown(unknown: Sequence[float], classes: Sequence[ClassDefinition]) -> str:
    """In words: which values were found and which expected."""
    found = ", ".join(f"{value:g}" for value in unknown[:8]) + (" ..." if len(unknown) > 8 else "")
    known = ", ".join(str(value) for definition in classes for value in definition.values)
    return f"Value {found} found, one of {known} expected,"


def read_case(case: Case, index: DatasetIndex) -> Sample:
    """A case in memory: image, the annotations of every annotator (zeros where absent), and the truth.

    Raises:
        ImageError: A file is missing or unreadable, or the image has NaN or other channels than the index says.
        GeometryError: Files of the case lie on different grids.
        AnnotationError: An annotation has values without a class.
    """
    image, geometry = read_image(case.image, index.spatial_dims)
    if len(image) != len(index.channels):
        raise ImageError(
            f"{counted(len(image), 'channel')} found, {len(index.channels)} ({', '.join(index.channels)}) expected, "
            f"in case {case.id!r}: {_names(case.image)}. Mend the file or the channels in dataset.json."
        )
    annotations = np.zeros((len(index.annotators), *geometry.shape), np.uint8)
    for r, name in enumerate(index.annotators):
        if name in case.annotations:
            annotations[r] = read_labels(case.annotations[name], index, geometry)
    truth = None if case.truth is None else torch.from_numpy(read_labels(case.truth, index, geometry))
    present = torch.tensor([name in case.annotations for name in index.annotators], dtype=torch.bool)
    return Sample(case.id, torch.from_numpy(image), torch.from_numpy(annotations), present, geometry, truth)


def file_name(name: str, geometry: Geometry) -> str:
    """``name`` with the file type of outputs: that of the input, but ``.png`` for JPEG, BMP and DICOM pictures, and
    ``.nii.gz`` for DICOM volumes.
    """
    if geometry.suffix == DICOM and geometry.affine is not None:
        return name + ".nii.gz"
    return name + (".png" if geometry.suffix in (*JPEG, ".bmp", DICOM) else geometry.suffix)


def write_labels(
    path: Path,
    labels: Shaped[np.ndarray, "*spatial"],
    geometry: Geometry,
    classes: Sequence[ClassDefinition],
    *,
    ignore: int | None = None,
) -> None:
    """Write class indices as file values (the first of each class) in the geometry of the input.

    Args:
        path: The file.
        labels: Class indices; with ``ignore`` they may be ``IGNORE``.
        geometry: Of the input.
        classes: In the order of the indices.
        ignore: File value for ``IGNORE``.

    Raises:
        OutputError: The file cannot be written, or its type cannot hold a class's value.
    """
    table = np.array([definition.values[0] for definition in classes])
    if ignore is not None:
        table = np.pad(table, (0, IGNORE + 1 - len(table)))
        table[IGNORE] = ignore
    kinds = (np.uint8, np.uint16, np.int16, np.int32)
    fitting = [kind for kind in kinds if np.iinfo(kind).min <= table.min() and table.max() <= np.iinfo(kind).max]
    if not fitting or (suffix_of(path) == ".png" and fitting[0] not in (np.uint8, np.uint16)):
        raise OutputError(
            f"Class values {table.tolist()} found, values that the file type holds expected, for {path}. Change the "
            "first value of the classes."
        )
    _write(path, table.astype(fitting[0])[labels], geometry)


def write_map(path: Path, values: Float[np.ndarray, "*spatial"], geometry: Geometry) -> None:
    """Write a map of values in [0, 1]: float32, but in units of 1/65535 in 16-bit PNG.

    Raises:
        OutputError: The file cannot be written.
        ValueError: NaN, or values outside [0, 1] by more than rounding.
    """
    if not (values.min() > -1e-3 and values.max() < 1 + 1e-3):
        raise ValueError(f"Values {values.min():g} to {values.max():g} found, 0 to 1 expected, for {path}.")
    if suffix_of(path) in (*VOLUMES, *TIFF):
        _write(path, values.astype(np.float32, copy=False), geometry)
    else:
        _write(path, np.rint(np.clip(values, 0, 1) * PNG_SCALE).astype(np.uint16), geometry)


def read_map(
    path: Path, spatial_dims: int, geometry: Geometry | None = None, *, foreign: bool = False
) -> Float32[np.ndarray, "*spatial"]:
    """What ``write_map`` wrote, in the axis order of ``read_image``.

    Args:
        path: Its values are taken as they are, but for pictures of 16 bits, which are in units of 1/65535.
        spatial_dims: 2 or 3.
        geometry: Of the image that the map belongs to, compared unless None.
        foreign: Whether another tool wrote it. Then a picture of 16 bits whose values end at 255 or below is taken
            for a mask or for 8 bits. We write such maps of a class that is nowhere likely.

    Raises:
        ImageError: Missing, unreadable, several channels, or ``foreign`` with a unit that nobody can know.
        GeometryError: Another grid than ``geometry``.
    """
    values = read_maps(path, spatial_dims, geometry, foreign=foreign)
    if len(values) != 1:
        raise ImageError(f"{len(values)} channels found, one expected, in map {path}. Give one file per class.")
    return values[0]


def read_maps(
    path: Path, spatial_dims: int, geometry: Geometry | None = None, *, foreign: bool = False
) -> Float32[np.ndarray, "C *spatial"]:
    """``read_map`` for a file with several channels."""
    values, own = _read(path, spatial_dims)
    difference = grid_difference(geometry, own) if geometry is not None else None
    if difference:
        raise GeometryError(
            f"{difference} found for the image and map {path}, the same grid expected. Resample the map."
        )
    if values.dtype != np.uint16 or suffix_of(path) in VOLUMES:
        return values.astype(np.float32)
    highest = int(values.max(initial=0))
    if foreign and 0 < highest <= EIGHT_BITS:
        raise ImageError(
            f"A map of 16 bits with values of at most {highest} found, 0 to {PNG_SCALE} for 0 to 1 expected, in "
            f"{path}: it looks like a mask, or like 8 bits. Multiply it, or write floats in [0, 1] as TIFF."
        )
    return values / np.float32(PNG_SCALE)


def _read(path: Path, spatial_dims: int | None, *, annotation: bool = False) -> tuple[np.ndarray, Geometry]:
    if suffix_of(path) in NIFTI:
        return read_nifti(path, spatial_dims)
    if suffix_of(path) in ITK:
        return read_itk(path, spatial_dims)
    if suffix_of(path) == DICOM and path.exists():
        return read_series(path, spatial_dims)
    values, geometry = (read_picture_values if annotation else read_picture)(path)
    found = len(geometry.shape)
    if spatial_dims not in (None, found):
        raise GeometryError(
            f"A {found}D image of shape {geometry.shape} found, {spatial_dims}D expected, at {path}. Keep 2D and 3D "
            "files in separate data sets."
        )
    return values, geometry


def _write(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    if suffix_of(path) in NIFTI:
        write_nifti(path, values, geometry)
    elif suffix_of(path) in ITK:
        write_itk(path, values, geometry)
    else:
        write_picture(path, values, geometry.resolution)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
