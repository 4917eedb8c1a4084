"""Simulated annotators: recipes of faults that turn a true label map into what somebody might have drawn.

Amounts are fractions of the structure's equivalent radius (see ``equivalent_radii``), so that they mean the
same at 64 and at 1024 pixels, in 2D and in 3D. An empty label map stays empty whatever the recipe says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from scipy import ndimage

Labels = Integer[np.ndarray, "*spatial"]
Spacing = tuple[float, ...]
Range = tuple[float, float]
Fault = Callable[[Labels, np.random.Generator, Spacing], Labels]

SMOOTHNESS = 0.4
"""Scale of the border's jitter (Gaussian sigma), in equivalent radii."""
TOLERANCE = 0.04
"""By how many equivalent radii a border must be meant to move before it does. The trials measured distances from
voxel to voxel, at a radius of 13 voxels: this is their half voxel, at any resolution."""
SPECK = 0.05
"""Components smaller than this share of the largest one of their class are specks, not objects."""


@dataclass(frozen=True)
class Border:
    """Over- or under-segmentation and jitter: signed distance plus a constant plus a smooth random field.

    The border to the background moves by offset and jitter, the border between two classes by jitter only.

    Attributes:
        offset: Range of the shift of the border, outwards positive; drawn once per annotation.
        jitter: Standard deviation of the field along the border.
        either_sign: Inwards as often as outwards.
    """

    offset: Range = (0.0, 0.0)
    jitter: float = 0.0
    either_sign: bool = False

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        offset = rng.uniform(*self.offset)
        if self.either_sign:
            offset *= rng.choice([-1, 1])
        return _redraw(labels, equivalent_radii(labels, spacing), offset, self.jitter, rng, spacing)


@dataclass(frozen=True)
class SliceJitter:
    """Inter-slice inconsistency: each slice along the last axis has its own jitter. 2D maps do not change."""

    jitter: float

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        if labels.ndim < 3:
            return labels.copy()
        radii = equivalent_radii(labels, spacing)
        slices = [_redraw(s, radii, 0.0, self.jitter, rng, spacing[:-1]) for s in np.moveaxis(labels, -1, 0)]
        return np.stack(slices, axis=-1)


@dataclass(frozen=True)
class Displacement:
    """Everything shifted in one random direction and turned about its centre, in a random plane.

    Attributes:
        shift: Range of the length of the shift.
        rotation: Largest angle, degrees, either way.
    """

    shift: Range = (0.0, 0.0)
    rotation: float = 0.0

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        radii = equivalent_radii(labels, spacing)
        if not radii:
            return labels.copy()
        direction = rng.normal(size=labels.ndim)
        length = rng.uniform(*self.shift) * np.mean(list(radii.values()))
        step = direction / np.linalg.norm(direction) * length / np.asarray(spacing)
        return _move(labels, step, np.deg2rad(rng.uniform(-self.rotation, self.rotation)), rng, spacing)


@dataclass(frozen=True)
class MissedObject:
    """One object (connected component of a class) is not drawn. Nothing is left if it was the only one."""

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        found = _objects(labels)
        return np.where(found[rng.integers(len(found))], 0, labels).astype(labels.dtype) if found else labels.copy()


@dataclass(frozen=True)
class ExtraObject:
    """A round blob of a class that is there, where nothing is: anywhere it fits, else at the emptiest place.

    Attributes:
        size: Range of its radius.
    """

    size: Range = (0.3, 0.6)

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        radii = equivalent_radii(labels, spacing)
        if not radii or labels.all():
            return labels.copy()
        drawn = int(rng.choice(list(radii)))
        radius = rng.uniform(*self.size) * radii[drawn]
        # The rim of the image counts as occupied, so that the blob lies inside it.
        room = _distance(np.pad(labels == 0, 1), spacing)[(slice(1, -1),) * labels.ndim]
        places = np.argwhere(room > min(1.2 * radius, 0.99 * room.max()))
        elsewhere = np.ones(labels.shape, dtype=bool)
        elsewhere[tuple(places[rng.integers(len(places))])] = False
        blob = (_distance(elsewhere, spacing) <= radius).astype(labels.dtype)
        blob = Border(jitter=0.15)(blob, rng, spacing).astype(bool) & (labels == 0)
        return np.where(blob, drawn, labels).astype(labels.dtype)


