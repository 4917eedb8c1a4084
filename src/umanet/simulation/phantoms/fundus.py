"""Phantom of a fundus photograph: optic disc and cup."""

import numpy as np
from jaxtyping import Float, UInt8

from umanet.simulation.phantoms.shading import Map, ball, branches, noise, one_piece, smooth, soft, tubes

Colours = Float[np.ndarray, "3 H W"]
RETINA = np.array([0.68, 0.33, 0.14])
DISC = np.array([0.90, 0.64, 0.36])
CUP = np.array([0.98, 0.86, 0.62])
BLOOD = np.array([0.42, 0.13, 0.07])


def fundus(rng: np.random.Generator, size: int = 128) -> tuple[Colours, UInt8[np.ndarray, "H W"]]:
    """A phantom that looks like a photograph of the optic disc at a glance, and its disc and cup.

    Retina with macula, disc with a pale cup, vessels over both, light, hue and sharpness vary. A third have an
    atrophic crescent beside the disc, a quarter a haze; neither changes the truth.

    Returns:
        Red, green and blue in [0, 1], and labels: 1 in the disc without its cup, 2 in the cup. Row 0 is above.
    """
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    temporal = int(rng.choice((-1, 1)))
    centre = np.array([rng.normal(0, 0.06), rng.normal(-0.12 * temporal, 0.07)])
    disc, cup = _edges(x - centre[1], y - centre[0], rng, temporal)
    image = _retina(x, y, centre, rng, temporal)
    image = _crescent(image, disc, x - centre[1], rng, temporal)
    image = _mix(image, DISC * rng.uniform(0.85, 1.05), soft(disc, rng.uniform(0.05, 0.14)))
    image = _mix(image, CUP, rng.uniform(0.45, 0.85) * soft(cup, rng.uniform(0.06, 0.20)))
    image = _mix(image, BLOOD, _vessels(x, y, centre, rng, temporal))
    labels = (disc > 0).astype(np.uint8) + ((disc > 0) & (cup > 0))
    return _photographed(image, x, y, rng), labels.astype(np.uint8)


def _edges(x: Map, y: Map, rng: np.random.Generator, temporal: int) -> tuple[Map, Map]:
    """Signed distances to the borders of disc and cup, positive inside, roughly in half sides of the image."""
    height = rng.uniform(0.27, 0.36)
    width = height * rng.uniform(0.82, 0.98)
    ratio = np.clip(rng.normal(0.52, 0.13), 0.28, 0.80)
    wobble = 0.018 * noise(rng, x.shape, 0.08)
    disc = width * (1 - np.hypot(x / width, y / height)) + wobble
    inner = ratio * width, ratio * height * rng.uniform(0.95, 1.1)
    away = 0.4 * (1 - ratio) * width * temporal
    cup = inner[0] * (1 - np.hypot((x - away * rng.uniform(0, 1)) / inner[0], (y + rng.normal(0, 0.02)) / inner[1]))
    # The neuroretinal rim is nowhere thinner than this.
    disc = one_piece(disc)
    return disc, one_piece(np.minimum(cup + 0.7 * wobble, disc - 0.03))


def _retina(x: Map, y: Map, centre: np.ndarray, rng: np.random.Generator, temporal: int) -> Colours:
    """Choroid, its texture, and the macula, darker and without vessels."""
    shade = 1 + 0.06 * noise(rng, x.shape, 0.10) + 0.04 * noise(rng, x.shape, 0.025)
    shade -= 0.22 * ball(x, y, centre[1] + 0.95 * temporal, centre[0] + 0.08, 0.28, 0.26, 0.25)
    colour = RETINA * rng.uniform([0.85, 0.75, 0.6], [1.15, 1.25, 1.5])
    return colour[:, None, None] * shade


def _crescent(image: Colours, disc: Map, x: Map, rng: np.random.Generator, temporal: int) -> Colours:
    """Atrophy on the temporal side of a third of the discs: as pale as the disc, and no part of it."""
    if rng.random() > 1 / 3:
        return image
    width = rng.uniform(0.05, 0.12)
    beside = soft(disc + width, 0.05) * soft(x * temporal - 0.1, 0.15)
    return _mix(image, DISC * 0.85, rng.uniform(0.4, 0.8) * beside)


def _vessels(x: Map, y: Map, centre: np.ndarray, rng: np.random.Generator, temporal: int) -> Map:
    """Two arcades around the macula and two nasal ones, each an artery and a wider, darker vein."""
    cover = np.zeros_like(x)
    for up in (-1.0, 1.0):
        for side, bend in ((temporal, 0.03), (-temporal, 0.015)):
            for width, dark in ((rng.uniform(0.018, 0.026), 0.55), (rng.uniform(0.026, 0.036), 0.8)):
                start = centre + rng.normal(0, 0.03, 2) + [0.04 * up, -0.03 * temporal]
                heading = [up, side * rng.uniform(0.05, 0.5)]
                pull = [-0.006 * up, bend * side]
                points, widths = branches(
                    rng, start.tolist(), heading, width, length=1.7, pull=pull, wander=0.11, forks=0.025
                )
                cover = np.maximum(cover, dark * tubes((y, x), points, widths))
    return cover


def _photographed(image: Colours, x: Map, y: Map, rng: np.random.Generator) -> Colours:
    """As the camera has it: light that falls off, haze, blur, grain, and black around a round field of view."""
    aside = np.hypot(x - rng.normal(0, 0.15), y - rng.normal(0, 0.15))
    image = image * (rng.uniform(0.85, 1.15) - rng.uniform(0.1, 0.35) * aside**2)
    if rng.random() < 1 / 4:
        image = _mix(image, np.array([0.75, 0.62, 0.45]), rng.uniform(0.15, 0.35) * np.ones_like(x))
    blur = rng.uniform(0.003, 0.009)
    image = np.stack([smooth(channel, blur) for channel in image])
    image = image + rng.uniform(0.008, 0.02) * rng.normal(size=image.shape)
    return np.clip(image * soft(1.12 - np.hypot(x, y), 0.02), 0, 1)


def _mix(image: Colours, colour: np.ndarray, share: Map) -> Colours:
    return image * (1 - share) + colour[:, None, None] * share
