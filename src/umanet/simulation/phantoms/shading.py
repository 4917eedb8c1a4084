"""What phantoms are shaded with: smooth steps, balls, noise, and tubes that branch."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import KDTree

Map = Float[np.ndarray, "*spatial"]
Points = Float[np.ndarray, "N D"]
STEP = 0.015
"""Between the points of a vessel, in half sides of the image."""
FINEST = 0.005
"""No vessel thinner than this forks."""


def soft(distance: Map, width: float) -> Map:
    """A smooth step: 0 for negative, 1 for positive distances."""
    return 1 / (1 + np.exp(-np.clip(distance / width * 4, -50, 50)))


def ball(x: Map, y: Map, at_x: float, at_y: float, wide: float, high: float, edge: float) -> Map:
    return soft(1 - np.hypot((x - at_x) / wide, (y - at_y) / high), edge / wide)


def smooth(image: Map, scale: float) -> Map:
    """Gaussian blur; ``scale`` is a share of each side of the image."""
    return np.asarray(ndimage.gaussian_filter(image, [scale * side for side in image.shape]))


def noise(rng: np.random.Generator, shape: Sequence[int], scale: float) -> Map:
    """Smooth noise of unit variance; ``scale`` is a share of each side of the image."""
    values = smooth(rng.normal(size=tuple(shape)), scale)
    return values / values.std()


def one_piece(distance: Map) -> Map:
    """A signed distance, positive inside, without the parts beside the largest one."""
    regions = np.zeros(distance.shape, np.int32)
    ndimage.label(distance > 0, output=regions)
    sizes = np.bincount(regions.ravel(), minlength=2)
    return np.where((regions == 0) | (regions == 1 + sizes[1:].argmax()), distance, -np.abs(distance))


def branches(
    rng: np.random.Generator,
    start: Sequence[float],
    heading: Sequence[float],
    width: float,
    *,
    length: float,
    pull: Sequence[float] | float = 0.0,
    wander: float = 0.18,
    forks: float = 0.03,
) -> tuple[Points, Float[np.ndarray, " N"]]:
    """A vessel that wanders, tapers and forks.

    Args:
        rng: Of all chance.
        start: First point.
        heading: Direction in which it leaves.
        width: There.
        length: Of the trunk; a fork has what is left of it.
        pull: Added to the direction at every step: where the vessel bends to.
        wander: Deviation of the direction's change per step.
        forks: Probability of a fork per step.

    Returns:
        Points along the vessel and its forks, and the width at each.
    """
    point, way = np.array(start, float), np.array(heading, float)
    points, widths = [], []
    steps = max(1, round(length / STEP))
    for step in range(steps):
        way += wander * rng.normal(size=len(way)) + np.asarray(pull)
        way /= np.linalg.norm(way)
        point = point + STEP * way
        points.append(point[None])
        widths.append([width * (1 - 0.6 * step / steps)])
        if rng.random() < forks and widths[-1][0] > FINEST:
            side = way + rng.normal(size=len(way))
            left, thinner = (steps - step) * STEP * 0.7, 0.6 * float(widths[-1][0])
            found = branches(rng, point.tolist(), side.tolist(), thinner, length=left, wander=wander, forks=forks)
            points.append(found[0])
            widths.append(found[1].tolist())
    return np.concatenate(points), np.concatenate(widths)


def tubes(coordinates: Sequence[Map], points: Points, widths: Float[np.ndarray, " N"]) -> Map:
    """How much of each place a vessel covers, 1 on its middle line; ``widths`` are radii at which it is 0.37.

    Where a vessel is thinner than half the finest spacing of the coordinates it is as wide as that, and fainter.
    """
    finest = min(float(np.abs(np.diff(axis, axis=k)).max()) for k, axis in enumerate(coordinates)) / 2
    places = np.stack([axis.ravel() for axis in coordinates], axis=1)
    far, nearest = KDTree(points).query(places)
    wide = np.maximum(widths, finest)[nearest]
    return (widths[nearest] / wide * np.exp(-((far / wide) ** 2))).reshape(coordinates[0].shape)
