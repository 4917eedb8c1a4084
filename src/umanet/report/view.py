"""What of a case a picture shows: the slice where it happens, cropped to what matters, as a viewer shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from umanet.types import Geometry

PLANES = ("sagittal", "coronal", "axial")
THICK = 1.5
"""A volume whose slices are this much thicker than its pixels is shown as it was acquired, else axially."""
ROOM = 0.35
"""Around what matters, as a share of its longer side."""
LEAST_SIDE = 0.2
"""A crop is at least this share of the image's longer side: one sees where one is."""
LEAST_PIXELS = 24


@dataclass(frozen=True)
class View:
    """A rectangle of one slice.

    Attributes:
        axis: Across the slice; None in 2D.
        index: Of the slice.
        box: Rows and columns of the slice, in array order, before it is turned.
        turned: Whether the slice is transposed and flipped from RAS+ to how viewers show it.
        aspect: Height of a pixel over its width, as shown.
        place: In words; empty in 2D.
    """

    axis: int | None
    index: int
    box: tuple[slice, slice]
    turned: bool
    aspect: float
    place: str

    def take(self, values: Shaped[np.ndarray, "*any"]) -> Shaped[np.ndarray, "*shown"]:
        """The rectangle as it is shown, out of an array of the case; leading axes (channels) stay."""
        values = self.of(values)
        if not self.turned:
            return values
        # RAS+ grows to the right, the front and the top; viewers show the right at the left, front and top above.
        values = values.swapaxes(-1, -2)[..., ::-1, :]
        return values if self.axis == 0 else values[..., ::-1]

    def of(self, values: Shaped[np.ndarray, "*any"]) -> Shaped[np.ndarray, "*part"]:
        """The rectangle in array order: a part of the very array."""
        if self.axis is not None:
            values = np.moveaxis(values, self.axis - 3, 0)[self.index]
        return values[(..., *self.box)]

    def elsewhere(self, mask: Bool[np.ndarray, "*spatial"]) -> str:
        """Slices that hold the mask, in words; empty where the one that is shown does, or none."""
        if self.axis is None or not mask.any() or mask.take(self.index, self.axis).any():
            return ""
        held = 1 + np.flatnonzero(np.moveaxis(mask, self.axis, 0).reshape(mask.shape[self.axis], -1).any(1))
        return f"slice {held[0]}" if len(held) == 1 else f"slices {held[0]} to {held[-1]}"


def find_view(
    geometry: Geometry,
    matters: Bool[np.ndarray, "*spatial"],
    doubt: Float[np.ndarray, "*spatial"],
    through: Sequence[int] = (),
) -> View:
    """The slice with most doubt, and in it the box around what matters.

    Args:
        geometry: Of the case.
        matters: What the picture must show: outlines, and where they differ.
        doubt: How much there is to see, voxel by voxel; where it is zero throughout, ``matters`` decides.
        through: A voxel that the slice must hold, if one is given.
    """
    if matters.ndim == 2:
        return View(None, 0, _box(matters, geometry.spacing), False, _aspect(geometry.spacing), "")
    axis = _axis(geometry)
    others = tuple(other for other in range(3) if other != axis)
    seen = doubt if doubt.any() else matters.astype(np.float32)
    index = int(seen.sum(axis=others).argmax()) if seen.any() else matters.shape[axis] // 2
    index = through[axis] if len(through) else index
    # A slice without anything of its own is cropped as the whole volume.
    own = matters.take(index, axis)
    inside = own if own.any() else np.asarray(matters.any(axis=axis))
    spacing = [geometry.spacing[other] for other in others]
    turned = geometry.affine is not None
    plane = PLANES[axis] if turned else f"axis {axis}"
    aspect = _aspect(spacing[::-1] if turned else spacing)
    place = f"{plane} slice {index + 1} of {matters.shape[axis]}"
    return View(axis, index, _box(inside, spacing), turned, aspect, place)


def _axis(geometry: Geometry) -> int:
    """Across the slices. Stacks without an affine (TIFF) have their slices first."""
    thickest = int(np.argmax(geometry.spacing))
    if geometry.spacing[thickest] > THICK * float(np.median(geometry.spacing)):
        return thickest
    return 0 if geometry.affine is None else 2


def _aspect(spacing: Sequence[float]) -> float:
    return float(spacing[0] / spacing[1])


def _box(matters: Bool[np.ndarray, "H W"], spacing: Sequence[float]) -> tuple[slice, slice]:
    """A square, in millimetres, around what matters, as far as the image goes."""
    if not matters.any():
        return slice(0, matters.shape[0]), slice(0, matters.shape[1])
    rows, columns = np.flatnonzero(matters.any(1)), np.flatnonzero(matters.any(0))
    ends = [(rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)]
    side = max((high - low) * size for (low, high), size in zip(ends, spacing, strict=True)) * (1 + 2 * ROOM)
    side = max(
        side,
        LEAST_PIXELS * min(spacing),
        LEAST_SIDE * max(n * size for n, size in zip(matters.shape, spacing, strict=True)),
    )
    ranges = []
    for (low, high), size, n in zip(ends, spacing, matters.shape, strict=True):
        length = min(n, round(side / size))
        start = int(np.clip(round((low + high - length) / 2), 0, n - length))
        ranges.append(slice(start, start + max(length, 1)))
    return ranges[0], ranges[1]
