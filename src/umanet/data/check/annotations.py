"""One annotation (or the truth) of a case: readable, on the grid of the image, values that mean something."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Shaped, UInt8

from umanet.data.check.images import Found, check_header
from umanet.data.check.problems import Place, Problem
from umanet.data.geometry import grid_difference, grid_noise
from umanet.data.images import describe_unknown, labels_from_values, read_annotation_values, unknown_values
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import UmanetError, counted
from umanet.types import IGNORE, Geometry

GRID_NOISE = 1e-3
"""Millimetres: what rounding in single precision cannot explain. Within ``GRID_TOLERANCE`` labels do not move."""


@dataclass(frozen=True)
class AnnotationFindings:
    """What is kept of an annotation.

    Attributes:
        digest: Of its labels and their shape; None where nothing is drawn.
        voxels: Of each label that occurs, ``IGNORE`` included.
    """

    digest: bytes | None
    voxels: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """The grid that annotations must lie on, and whose it is."""

    name: str
    geometry: Geometry


def check_annotation(place: Place, index: DatasetIndex, reference: Reference | None) -> Found:
    """The problems of an annotation file; returns its labels (None: no use) and its geometry (None: not read).

    Args:
        place: Where ``annotator`` is None, the file is the truth.
        index: Says which values mean what.
        reference: The grid of the image, or of another annotation where there is no image.
    """
    path = place.file
    assert path is not None
    if not path.exists():
        yield place.missing()
        return None, None
    try:
        values, own = read_annotation_values(path, index.spatial_dims)
    except UmanetError as error:
        yield place.unread(error)
        return None, None
    yield from check_header(place, own)
    difference = None
    if reference is not None:
        difference = grid_difference(reference.geometry, own)
        yield from _grid(place, reference, own, difference)
    unknown = unknown_values(values, index.classes, index.ignore)
    if unknown:
        yield from _values(place, values, unknown, index.classes)
        return None, own
    labels = labels_from_values(values, index.classes, index.ignore)
    if not ((labels > 0) & (labels < IGNORE)).any():
        kind = "empty-annotation" if place.annotator else "empty-truth"
        found = f"Nothing but background found in {path}."
        yield place.problem("note", kind, found, "Legal: it says that nothing is there.")
    return labels, own


def findings_of(labels: UInt8[np.ndarray, "*spatial"]) -> AnnotationFindings:
    voxels: dict[int, int] = {}
    for k in (0, IGNORE, *range(1, IGNORE)):
        if count := int(np.count_nonzero(labels == k)):
            voxels[k] = count
        if sum(voxels.values()) == labels.size:  # after the classes there are: faster than a histogram of 256
            break
    if not any(0 < k < IGNORE for k in voxels):
        return AnnotationFindings(None, voxels)
    digest = hashlib.sha256(str(labels.shape).encode())
    digest.update(np.ascontiguousarray(labels).data)
    return AnnotationFindings(digest.digest(), voxels)


def undeclared_classes(place: Place, index: DatasetIndex, findings: AnnotationFindings) -> Iterator[Problem]:
    """Classes that the annotator does not draw, by ``annotator_classes``, and yet drew."""
    if place.annotator not in index.annotator_classes:
        return
    declared = index.drawn_by(place.annotator)
    for k in sorted(findings.voxels):
        if 0 < k < IGNORE and k not in declared:
            names = ", ".join(index.annotator_classes[place.annotator])
            found = (
                f"Class {index.classes[k].name!r} ({findings.voxels[k]} voxels) found in {place.file}, of this "
                f"annotator only {names} expected."
            )
            remedy = "Add the class to `annotator_classes` of the annotator, or mend the file."
            yield place.problem("error", "undeclared-class", found, remedy)


def _grid(place: Place, reference: Reference, own: Geometry, difference: str | None) -> Iterator[Problem]:
    if difference:
        found = f"{difference} found for {reference.name} and {place.file}, the same grid expected."
        yield place.problem("error", "geometry", found, _regrid(reference.geometry, own))
        return
    noise = grid_noise(reference.geometry, own)
    if noise > GRID_NOISE:
        found = (
            f"Corners {noise:.2g} mm apart found for {reference.name} and {place.file}, at most {GRID_NOISE:g} mm "
            "expected."
        )
        remedy = "Too little to move labels; `umanet check --fix` copies the header of the image."
        yield place.problem("warning", "geometry-noise", found, remedy)


def _regrid(image: Geometry, own: Geometry) -> str:
    if own.file_shape is not None and image.file_shape == own.file_shape:
        return "Resample the annotation, or, if only its header is wrong, copy that of the image: `umanet check --fix`."
    return "Resample the annotation."


def _values(
    place: Place, values: Shaped[np.ndarray, "*spatial"], unknown: Sequence[float], classes: Sequence[ClassDefinition]
) -> Iterator[Problem]:
    finite = [value for value in unknown if np.isfinite(value)]
    if len(finite) < len(unknown):
        bad = counted(int(np.count_nonzero(~np.isfinite(values))), "NaN or infinite value")
        found = f"{bad} found, class values expected, in {place.file}."
        remedy = "Replace them by a class value; NaN often stands for what was not annotated (`ignore`)."
        yield place.problem("error", "not-finite", found, remedy)
    if finite:
        found = f"{describe_unknown(finite, classes)} in {place.file}."
        yield place.problem("error", "unknown-value", found, _remedy(finite, classes))


def _remedy(unknown: Sequence[float], classes: Sequence[ClassDefinition]) -> str:
    if any(value != int(value) for value in unknown):
        return (
            "Fractions are a probability map or an interpolated annotation: threshold it, or resample it anew with "
            "nearest neighbours."
        )
    known = {value for definition in classes[1:] for value in definition.values}
    if len(classes) == 2 and {*unknown, *known} == {1, 255}:
        name = classes[1].name
        return f"If 1 and 255 both mean {name!r}, import with `umanet import --classes background=0 {name}=1,255`."
    return "Add the value to a class or mend the file."
