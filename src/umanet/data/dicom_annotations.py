"""Annotations in DICOM: segmentations (SEG) and structure sets (RTSTRUCT), as masks on the grid of their image.

Frames and contours are laid where they say that they lie in the patient, never by their order. The convention for
contours is that of ``fill_even_odd``: a voxel belongs to a region if its centre lies inside.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from umanet.data.contours import fill_even_odd
from umanet.data.dicom import LPS_TO_RAS, quoting_no_tag, read_dataset
from umanet.data.geometry import GRID_TOLERANCE, to_ras
from umanet.data.index import CODE
from umanet.errors import AnnotationError, ImageError, counted
from umanet.types import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
FRACTION = 0.5
"""Of a FRACTIONAL segmentation: voxels with this much or more belong to the segment."""


@dataclass(frozen=True)
class Region:
    """What one segment or ROI covers.

    Attributes:
        name: The segment's label or the ROI's name.
        mask: On the grid of the image, volumes in RAS+ axis order.
        open_contours: Contours of the ROI that enclose nothing (points, open lines), which are not in the mask.
    """

    name: str
    mask: Bool[np.ndarray, "*spatial"]
    open_contours: int = 0


@dataclass(frozen=True)
class Outline:
    """What an annotation object says without its voxels.

    Attributes:
        series: The image series that it refers to.
        frame: Its frame of reference; None where it has none.
        names: Segments, or ROIs that enclose something, and the coded concept ``SCHEME:VALUE:MEANING`` of segments.
        fractional: Whether it is a FRACTIONAL segmentation.
    """

    series: frozenset[str]
    frame: str | None
    names: Mapping[str, str | None]
    fractional: bool


def is_annotation(sop_class: str) -> bool:
    """Whether files of this SOP class are read by ``read_regions``."""
    return sop_class in SEGMENTATIONS or sop_class == STRUCTURES


def read_outline(path: Path) -> Outline:
    """What an annotation object refers to, and the names in it.

    Raises:
        ImageError: Unreadable.
    """
    dataset = read_dataset(path, stop_before_pixels=True)
    with _whole(path):
        if dataset.SOPClassUID == STRUCTURES:
            series = {str(s.SeriesInstanceUID) for s in _referenced_by_structures(dataset)}
            closed = {name: None for name, contours in _contours(dataset) if any(map(_is_closed, contours))}
            frames = _frames(dataset)
            return Outline(frozenset(series), next(iter(frames)) if len(frames) == 1 else None, closed, False)
        series = {str(s.SeriesInstanceUID) for s in dataset.get("ReferencedSeriesSequence", [])}
        names = {_label(item): _code(item) for item in dataset.SegmentSequence if _label(item)}
        frame = dataset.get("FrameOfReferenceUID")
        return Outline(
            frozenset(series), str(frame) if frame else None, names, dataset.get("SegmentationType") == "FRACTIONAL"
        )


def read_regions(path: Path, geometry: Geometry, frame: str | None) -> list[Region]:
    """The masks of an annotation object on the grid of its image.

    Args:
        path: A SEG or an RTSTRUCT.
        geometry: Of the image, from ``read_series``.
        frame: The image's frame of reference, which must be that of the object; of pictures it is not asked for.

    Raises:
        AnnotationError: No frame of reference or another one; frames or contours off the image's grid or outside.
        ImageError: Unreadable.
    """
    dataset = read_dataset(path)
    with _whole(path):
        if dataset.SOPClassUID == STRUCTURES:
            _check_frame(_frames(dataset), geometry, frame, path)
            return _structures(dataset, geometry, path)
        found = dataset.get("FrameOfReferenceUID")
        if geometry.affine is not None:
            _check_frame({str(found)} if found else set(), geometry, frame, path)
        return _segments(dataset, geometry, path)


def _check_frame(found: set[str], geometry: Geometry, frame: str | None, path: Path) -> None:
    if geometry.affine is None:
        raise AnnotationError(
            f"Contours found for a picture without a place in the patient, a mask expected, at {path}. Draw it as a "
            "segmentation."
        )
    if not found:
        raise AnnotationError(
            f"No frame of reference found, that of the image expected, in {path}: nobody can know where it lies. "
            "Export it again with its image."
        )
    if found != {frame}:
        raise AnnotationError(
            f"A frame of reference found that is not the image's, the same expected, in {path}. Register the images, "
            "and export the annotation on this one."
        )


def _segments(dataset: "Dataset", geometry: Geometry, path: Path) -> list[Region]:
    labels = {int(item.SegmentNumber): _label(item) for item in dataset.SegmentSequence}
    try:
        frames = np.asarray(dataset.pixel_array).reshape(-1, int(dataset.Rows), int(dataset.Columns))
    except (ValueError, RuntimeError, AttributeError) as error:
        raise ImageError(
            f"The frames in {path} cannot be decoded ({type(error).__name__}). The file may be truncated: copy it "
            "again, or convert it to an uncompressed transfer syntax."
        ) from None
    masks = {number: np.zeros(geometry.file_shape or geometry.shape, bool) for number in labels}
    for number, frame in enumerate(frames):
        for segment, drawn in _drawn(dataset, number, frame, labels):
            if segment not in masks:
                raise AnnotationError(
                    f"A frame of a segment that is not described found, one of {counted(len(labels), 'segment')} "
                    f"expected, in {path}. Export it again."
                )
            masks[segment][_voxels(dataset, number, drawn, geometry, path)] = True
    return [Region(labels[number], to_ras(mask, geometry)) for number, mask in masks.items() if labels[number]]


def _drawn(
    dataset: "Dataset", number: int, frame: Shaped[np.ndarray, "rows columns"], labels: dict[int, str]
) -> Iterator[tuple[int, Bool[np.ndarray, "rows columns"]]]:
    """Segment number and pixels: one of a frame, but all of them where a frame holds segment numbers."""
    if dataset.get("SegmentationType") == "LABELMAP":
        yield from ((segment, frame == segment) for segment in labels if (frame == segment).any())
        return
    segment = int(_group(dataset, number, "SegmentIdentificationSequence").ReferencedSegmentNumber)
    full = float(dataset.get("MaximumFractionalValue", 255))
    fractional = dataset.get("SegmentationType") == "FRACTIONAL"
    yield segment, frame >= FRACTION * full if fractional else frame > 0


def _voxels(
    dataset: "Dataset", number: int, drawn: Bool[np.ndarray, "rows columns"], geometry: Geometry, path: Path
) -> tuple[np.ndarray, ...]:
    """Where the pixels of a frame lie in the image's file order; frames may be turned, mirrored or cropped."""
    if geometry.affine is None:
        if drawn.shape != geometry.shape:
            raise AnnotationError(
                f"Frames of {drawn.shape} pixels found, {geometry.shape} as the picture expected, in {path}. Export "
                "it again on the picture."
            )
        return np.nonzero(drawn)
    assert geometry.file_shape is not None
    place = _group(dataset, number, "PlanePositionSequence").ImagePositionPatient
    turn = np.array(_group(dataset, number, "PlaneOrientationSequence").ImageOrientationPatient, float)
    spacing = _group(dataset, number, "PixelMeasuresSequence").PixelSpacing
    to_voxels = np.linalg.inv(LPS_TO_RAS @ geometry.affine)
    step_column, step_row = (
        to_voxels[:3, :3] @ v for v in (turn[:3] * float(spacing[1]), turn[3:] * float(spacing[0]))
    )
    exact = np.stack([step_row, step_column, to_voxels[:3] @ [*map(float, place), 1]])
    whole = np.rint(exact).astype(int)
    corners = np.array([(r, c, 1) for r in (0, drawn.shape[0] - 1) for c in (0, drawn.shape[1] - 1)])
    one_step = (np.abs(whole[:2]).sum(1) == 1).all()
    if not one_step or np.abs(corners @ (exact - whole)).max() > GRID_TOLERANCE:
        raise AnnotationError(
            f"Frame {number + 1} found off the image's grid (between slices, tilted, or with other pixels), frames on "
            f"its slices expected, in {path}. Resample the segmentation to the image."
        )
    pixels = np.argwhere(drawn)
    voxels = pixels @ whole[:2] + whole[2]
    if ((voxels < 0) | (voxels >= geometry.file_shape)).any():
        raise AnnotationError(
            f"Frame {number + 1} found with voxels outside of the image, all inside expected, in {path}. It may belong "
            "to another series, or slices of the image may be missing."
        )
    return tuple(voxels.T)