@dataclass(frozen=True)
class Empty:
    """Nothing is drawn."""

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        return np.zeros_like(labels)


@dataclass(frozen=True)
class WrongStructure:
    """The drawing lies at the mirrored place that overlaps least, or two radii away if all overlap."""

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        if not labels.any():
            return labels.copy()
        mirrored = [np.flip(labels, axis) for axis in range(labels.ndim)]
        overlaps = [np.count_nonzero((m > 0) & (labels > 0)) / np.count_nonzero(labels) for m in mirrored]
        if min(overlaps) > 0.5:
            return Displacement(shift=(2.0, 2.0))(labels, rng, spacing)
        return mirrored[int(np.argmin(overlaps))].copy()


@dataclass(frozen=True)
class ClassSwap:
    """Two classes that are there are taken for each other. Leaves label maps with a single class alone."""

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        classes = np.setdiff1d(labels, [0])
        if len(classes) < 2:
            return labels.copy()
        one, other = rng.choice(classes, size=2, replace=False)
        swapped = labels.copy()
        swapped[labels == one], swapped[labels == other] = other, one
        return swapped


@dataclass(frozen=True)
class OneOf:
    """One of several faults, by chance.

    Attributes:
        choices: Fault and its share; the shares sum to 1.
    """

    choices: tuple[tuple[Fault, float], ...]

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        chosen = rng.choice(len(self.choices), p=[share for _, share in self.choices])
        return self.choices[chosen][0](labels, rng, spacing)


@dataclass(frozen=True)
class Recipe:
    """How an annotator goes wrong: faults, one after the other. A recipe is itself a fault."""

    faults: tuple[Fault, ...] = ()

    def __call__(self, labels: Labels, rng: np.random.Generator, spacing: Spacing) -> Labels:
        for fault in self.faults:
            labels = fault(labels, rng, spacing)
        return labels

    def describe(self) -> dict[str, Any]:
        """The recipe as plain nested values, for a record in JSON."""
        return _describe(self)


def annotate(labels: Labels, recipe: Fault, rng: np.random.Generator, spacing: Spacing | None = None) -> Labels:
    """What an annotator of this recipe draws where ``labels`` is the truth.

    Args:
        labels: Class indices, 0 is background.
        recipe: A recipe or a single fault.
        rng: The result depends on nothing else.
        spacing: Millimetres per voxel along each axis; ones by default.

    Returns:
        A new label map of the same type, holding no class that the truth does not hold.
    """
    return recipe(labels.copy(), rng, spacing or (1.0,) * labels.ndim)


def equivalent_radii(labels: Labels, spacing: Spacing | None = None) -> dict[int, float]:
    """The radius of every class that is there: of discs or balls as large as its objects, in the mean.

    Returns:
        Class to radius, in millimetres of ``spacing`` (voxels by default).
    """
    spacing = spacing or (1.0,) * labels.ndim
    unit_ball = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}[labels.ndim]
    radii = {}
    for index in np.setdiff1d(labels, [0]).tolist():
        sizes = np.array([np.count_nonzero(mask) for mask in _components(labels == index)]) * np.prod(spacing)
        radii[index] = float(np.mean((sizes / unit_ball) ** (1 / labels.ndim)))
    return radii


