"""DICOM images: a series as one volume in RAS+ axis order, or a single picture; tags are read for geometry only.

Slices are put in order by where they lie in the patient, never by file name or instance number. pydicom and highdicom
are the extra ``dicom``.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from umanet.data.formats import DICOM, begins_as_dicom, listed
from umanet.data.geometry import geometry_in_file, to_ras
from umanet.errors import GeometryError, ImageError
from umanet.types import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
DICOMDIR = "1.2.840.10008.1.3.10"
NOT_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    DICOMDIR: "DICOMDIR",
}
"""SOP classes that lie beside images and are none, though they may have rows. So is what is not called an image."""
HEADER = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns",
    "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Modality",
)  # fmt: skip
"""The tags by which files are told apart; none says who the patient is."""


@contextmanager
def odd_values_unsaid() -> Iterator[None]:
    """Pydicom warns of and logs values that DICOM does not allow, and quotes them: a patient's name, perhaps.

    Values are looked at when they are asked for, so this goes round all that asks, not round reading alone.
    """
    try:
        from pydicom.config import disable_value_validation
    except ImportError:  # said when a file is read
        yield
        return
    with disable_value_validation():
        yield


@odd_values_unsaid()
def series_in(folder: Path) -> dict[str, list[Path]]:
    """The image series of a folder (not of those below): series instance UID to files, in the order of names.

    Raises:
        ImageError: A file that begins as DICOM cannot be read, or the extra ``dicom`` is not installed.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in listed(folder):
        if path.is_file() and begins_as_dicom(path):
            header = read_header(path)
            if header.file_meta.get("MediaStorageSOPClassUID") == DICOMDIR:  # its data set names no class
                continue
            if "SOPClassUID" not in header or (is_image(header) and "Rows" not in header):
                raise ImageError(f"{path} ends before its image begins: truncated. Copy it again.")
            if is_image(header):
                found[str(header.get("SeriesInstanceUID"))].append(path)
    return dict(found)


@odd_values_unsaid()
def series_files(path: Path) -> list[Path]:
    """The files of the series that ``path`` stands for: a file of it, or a folder that holds one image series.

    Raises:
        ImageError: No image series in the folder, or several.
    """
    if path.is_file():
        header = read_header(path)
        if "SeriesInstanceUID" not in header or int(header.get("NumberOfFrames", 1)) > 1:
            return [path]
        return series_in(path.parent).get(str(header.SeriesInstanceUID), [path])
    series = series_in(path)
    if len(series) != 1:
        found = f"{len(series)} series" if series else "No DICOM image"
        raise ImageError(
            f"{found} found in {path}, one expected. Give each series a folder of its own, or name one file of the "
            "series that you mean."
        )
    return next(iter(series.values()))


@odd_values_unsaid()
def read_series(path: Path, spatial_dims: int | None = None) -> tuple[Float32[np.ndarray, "C *spatial"], Geometry]:
    """A series in modality units (Hounsfield for CT); MONOCHROME1 is inverted, so that bright is high.

    Args:
        path: A folder with one series, or any file of a series.
        spatial_dims: 2: a single picture; 3: a volume; None: as it comes.

    Returns:
        The values, volumes in RAS+ axis order and pictures as stored, and the geometry, whose suffix is ``.dcm``.

    Raises:
        ImageError: Unreadable, pixels in an encoding that no installed package decodes, or several sizes.
        GeometryError: Slices that do not make a volume (missing, tilted, twice), or another number of axes.
    """
    files = series_files(path)
    datasets = [read_dataset(file) for file in files]
    volume = len(datasets) > 1 or int(datasets[0].get("NumberOfFrames", 1)) > 1
    found = 3 if volume or (spatial_dims == 3 and "ImagePositionPatient" in datasets[0]) else 2
    if spatial_dims not in (None, found):
        raise GeometryError(
            f"A {found}D DICOM series of {len(files)} files found, {spatial_dims}D expected, at {path}. Keep 2D and 3D "
            "images in separate data sets."
        )
    return _volume(datasets, path) if found == 3 else _picture(datasets[0], path)


