"""From contours that were drawn into a picture to regions."""

import numpy as np
from jaxtyping import Bool, Float32, Integer, UInt8

from umanet.errors import AnnotationError

NOISE, LINE = 20.0, 40.0
"""Differences, of 255, that may and that must belong to a line: compression changes pixels by less than the first."""
SMALLEST_LINE = 12
"""Pixels; smaller spots of difference are compression."""
LARGEST_GAP = 6
"""Pixels of half the gap that is closed in a line. More than that, and what was meant is a guess."""
SMALLEST_SHARE = 0.01
"""Of the disc: smaller holes lie inside of a line that was drawn twice."""


def disc_and_cup(difference: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Label map of two nested closed contours: 1 between them, 2 within the inner one.

    The border runs along the middle of the line.

    Args:
        difference: Between the picture with the contours and the one without, 0 to 255, the largest over colours.

    Raises:
        AnnotationError: No line, one with a gap of more than ``2 * LARGEST_GAP`` pixels, or not one in another.
    """
    from skimage.filters import apply_hysteresis_threshold

    lines = apply_hysteresis_threshold(difference, NOISE, LINE)
    numbered = _numbered(lines, connectivity=2)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    lines = (sizes >= SMALLEST_LINE)[numbered]
    if not lines.any():
        raise AnnotationError("No contour found, those of disc and cup expected: the picture equals the photograph.")
    where = _around(lines)
    lines = np.pad(lines[where], LARGEST_GAP + 1)
    nested = _nested(lines)
    labels = np.zeros(difference.shape, np.uint8)
    labels[where] = _regions(*nested)[LARGEST_GAP + 1 : -LARGEST_GAP - 1, LARGEST_GAP + 1 : -LARGEST_GAP - 1]
    return labels


def _nested(
    lines: Bool[np.ndarray, "H W"],
) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """The lines with the smallest gaps closed that make them nested, the ring between them, and the hole inside.

    Raises:
        AnnotationError: No closing makes them so.
    """
    from skimage.morphology import dilation, disk

    for gap in range(LARGEST_GAP + 1):
        # A closing would not do: it leaves the gap between two ends of a thin line. The middle of the line stays.
        closed = dilation(lines, disk(gap)) if gap else lines
        holes = _holes(closed)
        if len(holes) == 2:
            # Whichever is larger: a wide cup leaves a narrow ring around it.
            for ring, cup in (holes, holes[::-1]):
                if _filled(ring)[cup].all():
                    return closed, ring, cup
    found = len(_holes(lines))
    if found == 0:
        raise AnnotationError("No closed contour found, those of disc and cup expected: the line is open.")
    if found == 1:
        raise AnnotationError("One closed contour found, disc and cup expected: one is missing, or its line is open.")
    raise AnnotationError(
        f"{found} closed contours found, that of the cup inside that of the disc expected: they touch, cross or lie "
        "beside each other."
    )


def _around(lines: Bool[np.ndarray, "H W"]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(lines.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _holes(closed: Bool[np.ndarray, "H W"]) -> list[Bool[np.ndarray, "H W"]]:
    """The regions that lines enclose, but for specks."""
    filled = _filled(closed)
    numbered = _numbered(filled & ~closed, connectivity=1)
    sizes = np.bincount(numbered.ravel())[1:]
    large = [k + 1 for k in range(len(sizes)) if sizes[k] >= max(1, SMALLEST_SHARE * filled.sum())]
    return [numbered == k for k in large]


def _regions(
    closed: Bool[np.ndarray, "H W"], ring: Bool[np.ndarray, "H W"], cup: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W"]:
    disc = _filled(ring)
    labels = _half_of_the_line(disc, ~_filled(closed)).astype(np.uint8)
    labels[_half_of_the_line(cup, ~disc | ring)] = 2
    return labels


def _half_of_the_line(inside: Bool[np.ndarray, "H W"], outside: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """``inside`` and what of the rest is nearer to it than to ``outside``."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~inside)) < np.asarray(distance_transform_edt(~outside))


def _filled(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask))


def _numbered(mask: Bool[np.ndarray, "H W"], connectivity: int) -> Integer[np.ndarray, "H W"]:
    """Connected regions from 1, over edges (connectivity 1) or also over corners (2)."""
    from skimage.measure import label

    return np.asarray(label(mask, connectivity=connectivity))