def signed_distance(mask: np.ndarray, spacing: Spacing) -> Float[np.ndarray, "*spatial"]:
    """Distance to the border between voxels: positive inside, negative outside, half a voxel next to it."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, np.inf if mask.all() else -np.inf)
    inside = _distance(mask, spacing)
    outside = _distance(~mask, spacing)
    return np.where(mask, inside, -outside) - np.where(mask, 0.5, -0.5) * min(spacing)


def _redraw(
    labels: Labels,
    radii: dict[int, float],
    offset: float,
    jitter: float,
    rng: np.random.Generator,
    spacing: Spacing,
) -> Labels:
    classes = [index for index in radii if (labels == index).any()]
    if not classes:
        return labels.copy()
    size = np.array([radii[index] for index in classes]).reshape(-1, *[1] * labels.ndim)
    distances = np.stack([signed_distance(labels == index, spacing) for index in classes])
    nearest = np.argmax(distances, axis=0)
    border = signed_distance(labels > 0, spacing)
    field = _field(border, float(size.mean()), rng, spacing)
    move = offset + jitter * field
    move = np.sign(move) * np.maximum(np.abs(move) - TOLERANCE, 0)
    inside = border + size.ravel()[nearest] * move > 0
    if len(classes) > 1:
        own = np.stack([_field(distance, float(size.mean()), rng, spacing) for distance in distances])
        nearest = np.argmax(distances + jitter * size * own, axis=0)
    return np.where(inside, np.array(classes)[nearest], 0).astype(labels.dtype)


def _field(border: np.ndarray, radius: float, rng: np.random.Generator, spacing: Spacing) -> np.ndarray:
    """A smooth Gaussian random field of mean square 1 where ``border``, the distance to it, is small.

    Drawn on a grid of half its scale and interpolated: quick for large radii, and alike at any resolution.
    """
    sigma = max(SMOOTHNESS * radius, min(spacing))
    coarse = [int(np.ceil(2 * n * s / sigma)) + 2 for n, s in zip(border.shape, spacing, strict=True)]
    values = ndimage.gaussian_filter(rng.normal(size=coarse), 2.0, mode="wrap")
    zoom = [n / c for n, c in zip(border.shape, coarse, strict=True)]
    values = np.asarray(ndimage.zoom(values, zoom, order=3, mode="nearest", grid_mode=True))
    near = values[np.abs(border) <= max(spacing)]
    return values / np.sqrt(np.mean(near**2)) if near.size else values


def _move(labels: Labels, step: np.ndarray, angle: float, rng: np.random.Generator, spacing: Spacing) -> Labels:
    """Shifted by ``step`` voxels, turned by ``angle`` (radians, in millimetres) about the centre."""
    centre = np.argwhere(labels > 0).mean(axis=0)
    turn = np.eye(labels.ndim)
    a, b = rng.choice(labels.ndim, size=2, replace=False)
    turn[a, a] = turn[b, b] = np.cos(angle)
    turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
    # affine_transform asks where each output voxel comes from, in voxels.
    back = turn / np.asarray(spacing)[:, None] * np.asarray(spacing)[None, :]
    return np.asarray(ndimage.affine_transform(labels, back, centre - back @ (centre + step), order=0))


def _objects(labels: Labels) -> list[np.ndarray]:
    return [mask for index in np.setdiff1d(labels, [0]) for mask in _components(labels == index)]


def _components(mask: np.ndarray) -> list[np.ndarray]:
    """The connected components of a non-empty mask as masks, without specks."""
    numbered, _ = ndimage.label(mask)  # type: ignore[misc]  # SciPy stubs
    sizes = np.bincount(numbered.ravel())[1:]
    return [numbered == i + 1 for i in np.flatnonzero(sizes >= SPECK * sizes.max())]


def _distance(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """From every voxel of the mask to the nearest one outside it."""
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing))


def _describe(part: Any) -> Any:
    if isinstance(part, tuple):
        return [_describe(p) for p in part]
    if hasattr(part, "__dataclass_fields__"):
        values = {name: _describe(getattr(part, name)) for name in part.__dataclass_fields__}
        return {"fault": type(part).__name__, **values}
    return part
