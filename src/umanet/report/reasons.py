"""Why an annotation differs from a consensus, in words: what is missing, what is too much, what lies elsewhere.

Objects are connected regions of one class, diagonals included. Distances are in millimetres where the spacing is
known. Shares are of the mean object of the consensus, so that they mean the same at any size of image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import fft, ndimage

from umanet.types import IGNORE

Kind = Literal[
    "empty", "missed object", "extra object", "other class", "over-segmentation", "under-segmentation", "shift",
    "border differs", "as the consensus",
]  # fmt: skip

LEAST_OBJECT = 0.02
"""Objects below this share of the structure are specks: border noise, no reason of their own."""
RATIO = 1.15
"""Volumes that differ by less than this factor are called alike."""
BORDER = 0.05
"""Mean signed distance of the borders, in radii, from which an annotation is called too large or too small."""
OFFSET = 0.15
"""Distance, in radii, from which an annotation is called shifted."""
FURTHEST = 2.0
"""Distance, in radii, up to which it is: what does not touch its place any more is another object."""
GAIN = 0.05
"""Share of the smaller mask that must come to lie on the other when it is moved back: else it is not shifted."""


@dataclass(frozen=True)
class Reason:
    """One way in which an annotation differs; ``weight`` is about the share of the structure that it concerns."""

    kind: Kind
    text: str
    weight: float


@dataclass(frozen=True)
class Grid:
    """Size of a voxel, and what sizes are called."""

    spacing: tuple[float, ...]
    is_known: bool

    def length(self, value: float) -> str:
        unit = "mm" if self.is_known else ("px" if len(self.spacing) == 2 else "voxels")
        return f"{value:.2g} {unit}" if value < 9.5 else f"{value:,.0f} {unit}"

    def size(self, voxels: int) -> str:
        """Area or volume of so many voxels."""
        if not self.is_known:
            return f"{voxels:,} {'px' if len(self.spacing) == 2 else 'voxels'}"
        return f"{voxels * self.voxel:,.4g} mm{'²' if len(self.spacing) == 2 else '³'}"

    @property
    def voxel(self) -> float:
        return float(np.prod(self.spacing))

    @property
    def extent(self) -> str:
        return "area" if len(self.spacing) == 2 else "volume"

    def radius(self, voxels: float) -> float:
        """Of the disc or ball of so many voxels."""
        size = voxels * self.voxel
        return float(np.sqrt(size / np.pi) if len(self.spacing) == 2 else np.cbrt(3 * size / (4 * np.pi)))


def find_reasons(
    annotation: UInt8[np.ndarray, "*spatial"],
    consensus: UInt8[np.ndarray, "*spatial"],
    classes: Sequence[str],
    spacing: Sequence[float],
    *,
    spacing_is_known: bool = True,
    drawn: Sequence[int] | None = None,
) -> list[Reason]:
    """What makes an annotation differ from the consensus, the gravest first; never an empty list.

    Args:
        annotation: Labels; where they are ``IGNORE``, nothing is compared.
        consensus: Labels on the same grid.
        classes: Names; index 0 is the background.
        spacing: Of a voxel along each axis.
        spacing_is_known: Whether these are millimetres; else distances are in pixels or voxels.
        drawn: The classes that the annotator draws; None for all. Others of the consensus count as background.
    """
    grid = Grid(tuple(spacing), spacing_is_known)
    annotation, consensus = comparable(annotation, consensus, drawn)
    if not annotation.any():
        return [_empty(consensus, grid)]
    box = _box((annotation > 0) | (consensus > 0))
    annotation, consensus = annotation[box], consensus[box]
    reasons = []
    for k in range(1, len(classes)):
        name = f"{classes[k]}: " if len(classes) > 2 else ""
        found = _of_class(annotation, consensus, k, classes, grid)
        reasons += [Reason(reason.kind, name + reason.text, reason.weight) for reason in found]
    if not reasons:
        reasons = [Reason("as the consensus", "drawn much as the consensus: the image itself is in doubt", 0.0)]
    return sorted(reasons, key=lambda reason: -reason.weight)


def comparable(
    annotation: UInt8[np.ndarray, "*spatial"], consensus: UInt8[np.ndarray, "*spatial"], drawn: Sequence[int] | None
) -> tuple[UInt8[np.ndarray, "*spatial"], UInt8[np.ndarray, "*spatial"]]:
    """Both without what the annotation ignores, and the consensus without the classes that the annotator does not draw.

    The very arrays where there is nothing of that.
    """
    if drawn is not None and not np.isin(consensus, (0, *drawn)).all():
        consensus = np.where(np.isin(consensus, drawn), consensus, np.uint8(0))
    ignored = annotation == IGNORE
    if ignored.any():
        annotation, consensus = (np.where(ignored, np.uint8(0), labels) for labels in (annotation, consensus))
    return annotation, consensus


def sizes(labels: UInt8[np.ndarray, "*spatial"], classes: Sequence[str], grid: Grid) -> str:
    """Area or volume of every class that is there; with its name where there are several classes."""
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    names = [f"{name} " if len(classes) > 2 else "" for name in classes]
    return ", ".join(names[k] + grid.size(int(counts[k])) for k in range(1, len(classes)) if counts[k])


def _empty(consensus: UInt8[np.ndarray, "*spatial"], grid: Grid) -> Reason:
    there = int((consensus > 0).sum())
    rest = f"the consensus has {grid.size(there)}" if there else "the consensus is empty as well"
    return Reason("empty", f"nothing was drawn; {rest}", 1.0)


def _of_class(
    annotation: UInt8[np.ndarray, "*spatial"],
    consensus: UInt8[np.ndarray, "*spatial"],
    k: int,
    classes: Sequence[str],
    grid: Grid,
) -> Iterator[Reason]:
    drawn, agreed = annotation == k, consensus == k
    size = int(agreed.sum())
    swapped = _untouched(agreed, drawn, least=LEAST_OBJECT * size) & (annotation > 0)
    if swapped.any():
        other = classes[int(np.bincount(annotation[swapped]).argmax())]
        yield Reason("other class", f"{grid.size(int(swapped.sum()))} drawn as {other}", swapped.sum() / size)
    # What another class of the consensus covers is that class drawn as this one, and said there.
    drawn = drawn & ~_of_objects(_untouched(drawn, agreed), consensus > 0)
    agreed = agreed & ~_of_objects(agreed, swapped)
    if drawn.any() and agreed.any():
        moved, drawn, agreed = _moved_back(drawn, agreed, grid)
        yield from moved
    yield from _of_objects_apart(drawn, agreed, grid, said=bool(swapped.any()))


def _moved_back(
    drawn: Bool[np.ndarray, "*spatial"], agreed: Bool[np.ndarray, "*spatial"], grid: Grid
) -> tuple[list[Reason], Bool[np.ndarray, "*more"], Bool[np.ndarray, "*more"]]:
    """Whether the annotation is shifted, and both masks as if it were not, in the box around them."""
    around = [_around(side) for side in drawn.shape]
    drawn, agreed = np.pad(drawn, around), np.pad(agreed, around)
    overlap = np.fft.rfftn(agreed) * np.conj(np.fft.rfftn(drawn))
    overlap = np.rint(np.fft.irfftn(overlap, s=drawn.shape, axes=range(drawn.ndim)))
    best = np.argwhere(overlap >= 0.99 * overlap.max())
    sides = np.array(drawn.shape)
    steps = (best + sides // 2) % sides - sides // 2
    far = np.linalg.norm(steps * grid.spacing, axis=1)
    step, distance = steps[far.argmin()], float(far.min())
    gain = float((overlap[tuple(step)] - overlap.flat[0]) / min(drawn.sum(), agreed.sum()))
    radius = grid.radius(agreed.sum() / _count(agreed))
    if gain < GAIN or not OFFSET <= distance / radius <= FURTHEST:
        return [], *_boxed(drawn, agreed)
    text = f"all of it lies {grid.length(distance)} off, {distance / radius:.1f} radii"
    return [Reason("shift", text, gain)], *_boxed(np.roll(drawn, tuple(step), tuple(range(drawn.ndim))), agreed)


def _around(side: int) -> tuple[int, int]:
    """Room before and after, for a shift by half the side either way, to a length that is quick to transform."""
    before = side // 2 + 1
    quick = fft.next_fast_len(side + 2 * before, real=True)
    return before, int(quick) - side - before  # type: ignore[arg-type]  # SciPy stubs


def _boxed(
    drawn: Bool[np.ndarray, "*spatial"], agreed: Bool[np.ndarray, "*spatial"]
) -> tuple[Bool[np.ndarray, "*box"], Bool[np.ndarray, "*box"]]:
    """Without the room that neither needs."""
    box = _box(drawn | agreed)
    return drawn[box], agreed[box]


def _of_objects_apart(
    drawn: Bool[np.ndarray, "*spatial"], agreed: Bool[np.ndarray, "*spatial"], grid: Grid, *, said: bool
) -> Iterator[Reason]:
    """Objects that only one of both has, and the size of the others."""
    size = int(agreed.sum())
    missed = _untouched(agreed, drawn, least=LEAST_OBJECT * size)
    extra = _untouched(drawn, agreed, least=LEAST_OBJECT * max(size, int(drawn.sum())))
    if missed.any():
        yield Reason("missed object", _missed(missed, agreed, grid), missed.sum() / size)
    if extra.any():
        text = f"{_objects(extra)} of {grid.size(int(extra.sum()))} where the consensus has none"
        yield Reason("extra object", text, extra.sum() / max(size, int(extra.sum())))
    rest_drawn = drawn & ~_untouched(drawn, agreed)
    rest_agreed = agreed & ~_untouched(agreed, drawn)
    if rest_drawn.any() and rest_agreed.any():
        yield from _of_border(rest_drawn, rest_agreed, grid, alone=not (said or bool(missed.any() or extra.any())))


def _missed(missed: Bool[np.ndarray, "*spatial"], agreed: Bool[np.ndarray, "*spatial"], grid: Grid) -> str:
    number, total = _count(missed), _count(agreed)
    of_many = f"all {total} objects" if number == total else f"{number} of {total} objects"
    which = "the only object" if total == 1 else of_many
    return f"{which} of the consensus ({grid.size(int(missed.sum()))}) not drawn"


def _of_border(
    drawn: Bool[np.ndarray, "*spatial"], agreed: Bool[np.ndarray, "*spatial"], grid: Grid, *, alone: bool
) -> Iterator[Reason]:
    """Of objects that overlap: their size, or only the border."""
    ratio = float(drawn.sum() / agreed.sum())
    radius = grid.radius(agreed.sum() / _count(agreed))
    signed, apart = _border_distance(drawn, agreed, grid)
    wrong = int((drawn ^ agreed).sum())
    # Less than half a voxel is no more than how a border is cut into voxels.
    least = max(BORDER * radius, min(grid.spacing) / 2)
    if (ratio > RATIO and signed > least) or (ratio < 1 / RATIO and signed < -least):
        kind, side = ("over-segmentation", "outside") if ratio > 1 else ("under-segmentation", "inside")
        size = f"{_times(ratio)} times the {grid.extent} of the consensus"
        yield Reason(kind, f"{size}, border {grid.length(abs(signed))} {side} on average", abs(ratio - 1))
    elif alone and wrong and apart > min(grid.spacing) / 2:
        text = f"border {grid.length(apart)} from that of the consensus on average, now outside, now inside"
        yield Reason("border differs", text, wrong / (2 * agreed.sum()))


def _times(ratio: float) -> str:
    if ratio < 0.001:
        return "less than 0.001"
    return f"{ratio:.2f}" if ratio > 0.1 else f"{ratio:.1g}"


def _border_distance(
    drawn: Bool[np.ndarray, "*spatial"], agreed: Bool[np.ndarray, "*spatial"], grid: Grid
) -> tuple[float, float]:
    """Mean signed (positive: drawn too large) and mean absolute distance of the borders, both ways."""
    of_drawn, of_agreed = (_signed_distance(mask, grid.spacing) for mask in (drawn, agreed))
    there, back = of_agreed[_border(drawn)], of_drawn[_border(agreed)]
    # Border voxels lie half a voxel inside their mask: the difference of the two directions cancels that.
    return float(there.mean() - back.mean()) / 2, float(np.abs(there).mean() + np.abs(back).mean()) / 2


def _signed_distance(mask: Bool[np.ndarray, "*spatial"], spacing: Sequence[float]) -> Float[np.ndarray, "*spatial"]:
    """To the nearest border voxel; negative inside."""
    distance = np.asarray(ndimage.distance_transform_edt(~_border(mask), sampling=list(spacing)))
    return np.where(mask, -distance, distance)


def _border(mask: Bool[np.ndarray, "*spatial"]) -> Bool[np.ndarray, "*spatial"]:
    return mask & np.logical_not(ndimage.binary_erosion(mask, border_value=0))


def _untouched(
    objects: Bool[np.ndarray, "*spatial"], other: Bool[np.ndarray, "*spatial"], least: float = 0.0
) -> Bool[np.ndarray, "*spatial"]:
    """The objects that share no voxel with ``other`` and have more than ``least`` voxels."""
    labels, number = _label(objects)
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    touched = np.bincount(labels[other], minlength=number + 1) > 0
    keep = ~touched & (sizes > least)
    keep[0] = False
    return keep[labels]


def _of_objects(
    objects: Bool[np.ndarray, "*spatial"], other: Bool[np.ndarray, "*spatial"]
) -> Bool[np.ndarray, "*spatial"]:
    """The objects that share a voxel with ``other``."""
    return objects & ~_untouched(objects, other)


def _label(mask: Bool[np.ndarray, "*spatial"]) -> tuple[np.ndarray, int]:
    labels, number = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))  # type: ignore[misc]  # SciPy stubs
    return np.asarray(labels), int(number)


def _count(mask: Bool[np.ndarray, "*spatial"]) -> int:
    return _label(mask)[1]


def _objects(mask: Bool[np.ndarray, "*spatial"]) -> str:
    number = _count(mask)
    return "an object" if number == 1 else f"{number} objects"


def _box(mask: Bool[np.ndarray, "*spatial"]) -> tuple[slice, ...]:
    """Around all that is True, with a voxel of room."""
    ranges = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        ranges.append(slice(max(0, there[0] - 1), there[-1] + 2))
    return tuple(ranges)
