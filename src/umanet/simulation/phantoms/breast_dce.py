"""Phantom of a breast in dynamic contrast-enhanced MRI: one lesion that enhances."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from umanet.simulation.phantoms.shading import Map, branches, noise, one_piece, smooth, soft, tubes

PHASES = ("before contrast", "early", "late")
SPACING_MM = (2.0, 2.0, 4.0)
"""Of a phantom of the usual shape: a field of view of 96 mm."""
FAT, GLAND, MUSCLE, LESION = 0.12, 0.28, 0.24, 0.26
"""Before contrast, fat suppressed."""


class _Uptake(NamedTuple):
    """What contrast adds to a tissue."""

    where: Map
    early: float
    late: float


def breast_dce(
    rng: np.random.Generator, shape: tuple[int, int, int] = (48, 48, 24)
) -> tuple[Float[np.ndarray, "3 X Y Z"], UInt8[np.ndarray, "X Y Z"]]:
    """A phantom that looks like one breast in DCE-MRI at a glance, and its lesion.

    Skin, fat, glandular tissue, chest wall and vessels. The lesion enhances early and strongly, in a third of the
    cases least in its middle; vessels do so too, glandular tissue later and in patches, and a third have a small
    benign focus. None of these belongs to the truth.

    Returns:
        ``PHASES`` in [0, 1], and labels: 1 in the lesion. Axes are right, anterior and superior.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    wall = y + 0.78 + 0.10 * x**2
    breast = _breast(x, y, z, rng)
    gland = _gland(x, y, z, breast, rng)
    lesion = _lump(x, y, z, _place(gland, breast, wall, rng), rng.uniform(0.16, 0.34), rng)
    plain = FAT + (GLAND - FAT) * gland + (LESION - FAT) * soft(lesion, 0.05) * (1 - gland)
    plain += 0.10 * soft(0.05 - np.abs(breast), 0.03)
    plain += (MUSCLE - FAT) * soft(-wall, 0.05)
    body = np.maximum(soft(breast, 0.03), soft(-wall, 0.03))
    uptakes = [
        _lesion_uptake(lesion, rng),
        _Uptake(gland * np.clip(0.6 + 0.5 * noise(rng, shape, 0.06), 0, None), rng.uniform(0.03, 0.12), 0.16),
        _Uptake(_vessels((x, y, z), rng) * soft(breast, 0.05), rng.uniform(0.32, 0.50), 0.34),
        _Uptake(soft(-wall, 0.05), 0.05, 0.09),
        _focus(x, y, z, gland, breast, wall, rng),
    ]
    early, late = (
        plain + sum((getattr(uptake, phase) * uptake.where for uptake in uptakes), np.zeros(shape))
        for phase in ("early", "late")
    )
    return _received([plain * body, early * body, late * body], rng), (lesion > 0).astype(np.uint8)


def _breast(x: Map, y: Map, z: Map, rng: np.random.Generator) -> Map:
    """Distance to the skin, positive inside: half an ellipsoid on the chest wall, which points forward."""
    wide, deep, high = rng.uniform(0.80, 0.95), rng.uniform(1.35, 1.65), rng.uniform(0.85, 1.05)
    sag = 0.12 * (1 - y) * z
    round_ = np.sqrt((x / wide) ** 2 + ((y + 0.8) / deep) ** 2 + ((z + sag) / high) ** 2)
    return 0.8 * (1 - round_) + 0.012 * noise(rng, x.shape, 0.10)


def _gland(x: Map, y: Map, z: Map, breast: Map, rng: np.random.Generator) -> Map:
    """Share of glandular tissue: strands that meet behind the nipple; from fatty to dense breasts."""
    ahead = 1 - np.sqrt((x / 0.62) ** 2 + ((y + 0.15) / 0.75) ** 2 + (z / 0.65) ** 2)
    strands = noise(rng, x.shape, 0.045) + rng.uniform(-0.6, 0.7)
    return soft(breast - 0.16, 0.10) * soft(ahead + 0.25 * noise(rng, x.shape, 0.08), 0.25) * soft(strands, 1.2)


def _place(gland: Map, breast: Map, wall: Map, rng: np.random.Generator) -> tuple[int, ...]:
    """A voxel well inside, rather in or beside glandular tissue than in fat."""
    inside = np.argwhere((breast > 0.30) & (wall > 0.35))
    weights = 0.1 + smooth(gland, 0.05)[tuple(inside.T)]
    return tuple(rng.choice(inside, p=weights / weights.sum()).tolist())


def _lump(x: Map, y: Map, z: Map, at: tuple[int, ...], radius: float, rng: np.random.Generator) -> Map:
    """Distance to the border of an irregular lump, positive inside."""
    radii = radius * rng.uniform(0.75, 1.2, 3)
    rough = radius * (rng.uniform(0.12, 0.35) * noise(rng, x.shape, 0.06) + 0.06 * noise(rng, x.shape, 0.03))
    away = [(axis - axis[at]) / own for axis, own in zip((x, y, z), radii, strict=True)]
    return one_piece(radius * (1 - np.sqrt(sum((one**2 for one in away), np.zeros_like(x)))) + rough)


def _lesion_uptake(lesion: Map, rng: np.random.Generator) -> _Uptake:
    """Most lesions wash out or reach a plateau; a third enhance at the rim."""
    where = soft(lesion, 0.10) * np.clip(1 + 0.2 * noise(rng, lesion.shape, 0.03), 0.2, None)
    if rng.random() < 1 / 3:
        where *= 1 - rng.uniform(0.3, 0.6) * soft(lesion - 0.45 * lesion.max(), 0.08)
    early = rng.uniform(0.16, 0.42)
    return _Uptake(where, early, early * rng.uniform(0.7, 1.05))


def _vessels(axes: tuple[Map, Map, Map], rng: np.random.Generator) -> Map:
    """Two or three vessels that come from the side of the chest wall."""
    cover = np.zeros_like(axes[0])
    for _ in range(rng.integers(2, 4)):
        start = [rng.choice((-0.8, 0.8)), -0.6, rng.uniform(-0.4, 0.6)]
        heading = [-0.4 * np.sign(start[0]), 1.0, rng.normal(0, 0.3)]
        width = rng.uniform(0.05, 0.08)
        cover = np.maximum(
            cover, tubes(axes, *branches(rng, start, heading, width, length=1.3, wander=0.13, forks=0.02))
        )
    return cover


def _focus(x: Map, y: Map, z: Map, gland: Map, breast: Map, wall: Map, rng: np.random.Generator) -> _Uptake:
    """In a third of the cases a small benign focus, which enhances slowly and no less late than early."""
    focus = _lump(x, y, z, _place(gland, breast, wall, rng), rng.uniform(0.08, 0.12), rng)
    there = float(rng.random() < 1 / 3)
    return _Uptake(there * soft(focus, 0.06), 0.12, 0.28)


def _received(phases: list[Map], rng: np.random.Generator) -> Float[np.ndarray, "3 X Y Z"]:
    """As the coil has it: brighter near the skin, blurred by the voxel, noise; one gain for all phases."""
    shape = phases[0].shape
    gain = (1.15 + 0.12 * noise(rng, shape, 0.25)) * rng.uniform(0.9, 1.15)
    sigma = rng.uniform(0.012, 0.028)
    received = [smooth(phase, 0.008) * gain + sigma * rng.normal(size=shape) for phase in phases]
    return np.clip(np.stack(received), 0, 1)
