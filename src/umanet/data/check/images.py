"""The image of a case: readable, finite, of the channels that are expected; and what other cases are compared with."""

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from umanet.data.check.problems import Place, Problem
from umanet.data.formats import NIFTI, suffix_of
from umanet.data.geometry import form_conflict
from umanet.data.images import read_image_values
from umanet.data.index import DatasetIndex
from umanet.data.nifti import nifti_bytes
from umanet.errors import UmanetError, counted
from umanet.types import Case, Geometry

Found = Generator[Problem, None, Any]
"""Yields problems and returns what was read, or None where nothing could be."""
STATISTICS = ("mean", "median", "99th percentile")
SAMPLED = 2**16
"""About so many voxels give the percentiles: exact ones cost more than reading the file."""


@dataclass(frozen=True)
class ImageFindings:
    """What is kept of an image.

    Attributes:
        digest: Of its values and their shape.
        intensities: Per channel the numbers that ``STATISTICS`` names, of finite values.
        spacing: Millimetres, where the file knows them.
        geometry: Of the array.
    """

    digest: bytes
    intensities: tuple[tuple[float, ...], ...]
    spacing: tuple[float, ...] | None
    geometry: Geometry


def check_image(case: Case, index: DatasetIndex) -> Found:
    """The problems of an image; returns ``ImageFindings``."""
    missing = [path for path in case.image if not path.exists()]
    for path in missing:
        yield Place(case.id, None, path).missing()
    if missing:
        return None
    place = Place(case.id, None, case.image[0])
    try:
        values, geometry = read_image_values(case.image, index.spatial_dims)
    except UmanetError as error:
        yield place.unread(error)
        return None
    for path in case.image:
        yield from check_header(Place(case.id, None, path), geometry if path == case.image[0] else None)
    yield from _channels(place, values, case, index)
    finite = np.isfinite(values)
    if not finite.all():
        bad = counted(int(values.size - np.count_nonzero(finite)), "NaN or infinite value")
        found = f"{bad} found, finite ones expected, in {_names(case)}."
        yield place.problem("error", "not-finite", found, "Replace them.")
    for number, channel in enumerate(values):
        if (channel == channel.flat[0]).all():
            found = f"Only the value {channel.flat[0]:g} found in channel {number}, an image expected,"
            yield place.problem("warning", "constant-image", f"{found} in {_names(case)}.", "Look at it.")
    digest = hashlib.sha256(str(values.shape).encode())
    digest.update(np.ascontiguousarray(values).data)
    spacing = geometry.spacing if geometry.spacing_is_known else None
    return ImageFindings(digest.digest(), tuple(map(_intensities, values)), spacing, geometry)


def check_header(place: Place, geometry: Geometry | None) -> Iterator[Problem]:
    """What is odd about a file that could be read: bytes after its values, two opinions of where it lies."""
    path = place.file
    if path is not None and path.is_file() and suffix_of(path) in NIFTI:
        expected, size = nifti_bytes(path)
        if size > expected:
            found = f"{counted(size - expected, 'byte')} after the last value found, none expected, in {path}."
            remedy = "The header may be wrong: compare the shape with the original, and write the file anew."
            yield place.problem("warning", "file-size", found, remedy)
    apart = 0.0 if geometry is None else form_conflict(geometry)
    if apart:
        found = f"qform and sform that put corners {apart:.3g} mm apart found, one place expected, in {path}."
        remedy = "The sform is used here, other programs may use the qform: set both to the right one."
        yield place.problem("warning", "qform-sform", found, remedy)


def _channels(place: Place, values: Float32[np.ndarray, "C *spatial"], case: Case, index: DatasetIndex) -> Found:
    found, expected = len(values), len(index.channels)
    if found == expected:
        return
    names = f"{expected} ({', '.join(index.channels)}) expected, in {_names(case)}."
    if len(case.image) == 1 and suffix_of(case.image[0]) in NIFTI and values.ndim == 4:
        remedy = (
            "Save the volume that is meant to a file of its own, or, where the volumes are channels, import the data "
            "set anew so that each is named."
        )
        yield place.problem("error", "volumes", f"A 4D file of {counted(found, 'volume')} found, {names}", remedy)
    else:
        what = f"{counted(found, 'channel')} found, {names}"
        yield place.problem("error", "channels", what, "Mend the file or take the case out.")


def _intensities(channel: Float32[np.ndarray, "*spatial"]) -> tuple[float, ...]:
    flat = channel.ravel()
    some = flat[:: max(1, flat.size // SAMPLED)]
    some = some[np.isfinite(some)]
    if not some.size:
        return ()
    median, high = np.percentile(some, (50, 99))
    return float(some.mean(dtype=np.float64)), float(median), float(high)


def _names(case: Case) -> str:
    return ", ".join(map(str, case.image))
