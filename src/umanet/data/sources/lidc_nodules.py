"""From outlines to voxels, and from the nodules of each reader to those of the patient."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64
from nibabel.affines import voxel_sizes
from scipy.spatial import KDTree

from umanet.data.sources.lidc_xml import Mark, Outline

Boundary = Literal["exclude", "include"]


@dataclass(frozen=True)
class Nodule:
    """What one reader says belongs to one nodule.

    Attributes:
        reader: Counted from 0.
        voxels: Column, row and slice of each voxel, as the series is stored.
    """

    reader: int
    voxels: Int64[np.ndarray, "n 3"]


def pixels_inside(points: Int64[np.ndarray, "n 2"], boundary: Boundary) -> Int64[np.ndarray, "m 2"]:
    """The pixels (column, row) in the closed polygon through ``points``, exactly, in whole numbers.

    A pixel is inside where the polygon winds around its centre, so an outline that is walked twice or crosses itself is
    filled, and a spur that is walked to and fro is not.

    Args:
        points: The pixels of an outline, in order.
        boundary: Whether pixels whose centre lies on the polygon, its corners among them, are inside.
    """
    low, high = points.min(0), points.max(0)
    x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
    winding = np.zeros(x.shape, np.int64)
    on = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        # Twice the signed area of the triangle of edge and pixel: which side of the edge the pixel lies on.
        side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        on |= (side == 0) & _between(x, x0, x1) & _between(y, y0, y1)
        winding += ((y0 <= y) & (y < y1) & (side > 0)).astype(np.int64)
        winding -= ((y1 <= y) & (y < y0) & (side < 0)).astype(np.int64)
    inside = (winding != 0) | on if boundary == "include" else (winding != 0) & ~on
    return np.argwhere(inside) + low


def nodule_of(mark: Mark, slice_of: Callable[[Outline], int], boundary: Boundary) -> Nodule:
    """The voxels that a mark means: per slice what its outlines enclose, less what those of excluded regions enclose.

    LIDC readers drew along the first pixels outside a region; ``boundary`` says whether these pixels belong to it, for
    included and excluded regions alike. Single points are stray marks and enclose nothing.
    """
    drawn: dict[int, tuple[set[tuple[int, int]], set[tuple[int, int]]]] = defaultdict(lambda: (set(), set()))
    for outline in mark.outlines:
        if len(outline.points) > 1:
            pixels = pixels_inside(outline.points, boundary)
            drawn[slice_of(outline)][0 if outline.included else 1].update(map(tuple, pixels.tolist()))
    voxels = [(*pixel, k) for k, (kept, cut) in sorted(drawn.items()) for pixel in sorted(kept - cut)]
    return Nodule(mark.reader, np.array(voxels, np.int64).reshape(-1, 3))


def grouped(nodules: Sequence[Nodule], affine: Float64[np.ndarray, "4 4"]) -> list[list[Nodule]]:
    """Nodules of different readers that are one nodule of the patient; nobody is in a group twice.

    Pairs by different readers are taken in order: those that share voxels, the largest intersection over union first,
    then those whose nearest voxels are at most a slice apart, the nearest first. Both go into one group unless some
    reader would then be in it twice. What is left alone is a group of its own.

    Args:
        nodules: Each with a voxel at least.
        affine: Column, row, slice to RAS+ millimetres.

    Returns:
        Groups from the feet up (then from the back, then from the left), readers in ascending order.
    """
    spacing = voxel_sizes(affine)
    pairs = []
    for a, b in combinations(range(len(nodules)), 2):
        if nodules[a].reader != nodules[b].reader:
            apart = _apart(nodules[a], nodules[b], spacing)
            if apart[0] <= spacing[2]:
                pairs.append((apart, a, b))
    group_of = {number: [number] for number in range(len(nodules))}
    for _, a, b in sorted(pairs):
        first, second = group_of[a], group_of[b]
        readers = [nodules[number].reader for number in (*first, *second)]
        if first is not second and len(set(readers)) == len(readers):
            first.extend(second)
            group_of.update(dict.fromkeys(second, first))
    groups = [
        sorted((nodules[member] for member in group), key=lambda nodule: nodule.reader)
        for number, group in group_of.items()
        if number == group[0]
    ]
    return sorted(groups, key=lambda group: _centre(group, affine)[::-1])


def distance(nodule: Nodule, voxel: Int64[np.ndarray, " 3"], spacing: tuple[float, float, float]) -> float:
    """Millimetres from a voxel to the nearest of a nodule."""
    return float(np.linalg.norm((nodule.voxels - voxel) * np.array(spacing), axis=1).min())


def largest_slice(group: Sequence[Nodule]) -> int:
    """The slice where at least half of those who outlined the nodule agree on most pixels; the lowest of several."""
    voxels, votes = np.unique(np.concatenate([nodule.voxels for nodule in group]), axis=0, return_counts=True)
    agreed = voxels[2 * votes >= len(group)]
    # Readers who share no voxel agree nowhere: then all that anybody outlined counts.
    slices, areas = np.unique((agreed if len(agreed) else voxels)[:, 2], return_counts=True)
    return int(slices[areas.argmax()])


def _apart(a: Nodule, b: Nodule, spacing: Float64[np.ndarray, " 3"]) -> tuple[float, float]:
    """Millimetres between the nearest voxels, and minus the intersection over union: a pair's place in the order."""
    nearest = float(np.min(KDTree(a.voxels * spacing).query(b.voxels * spacing)[0]))
    if nearest > 0:
        return nearest, 0.0
    union = len(np.unique(np.concatenate([a.voxels, b.voxels]), axis=0))
    return 0.0, -(len(a.voxels) + len(b.voxels) - union) / union


def _centre(group: Sequence[Nodule], affine: Float64[np.ndarray, "4 4"]) -> tuple[float, ...]:
    centre = np.concatenate([nodule.voxels for nodule in group]).mean(0)
    return tuple((affine[:3, :3] @ centre + affine[:3, 3]).tolist())


def _between(values: Int64[np.ndarray, "a b"], one: np.int64, other: np.int64) -> Bool[np.ndarray, "a b"]:
    return (values >= min(one, other)) & (values <= max(one, other))