def _structures(dataset: "Dataset", geometry: Geometry, path: Path) -> list[Region]:
    assert geometry.affine is not None and geometry.file_shape is not None
    columns, rows, _ = geometry.file_shape
    to_voxels = np.linalg.inv(LPS_TO_RAS @ geometry.affine)
    regions = []
    for name, contours in _contours(dataset):
        outlines: dict[int, list[np.ndarray]] = defaultdict(list)
        closed = [contour for contour in contours if _is_closed(contour)]
        for contour in closed:
            values = np.array(contour.get("ContourData") or [], float)
            if len(values) < 9 or len(values) % 3:
                raise AnnotationError(
                    f"A contour of {len(values)} numbers found, three for each of three or more points expected, in "
                    f"{path}. Export it again."
                )
            points = values.reshape(-1, 3) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            outlines[_slice(points, geometry.file_shape, path)].append(points[:, :2])
        mask = np.zeros(geometry.file_shape, bool)
        for number, found in outlines.items():
            mask[:, :, number] = fill_even_odd(found, (rows, columns)).T
        regions.append(Region(name, to_ras(mask, geometry), len(contours) - len(closed)))
    return regions


def _slice(points: Float64[np.ndarray, "points 3"], file_shape: tuple[int, ...], path: Path) -> int:
    """The slice that a contour lies on: the nearest, from which no point is more than half a slice away."""
    number = int(np.rint(np.median(points[:, 2])))
    if not 0 <= number < file_shape[2]:
        raise AnnotationError(
            f"A contour above or below the image found, all on its {counted(file_shape[2], 'slice')} expected, in "
            f"{path}. It may belong to another series, or slices of the image may be missing."
        )
    if np.abs(points[:, 2] - number).max() > 0.5:
        raise AnnotationError(
            f"A contour through several slices found, contours on slices expected, in {path}. Export it on the image's "
            "slices."
        )
    # Outer pixels end half a pixel beyond their centres; a contour along the border may be rounded.
    margin = 0.5 + GRID_TOLERANCE
    if points[:, :2].min() < -margin or (points[:, :2] > np.array(file_shape[:2]) - 1 + margin).any():
        raise AnnotationError(
            f"A contour that leaves the image at the side found, all inside expected, in {path}. It may belong to "
            "another series."
        )
    return number


