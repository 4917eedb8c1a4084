"""NRRD and MetaImage, through SimpleITK: volumes in RAS+ axis order, as NIfTI; files with two axes as pictures.

ITK has millimetres that grow towards the left, posterior, superior (LPS). A file with two axes says where it lies in
a plane, but not where the plane lies in the patient: it is an array of rows and columns with a known spacing.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Shaped

from umanet.data.dicom import LPS_TO_RAS
from umanet.data.files import whole_file
from umanet.data.formats import NRRD, reading, suffix_of
from umanet.data.geometry import from_ras, geometry_in_file, to_ras
from umanet.errors import GeometryError, ImageError
from umanet.types import Geometry

if TYPE_CHECKING:
    from SimpleITK import Image

DATA_FILE = re.compile(rb"^(?:data ?file:|ElementDataFile\s*=)\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
"""Where a header says that its data lie in a file of their own."""
HEADER_BYTES = 1 << 16
SLICER = "Segment"
"""What the header fields of 3D Slicer's segmentations begin with."""


def read_itk(path: Path, spatial_dims: int | None) -> tuple[Shaped[np.ndarray, "C *spatial"], Geometry]:
    """All channels of a file, in the file's own value type. The components of vector pixels are channels.

    Args:
        path: ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd``; of a segmentation of 3D Slicer (``.seg.nrrd``) the values are
            the label values of its segments.
        spatial_dims: 2 takes a file with two axes, or with one slice along any of three; None means 2 for both.

    Raises:
        ImageError: Unreadable, truncated, its data missing, complex values, or a segmentation in several layers.
        GeometryError: Other than ``spatial_dims`` axes.
    """
    image = _load(path)
    axes = image.GetDimension()
    if axes not in (2, 3):
        raise GeometryError(f"{axes} axes found, two or three expected, in {path}. Split the file.")
    channels = _channels(image, path)
    suffix = ".nrrd" if suffix_of(path) in NRRD else ".mha"
    if axes == 2:
        return channels, _plane_geometry(path, image, channels.shape[1:], spatial_dims, suffix)
    stored = channels.transpose(0, 3, 2, 1)  # z, y, x -> x, y, z
    affine = LPS_TO_RAS @ _to_millimetres(image)
    geometry = geometry_in_file(path, affine, stored.shape[1:], spatial_dims, known=True, suffix=suffix)
    return np.stack([to_ras(channel, geometry) for channel in stored]), geometry


def write_itk(path: Path, values: Shaped[np.ndarray, "*spatial"], geometry: Geometry) -> None:
    """Write an array on the grid of ``geometry``, compressed. Pictures are written with two axes.

    Raises:
        OutputError: The file cannot be written.
    """
    import SimpleITK as sitk

    if geometry.affine is None:
        image = sitk.GetImageFromArray(np.ascontiguousarray(values))
        plain = np.diag((*reversed(geometry.spacing), 1.0))
        to_mm = plain if geometry.plane is None or values.ndim != 2 else geometry.plane
    else:
        stored = from_ras(values, geometry)
        solid = stored.reshape((*stored.shape, 1)[:3])  # NIfTI may have two axes and an affine of three
        image = sitk.GetImageFromArray(np.ascontiguousarray(solid.transpose(2, 1, 0)))
        to_mm = LPS_TO_RAS @ geometry.affine
    sizes = np.linalg.norm(to_mm[:-1, :-1], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetOrigin(to_mm[:-1, -1].tolist())
    image.SetDirection((to_mm[:-1, :-1] / sizes).ravel().tolist())
    with whole_file(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(" ".join(str(error).split())[-200:]) from None


def _load(path: Path) -> "Image":
    import SimpleITK as sitk

    with reading(path):
        _require_data(path)
        try:
            return sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise ValueError(_reason(str(error))) from None


def _reason(message: str) -> str:
    """ITK names its own sources first and what is wrong last, and of MetaImage not even that."""
    last = message.strip().splitlines()[-1]
    if "Unable to determine" in last:
        return "its beginning is not that of its type"
    return "its data end early" if last.startswith("Reason:") else last


def _require_data(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    if suffix_of(path) in NRRD:
        head = head.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0]
    found = DATA_FILE.search(head)
    name = found.group(1).decode("utf-8", "replace") if found else "LOCAL"
    several = name.upper().startswith("LIST") or "%" in name
    if name.upper() != "LOCAL" and not several and not (path.parent / name).is_file():
        raise ImageError(
            f"A header without its data found at {path}, the file {Path(name).name} expected where the header says. "
            "Copy it too."
        )


def _channels(image: "Image", path: Path) -> np.ndarray:
    import SimpleITK as sitk

    values = sitk.GetArrayFromImage(image)
    if values.dtype.kind not in "biuf":
        raise ImageError(f"Values of type {values.dtype} found, numbers expected, in {path}. Convert the file.")
    channels = np.moveaxis(values, -1, 0) if values.ndim > image.GetDimension() else values[None]
    of_slicer = any(key.startswith(SLICER) for key in image.GetMetaDataKeys())
    if len(channels) > 1 and (of_slicer or suffix_of(path) == ".seg.nrrd"):
        raise ImageError(
            f"A segmentation in {len(channels)} layers found, one expected, in {path}: its segments overlap, or an old "
            "version saved it. In 3D Slicer, export it to a labelmap (module Segmentations) and save that as .nrrd."
        )
    return channels


def _to_millimetres(image: "Image") -> Float64[np.ndarray, "N N"]:
    axes = image.GetDimension()
    matrix = np.eye(axes + 1)
    matrix[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes)) * np.array(image.GetSpacing())
    matrix[:axes, axes] = image.GetOrigin()
    return matrix


def _plane_geometry(
    path: Path, image: "Image", shape: tuple[int, ...], spatial_dims: int | None, suffix: str
) -> Geometry:
    if spatial_dims == 3:
        raise GeometryError(
            f"A 2D image of shape {shape} found, 3D expected, at {path}. Keep 2D and 3D files in separate data sets."
        )
    spacing = tuple(float(size) for size in reversed(image.GetSpacing()))
    # The types have no way to say that nobody knows: pictures converted by tools have ones.
    known = not np.allclose(spacing, 1)
    return Geometry(shape, spacing, known, suffix=suffix, plane=_to_millimetres(image))
