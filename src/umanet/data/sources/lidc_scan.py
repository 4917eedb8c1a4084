"""A CT series of LIDC-IDRI with what its readers outlined, and the crops and masks that are written of it.

Arrays here are in the order of the file (column, row, slice): outlines count pixels so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int64, UInt8
from nibabel.affines import voxel_sizes

from umanet.data.dicom import read_header, read_series
from umanet.data.formats import begins_as_dicom, listed
from umanet.data.geometry import from_ras
from umanet.data.nifti import write_nifti
from umanet.data.sources.lidc_nodules import Boundary, Nodule, distance, nodule_of
from umanet.data.sources.lidc_xml import Outline, Reading
from umanet.errors import DatasetError
from umanet.types import Geometry


@dataclass(frozen=True)
class Scan:
    """One series in memory.

    Attributes:
        folder: Where it lies.
        readers: How many read it.
        values: Hounsfield units.
        affine: Column, row, slice to RAS+ millimetres.
        slices: SOP instance UID to slice.
        z: Of the image position of each slice, as LIDC says where an outline lies.
        nodules: Of every reader, not yet grouped; each with a voxel at least.
        points: Reader and voxel of the nodules below 3 mm.
        geometry: Of the series, for files on its grid.
    """

    folder: Path
    readers: int
    values: Float32[np.ndarray, "columns rows slices"]
    affine: Float64[np.ndarray, "4 4"]
    slices: dict[str, int]
    z: Float64[np.ndarray, " slices"]
    geometry: Geometry
    nodules: tuple[Nodule, ...] = ()
    points: tuple[tuple[int, Int64[np.ndarray, " 3"]], ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres per column, row and slice."""
        column, row, depth = (float(size) for size in voxel_sizes(self.affine))
        return column, row, depth

    def slice_of(self, outline: Outline) -> int:
        """By the slice's UID, or else by z: some files name slices that are not in the series.

        Raises:
            DatasetError: No slice is less than half a slice away.
        """
        if outline.slice in self.slices:
            return self.slices[outline.slice]
        nearest = int(np.abs(self.z - outline.z).argmin())
        if abs(self.z[nearest] - outline.z) >= self.spacing[2] / 2:
            raise DatasetError(
                f"An outline at z = {outline.z:g} mm found in the XML, on a slice of the series (z from "
                f"{self.z.min():g} to {self.z.max():g} mm) expected. Copy the missing slices again."
            )
        return nearest