def _contours(dataset: "Dataset") -> "Iterator[tuple[str, list[Dataset]]]":
    """ROI name and contours, of the ROIs that have any."""
    names = {
        int(roi.ROINumber): str(roi.get("ROIName") or "").strip() or f"ROI {int(roi.ROINumber)}"
        for roi in dataset.StructureSetROISequence
    }
    for roi in dataset.get("ROIContourSequence", []):
        contours = list(roi.get("ContourSequence", []))
        if contours:
            yield names[int(roi.ReferencedROINumber)], contours


def _is_closed(contour: "Dataset") -> bool:
    return contour.get("ContourGeometricType") in CLOSED


def _frames(dataset: "Dataset") -> set[str]:
    drawn = {int(roi.ReferencedROINumber) for roi in dataset.get("ROIContourSequence", [])}
    rois = [roi for roi in dataset.StructureSetROISequence if int(roi.ROINumber) in drawn]
    frames = {str(roi.get("ReferencedFrameOfReferenceUID") or "") for roi in rois} - {""}
    named = {
        str(item.get("FrameOfReferenceUID") or "") for item in dataset.get("ReferencedFrameOfReferenceSequence", [])
    }
    return frames or named - {""}


def _referenced_by_structures(dataset: "Dataset") -> "Iterator[Dataset]":
    for frame in dataset.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            yield from study.get("RTReferencedSeriesSequence", [])


def _group(dataset: "Dataset", frame: int, name: str) -> Any:
    """A functional group of a frame: its own, or the one that all frames share."""
    for holder in (dataset.PerFrameFunctionalGroupsSequence[frame], dataset.SharedFunctionalGroupsSequence[0]):
        if holder.get(name):
            return holder[name].value[0]
    raise KeyError(name)


def _label(segment: "Dataset") -> str:
    """Empty for the background, which a LABELMAP may describe as segment 0."""
    number = int(segment.SegmentNumber)
    return (str(segment.get("SegmentLabel") or "").strip() or f"segment {number}") if number else ""


def _code(segment: "Dataset") -> str | None:
    for kind in segment.get("SegmentedPropertyTypeCodeSequence", []):
        parts = [str(kind.get(key) or "") for key in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")]
        if re.fullmatch(CODE, ":".join(parts)):
            return ":".join(parts)
    return None


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What is missing in a file that can be read, as an error that names the file."""
    with quoting_no_tag(path):
        try:
            yield
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ImageError(
                f"{path} lacks parts of a segmentation or structure set ({type(error).__name__}). It may be truncated: "
                "copy it again."
            ) from error