def volume_geometry(datasets: "list[Dataset]", where: Path) -> tuple[Any, Geometry]:
    """The volume that single-frame datasets (or one of many frames) make, as highdicom's ``Volume``, and its geometry.

    Raises:
        GeometryError: They do not make a volume.
        ImageError: Pixels that cannot be decoded.
    """
    import highdicom as hd

    with quoting_no_tag(where):
        try:
            if len(datasets) == 1 and int(datasets[0].get("NumberOfFrames", 1)) > 1:
                volume = hd.Image.from_dataset(datasets[0], copy=False).get_volume(dtype=np.float32)
            else:
                volume = hd.get_volume_from_series(datasets, dtype=np.float32)
        except (ValueError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            if "pixel data" in reason.lower() or "decod" in reason.lower() or "transfer syntax" in reason.lower():
                raise ImageError(
                    f"The pixels in {where} cannot be decoded ({reason}). Convert them to an "
                    "uncompressed transfer syntax."
                ) from None
            raise GeometryError(
                f"The {len(datasets)} files of the series at {where} found make no regular volume ({reason}): slices "
                "at even distances expected. Copy missing slices again, or remove those of another acquisition."
            ) from None
    affine = LPS_TO_RAS @ np.asarray(volume.affine, np.float64)
    # highdicom has slices, rows, columns; NIfTI has columns, rows, slices: outputs read as those of other converters.
    affine = affine[:, [2, 1, 0, 3]]
    shape = tuple(int(side) for side in reversed(volume.spatial_shape))
    return volume, geometry_in_file(where, affine, shape, 3, known=True, suffix=DICOM)


def _volume(datasets: "list[Dataset]", where: Path) -> tuple[np.ndarray, Geometry]:
    volume, geometry = volume_geometry(datasets, where)
    stored = np.asarray(volume.array, np.float32)
    channels = stored[None] if stored.ndim == 3 else np.moveaxis(stored, -1, 0)
    return np.stack([np.ascontiguousarray(to_ras(c.transpose(2, 1, 0), geometry)) for c in channels]), geometry


def _picture(dataset: "Dataset", where: Path) -> tuple[np.ndarray, Geometry]:
    from pydicom.pixels import apply_modality_lut

    with quoting_no_tag(where):
        try:
            values = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), np.float32)
        except (ValueError, AttributeError, RuntimeError, NotImplementedError) as error:
            raise ImageError(
                f"The pixels in {where} cannot be decoded ({' '.join(str(error).split())}). Convert them to an "
                "uncompressed transfer syntax."
            ) from None
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        values = values.max() + values.min() - values
    channels = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    known = spacing is not None
    mm = (float(spacing[0]), float(spacing[1])) if known else (1.0, 1.0)
    return channels, Geometry(channels.shape[1:], mm, known, suffix=DICOM)


def is_image(header: "Dataset") -> bool:
    return header.SOPClassUID not in NOT_IMAGES and "Image Storage" in header.SOPClassUID.name


def read_header(path: Path) -> "Dataset":
    """The tags in ``HEADER`` of a file, without its pixels.

    Raises:
        ImageError: Unreadable.
    """
    return read_dataset(path, stop_before_pixels=True, specific_tags=list(HEADER))


def read_dataset(path: Path, **options: Any) -> "Dataset":
    """A DICOM file; ``options`` are those of ``pydicom.dcmread``.

    Raises:
        ImageError: Unreadable, or the extra ``dicom`` is not installed.
    """
    try:
        import highdicom  # noqa: F401  # whoever reads a file goes on to need it
        import pydicom
    except ImportError:
        raise ImageError(
            f"A DICOM file found at {path}, which needs the packages pydicom and highdicom. Install them: "
            "pip install 'umanet[dicom]'."
        ) from None
    with quoting_no_tag(path):
        return pydicom.dcmread(path, **options)


@contextmanager
def quoting_no_tag(path: Path) -> Iterator[None]:
    """What pydicom raises on corrupt files, as an ImageError that names the file but nothing that stands in it."""
    from pydicom.errors import InvalidDicomError

    try:
        yield
    except (InvalidDicomError, OSError, EOFError, KeyError, NotImplementedError) as error:
        raise ImageError(
            f"{path} cannot be read as DICOM ({type(error).__name__}). It may be truncated: copy it again."
        ) from error