@dataclass(frozen=True)
class Box:
    """A part of a scan: the first column, row and slice, which may lie outside of it, and how many there are."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]


def dicom_files(folder: Path) -> list[Path]:
    return [path for path in listed(folder) if path.is_file() and begins_as_dicom(path)]


def read_scan(folder: Path, reading: Reading, boundary: Boundary, passed: Counter[str]) -> Scan:
    """Read a series and turn what its readers marked into voxels.

    Args:
        folder: Of one CT series.
        reading: Of the XML file that belongs to it.
        boundary: Whether the pixels of an outline belong to what it encloses.
        passed: What is passed over is counted here.

    Raises:
        DatasetError: The XML is of another series, or its outlines do not lie in this one.
        ImageError: Unreadable files, or several series.
        GeometryError: Slices that make no volume.
    """
    headers = [read_header(path) for path in dicom_files(folder)]
    if any(str(header.get("SeriesInstanceUID")) != reading.series for header in headers):
        raise DatasetError(
            f"The XML of another series found in {folder}, one whose SeriesInstanceUid is that of the images expected. "
            "Copy both again."
        )
    values, geometry = read_series(folder, 3)
    affine = geometry.affine
    if affine is None or len(values) != 1:
        raise DatasetError(f"Colours found in {folder}, a CT series expected. Copy it again.")
    inverse = np.linalg.inv(affine)
    places = {str(header.SOPInstanceUID): _place(header.ImagePositionPatient, inverse) for header in headers}
    # LIDC says where an outline lies by the third number of the image position.
    z = np.zeros(len(headers))
    for header in headers:
        z[places[str(header.SOPInstanceUID)]] = float(header.ImagePositionPatient[2])
    scan = Scan(folder, reading.readers, from_ras(values[0], geometry), affine, places, z, geometry)
    return _with_marks(scan, reading, boundary, passed)


def box_around(group: Sequence[Nodule], scan: Scan, side: int, slices: tuple[int, int]) -> Box:
    """A square of ``side`` pixels around the middle of a nodule, moved into the image where it is large enough.

    Args:
        group: The nodule.
        scan: Where it lies.
        side: In pixels.
        slices: First and last, cut to those that there are.

    Raises:
        DatasetError: The nodule is wider than the square.
    """
    voxels = np.concatenate([nodule.voxels for nodule in group])
    low, high = voxels.min(0), voxels.max(0)
    widest = int((high - low)[:2].max()) + 1
    if widest > side:
        raise DatasetError(f"A nodule of {widest} pixels found, {side} or less expected. Give a larger --side.")
    start = []
    for axis in range(2):
        length = scan.values.shape[axis]
        wanted = int(low[axis] + high[axis] + 1 - side) // 2
        # A square that is wider than the image has the image in its middle.
        start.append(min(max(wanted, 0), length - side) if side <= length else (length - side) // 2)
    first, last = max(slices[0], 0), min(slices[1], scan.values.shape[2] - 1)
    return Box((start[0], start[1], first), (side, side, last - first + 1))


def write_crop(path: Path, scan: Scan, box: Box) -> None:
    """Hounsfield units as 16-bit NIfTI; columns and rows outside of the image repeat those at its border.

    Raises:
        OutputError: The file cannot be written.
    """
    kept = [
        np.clip(np.arange(start, start + size), 0, length - 1)
        for start, size, length in zip(box.start, box.size, scan.values.shape, strict=True)
    ]
    values: Int16[np.ndarray, "a b c"] = np.clip(np.rint(scan.values[np.ix_(*kept)]), -32768, 32767).astype(np.int16)
    write_nifti(path, values, _geometry(scan, box))


def write_mask(path: Path, nodules: Sequence[Nodule], scan: Scan, box: Box | None = None) -> None:
    """1 where the nodules are; on the grid of a crop, or of the whole series.

    Raises:
        OutputError: The file cannot be written.
    """
    box = box or whole(scan)
    mask: UInt8[np.ndarray, "a b c"] = np.zeros(box.size, np.uint8)
    for nodule in nodules:
        voxels = nodule.voxels - np.array(box.start)
        inside = voxels[((voxels >= 0) & (voxels < np.array(box.size))).all(1)]
        mask[tuple(inside.T)] = 1
    write_nifti(path, mask, _geometry(scan, box))


def whole(scan: Scan) -> Box:
    columns, rows, slices = scan.values.shape
    return Box((0, 0, 0), (columns, rows, slices))


def _place(position: Sequence[float], inverse: np.ndarray) -> int:
    x, y, z = (float(value) for value in position)
    # DICOM positions are LPS; the affine is to RAS.
    return round(float((inverse @ np.array([-x, -y, z, 1.0]))[2]))


def _with_marks(scan: Scan, reading: Reading, boundary: Boundary, passed: Counter[str]) -> Scan:
    nodules, points = [], []
    for mark in reading.marks:
        if not mark.is_outlined:
            passed["nodule below 3 mm (a point)"] += 1
            points += [
                (mark.reader, np.array([*outline.points[0], scan.slice_of(outline)], np.int64))
                for outline in mark.outlines
                if len(outline.points)
            ]
            continue
        passed["outline by its z, as its slice is not in the series"] += sum(
            outline.slice not in scan.slices for outline in mark.outlines
        )
        nodule = nodule_of(mark, scan.slice_of, boundary)
        if (nodule.voxels < 0).any() or (nodule.voxels >= np.array(scan.values.shape)).any():
            raise DatasetError("An outline beyond the image found in the XML, one within it expected. Copy it again.")
        if len(nodule.voxels):
            nodules.append(nodule)
        else:
            passed["outlined nodule without a pixel inside"] += 1
    passed["mark at what is no nodule"] += reading.others
    return replace(scan, nodules=tuple(nodules), points=tuple(points))


def said_small(reader: int, group: Sequence[Nodule], scan: Scan) -> bool:
    """Whether a reader set a point, a nodule below 3 mm, at most a slice away from a nodule that others outlined."""
    return any(
        who == reader and any(distance(nodule, voxel, scan.spacing) <= scan.spacing[2] for nodule in group)
        for who, voxel in scan.points
    )


def _geometry(scan: Scan, box: Box) -> Geometry:
    shift = np.eye(4)
    shift[:3, 3] = box.start
    return Geometry(box.size, scan.spacing, True, scan.affine @ shift)
