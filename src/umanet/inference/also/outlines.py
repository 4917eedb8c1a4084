"""Connected regions as polygons along the edges of their pixels: the area of a polygon is its number of pixels.

Coordinates are of pixel corners: x to the right, y down, (0, 0) is the upper left corner of the upper left pixel, whose
centre is at (0.5, 0.5). QuPath, CVAT and the COCO tools count so.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

Corner = tuple[int, int]
"""x, y."""
Ring = list[Corner]
"""Corners without the first one again; the region lies to the right of who walks along it on the screen."""


@dataclass(frozen=True)
class Outline:
    """A region whose pixels touch along edges; regions that touch at corners only are two.

    Attributes:
        outer: Around it: has a positive area where y is taken to point up, as GeoJSON wants it.
        holes: In it, the other way round. They may touch ``outer`` and each other at corners.
        area: Pixels.
        mask: The region within its bounding box.
        corner: x and y of the bounding box.
    """

    outer: Ring
    holes: list[Ring]
    area: int
    mask: Bool[np.ndarray, "H W"]
    corner: Corner


def outlines(mask: Bool[np.ndarray, "H W"]) -> list[Outline]:
    """The connected regions of a mask, from above to below."""
    numbered, _ = ndimage.label(mask)  # type: ignore  # an integer only with `output`
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        region = numbered[rows, columns] == number
        corner = (int(columns.start), int(rows.start))
        rings = [_straightened(_moved(ring, corner)) for ring in _rings(region)]
        (outer,) = (ring for ring in rings if _area(ring) > 0)
        holes = [ring for ring in rings if _area(ring) < 0]
        found.append(Outline(outer, holes, int(region.sum()), region, corner))
    return found


def _rings(region: Bool[np.ndarray, "H W"]) -> list[Ring]:
    """All boundaries as rings that pass through no corner twice."""
    ways = _edges(region)
    rings = []
    while ways:
        path = [next(iter(ways))]
        place = {path[0]: 0}
        step = next(iter(ways[path[0]]))
        while True:
            corner = path[-1]
            step = _next_step(ways, corner, step)
            corner = (corner[0] + step[0], corner[1] + step[1])
            if corner not in place:
                place[corner] = len(path)
                path.append(corner)
                continue
            # Where two pixels touch at a corner a boundary meets itself: what lies between is a ring.
            start = place[corner]
            rings.append(path[start:])
            for passed in path[start + 1 :]:
                del place[passed]
            del path[start + 1 :]
            if start == 0:
                break
    return rings


def _edges(region: Bool[np.ndarray, "H W"]) -> dict[Corner, set[Corner]]:
    """Corner to the steps that lead from it along edges that have the region at their right."""
    padded = np.pad(region, 1)
    sides = {  # where the neighbour lies (row, column): the corner of the pixel that the edge begins at, and the step
        (-1, 0): ((0, 0), (1, 0)),
        (0, 1): ((1, 0), (0, 1)),
        (1, 0): ((1, 1), (-1, 0)),
        (0, -1): ((0, 1), (0, -1)),
    }
    ways: dict[Corner, set[Corner]] = {}
    for (down, right), ((x, y), step) in sides.items():
        outside = ~np.roll(padded, (-down, -right), (0, 1))[1:-1, 1:-1]
        for row, column in np.argwhere(region & outside).tolist():
            ways.setdefault((column + x, row + y), set()).add(step)
    return ways


def _next_step(ways: dict[Corner, set[Corner]], corner: Corner, step: Corner) -> Corner:
    """Takes an edge away. Of two it is the one around the same pixel: a turn to the right."""
    turned = (-step[1], step[0])
    chosen = turned if turned in ways[corner] else next(iter(ways[corner]))
    ways[corner].remove(chosen)
    if not ways[corner]:
        del ways[corner]
    return chosen


def _moved(ring: Ring, corner: Corner) -> Ring:
    return [(x + corner[0], y + corner[1]) for x, y in ring]


def _straightened(ring: Ring) -> Ring:
    """Without corners on straight lines."""
    around = [ring[-1], *ring, ring[0]]
    return [
        here
        for before, here, after in zip(around, ring, around[2:], strict=False)
        if before[0] != after[0] and before[1] != after[1]
    ]


def _area(ring: Ring) -> float:
    following = [*ring[1:], ring[0]]
    return sum(x * b - a * y for (x, y), (a, b) in zip(ring, following, strict=True)) / 2
