"""NIfTI: arrays are presented in RAS+ axis order and written back in the file's order, shape and affine."""

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Shaped
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError

from umanet.data.files import whole_file
from umanet.data.formats import reading
from umanet.data.geometry import from_ras, geometry_in_file, to_ras
from umanet.errors import ImageError
from umanet.types import Geometry

DEFLATE_AT_MOST = 1040
"""No deflated byte stands for more bytes than this (1032, and the headers of short files)."""
CHUNK = 2**20
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
"""Per unit of the header. Files without a unit are taken as millimetres, as every other reader does."""


def read_nifti(path: Path, spatial_dims: int | None) -> tuple[Shaped[np.ndarray, "C *spatial"], Geometry]:
    """All channels of a file in RAS+ order, in the file's own value type.

    Channels are the fourth axis (the fifth, where the fourth has one entry, as ITK writes vectors).

    Args:
        path: ``.nii`` or ``.nii.gz``.
        spatial_dims: 2 takes a file with one slice, along any axis; None means 2 where there is one slice.

    Raises:
        ImageError: Unreadable, truncated, a wrong checksum, colours, or a singular affine.
        GeometryError: Other than ``spatial_dims`` axes.
    """
    with reading(path):
        image = open_nifti(path)
        stored = _read_through(image, path)
    if stored.dtype.fields is not None or stored.dtype.kind not in "biuf":
        raise ImageError(f"Values of type {stored.dtype} found, numbers expected, in {path}. Convert the file.")
    channels = _channels_first(stored, path)
    geometry = _geometry_of(path, image, channels.shape[1:], spatial_dims)
    return np.stack([to_ras(channel, geometry) for channel in channels]), geometry


def read_nifti_geometry(path: Path, spatial_dims: int | None) -> Geometry:
    """The geometry that ``read_nifti`` gives, from the header alone.

    Raises:
        ImageError: The header is unreadable, or its affine singular.
        GeometryError: Other than ``spatial_dims`` axes.
    """
    with reading(path):
        image = open_nifti(path)
        shape = image.shape
    # Broadcast, not allocated: only the rule of where channels are is asked for.
    channels = _channels_first(np.broadcast_to(np.uint8(0), shape), path)
    return _geometry_of(path, image, channels.shape[1:], spatial_dims)


def open_nifti(path: Path) -> nib.Nifti1Image:
    """The header of a file; its values are not read yet.

    Raises:
        ImageError: Another format.
    """
    image = nib.load(path, mmap=False)
    if not isinstance(image, nib.Nifti1Image):
        raise ImageError(f"{type(image).__name__} found, NIfTI expected, at {path}. Convert the file.")
    return image


def nifti_bytes(path: Path) -> tuple[int, int]:
    """How many bytes the header of a NIfTI file asks for, and how many there are (compressed ones unpacked).

    Raises:
        ImageError: The header cannot be read.
    """
    with reading(path):
        expected = _promised(_proxy(open_nifti(path)))
        size = path.stat().st_size
        if not path.name.lower().endswith(".gz"):
            return expected, size
        with path.open("rb") as stream:
            stream.seek(-4, 2)
            # What gzip remembers of the length, modulo 2**32; files of several members have that of the last.
            if int.from_bytes(stream.read(4), "little") == expected % 2**32:
                return expected, expected
        with gzip.open(path) as stream:
            return expected, sum(map(len, iter(lambda: stream.read(CHUNK), b"")))


def _proxy(image: nib.Nifti1Image) -> ArrayProxy:
    assert isinstance(image.dataobj, ArrayProxy)  # of every image that was loaded and not made
    return image.dataobj


def _promised(proxy: ArrayProxy) -> int:
    return int(proxy.offset) + int(np.prod(proxy.shape, dtype=object)) * proxy.dtype.itemsize


def _read_through(image: nib.Nifti1Image, path: Path) -> np.ndarray:
    """The values. Compressed files are read to their end, where the checksum is, which nibabel leaves alone."""
    packed = path.name.lower().endswith(".gz")
    proxy = _proxy(image)
    promised, most = _promised(proxy), path.stat().st_size * (DEFLATE_AT_MOST if packed else 1)
    if promised > most:  # before memory is asked for: a header may promise anything
        raise EOFError(f"its header asks for {promised} bytes, and it holds at most {most}")
    with gzip.open(path) if packed else path.open("rb") as stream:
        layout = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
        stored = np.asanyarray(ArrayProxy(stream, layout, mmap=False))
        while packed and stream.read(CHUNK):
            pass
    return stored


def write_nifti(path: Path, values: Shaped[np.ndarray, "*spatial"], geometry: Geometry) -> None:
    """Write an array on the grid of ``geometry`` in the axis order, shape, affine and space of its file."""
    affine = np.eye(4) if geometry.affine is None else geometry.affine
    image = nib.Nifti1Image(np.ascontiguousarray(from_ras(values, geometry)), affine)
    of_qform, of_sform = geometry.codes
    image.set_sform(affine, code=of_sform)
    qform = affine if geometry.qform is None else geometry.qform
    # A quaternion cannot hold shears: better no qform than one that contradicts the sform.
    orthogonal = np.allclose(np.triu((qform[:3, :3].T @ qform[:3, :3]), 1), 0, atol=1e-4)
    image.set_qform(qform, code=of_qform if orthogonal else 0)
    image.header.set_xyzt_units("mm" if geometry.spacing_is_known else "unknown")
    with whole_file(path) as temporary:
        nib.save(image, temporary)


def _geometry_of(path: Path, image: nib.Nifti1Image, file_shape: tuple[int, ...], spatial_dims: int | None) -> Geometry:
    unit = image.header.get_xyzt_units()[0]
    to_mm = np.diag((*(3 * [MILLIMETRES[str(unit)]]), 1.0))
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    known = unit != "unknown"
    geometry = geometry_in_file(path, to_mm @ image.affine, file_shape, spatial_dims, known=known, suffix=suffix)
    qform, codes = _forms(image.header)
    return replace(geometry, qform=None if qform is None else to_mm @ qform, codes=codes)


def _forms(header: nib.Nifti1Header) -> tuple[np.ndarray | None, tuple[int, int]]:
    """The qform, in the file's unit, and the codes of qform and sform. An unusable qform beside an sform is none."""
    codes = int(header["qform_code"]), int(header["sform_code"])
    try:
        qform, _ = header.get_qform(coded=True)
    except (ValueError, HeaderDataError):
        return None, (0, codes[1])
    return qform, codes


def _channels_first(stored: np.ndarray, path: Path) -> np.ndarray:
    if stored.ndim == 5 and stored.shape[3] == 1:
        stored = stored[:, :, :, 0]
    if stored.ndim == 4:
        return np.moveaxis(stored, 3, 0)
    if stored.ndim in (2, 3):
        return stored[None]
    raise ImageError(
        f"Shape {stored.shape} found, two or three spatial axes and at most one of channels expected, in {path}. Split "
        "the file."
    )
