"""Phantom of a chest X-ray."""

import numpy as np
from jaxtyping import Float, UInt8

from umanet.simulation.phantoms.shading import Map, ball, noise, smooth, soft


def chest_xray(rng: np.random.Generator, size: int = 128) -> tuple[Float[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
    """A phantom that looks like a frontal chest X-ray at a glance, and its lung fields.

    Body, lungs, heart, spine, ribs, clavicles, vessels; exposure and posture vary. A third have an opacity
    over part of a lung, which belongs to the truth all the same.

    Returns:
        The image in [0, 1], bright where X-rays are absorbed, and labels: 1 in the lungs. Row 0 is the head.
    """
    y, x = _posture(rng, size)
    right, left = _lung(x, y, rng, side=-1), _lung(x, y, rng, side=1)
    lungs = smooth((right | left).astype(float), 0.012) > 0.5
    image = _body(x, y, rng)
    image -= rng.uniform(0.30, 0.42) * smooth(lungs.astype(float), 0.012)
    image += _middle(x, y, rng) + _bones(x, y, lungs, rng) + _vessels(x, y, lungs, rng)
    if rng.random() < 1 / 3:
        image += _opacity(x, y, lungs, rng)
    return _exposed(image, rng), lungs.astype(np.uint8)


def _posture(rng: np.random.Generator, size: int) -> tuple[Map, Map]:
    """Coordinates in the chest, y down and x to the right in [-1, 1]: turned, scaled, shifted, warped."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle, (stretch_y, stretch_x) = np.deg2rad(rng.normal(0, 2.5)), rng.uniform(0.92, 1.12, 2)
    y, x = y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle)
    y, x = y * stretch_y + rng.normal(0, 0.04), x * stretch_x + rng.normal(0, 0.03)
    return y + 0.025 * noise(rng, (size, size), 0.15), x + 0.02 * noise(rng, (size, size), 0.15)


def _lung(x: Map, y: Map, rng: np.random.Generator, side: int) -> np.ndarray:
    """One lung field; ``side`` is -1 for the one on the left of the image (the right lung)."""
    x = x * side
    top, base = rng.normal(-0.74, 0.04), rng.normal(0.42 if side < 0 else 0.47, 0.06)
    apex, width, middle = rng.normal(0.32, 0.02), rng.normal(0.74, 0.03), rng.normal(0.12, 0.015)
    down = np.clip((y - top) / (base + 0.25 - top), 0, 1)
    outer = apex + (width - apex) * (1 - (1 - down) ** 2.6) ** 0.52
    inner = apex - (apex - middle) * (1 - (1 - down) ** 5) ** 0.45
    inner += (0.06 if side < 0 else rng.uniform(0.14, 0.24)) * np.exp(-(((y - 0.34) / 0.26) ** 2))
    # The diaphragm: a dome, lowest at the costophrenic angle.
    floor = base + rng.uniform(0.35, 0.6) * (np.abs(x - 0.36) / 0.36) ** 2.2
    return (y > top) & (y < floor) & (x > inner) & (x < outer)


def _body(x: Map, y: Map, rng: np.random.Generator) -> Map:
    """Soft tissue: neck, shoulders, trunk, and air around; thicker in the middle and below the diaphragm."""
    neck, trunk = rng.uniform(0.24, 0.30), rng.uniform(0.86, 0.96)
    shoulders = neck + 1.15 * np.clip(y + rng.uniform(0.92, 1.0), 0, None) ** 0.55
    flanks = trunk + 0.5 * soft(-0.25 - y, 0.5)
    inside = soft(np.minimum(shoulders, flanks) - np.abs(x), 0.03)
    depth = 0.36 + 0.22 * np.sqrt(np.clip(1 - (x / 1.15) ** 2, 0, 1))
    return inside * (depth + 0.16 * soft(y - 0.5, 0.25))


def _middle(x: Map, y: Map, rng: np.random.Generator) -> Map:
    """Spine with its discs, mediastinum, windpipe, aortic knob, heart."""
    spine = soft(0.085 - np.abs(x), 0.03) * (0.06 + 0.012 * np.sin(y * 42 + rng.uniform(0, 6)))
    vessels = 0.13 * soft(0.14 + 0.03 * y - np.abs(x - 0.01), 0.05)
    windpipe = 0.07 * soft(0.04 - np.abs(x - 0.015), 0.03) * soft(-0.25 - y, 0.1)
    knob = 0.07 * ball(x, y, 0.11, -0.33, 0.09, 0.10, 0.05)
    heart = rng.uniform(0.10, 0.14) * ball(x, y, 0.12, 0.34, rng.uniform(0.30, 0.38), 0.32, 0.10)
    return spine + vessels - windpipe + knob + heart


def _bones(x: Map, y: Map, lungs: np.ndarray, rng: np.random.Generator) -> Map:
    """Clavicles; posterior ribs, falling outwards, and faint anterior ones, rising; faded outside the lungs."""
    away, step, start = np.abs(x), rng.uniform(0.135, 0.16), rng.uniform(-0.80, -0.74)
    image = np.zeros_like(x)
    for number in range(9):
        at = start + number * step
        back = at + 0.10 * away + 1.1 * np.clip(away - 0.3, 0, 1) ** 2
        front = at + 0.55 - 0.55 * away
        image += rng.uniform(0.055, 0.08) * _band(y - back, 0.030) + 0.025 * _band(y - front, 0.034)
    image *= (0.15 + 0.85 * smooth(lungs.astype(float), 0.03)) * soft(away - 0.13, 0.03)
    tilt = rng.normal(0, 0.03)
    line = -0.56 - 0.32 * (away - 0.1) + 0.05 * np.sin(6 * away) + tilt * np.sign(x)
    clavicles = 0.10 * _band(y - line, 0.032) * soft(away - 0.10, 0.03) * soft(0.85 - away, 0.1)
    return image + clavicles


def _vessels(x: Map, y: Map, lungs: np.ndarray, rng: np.random.Generator) -> Map:
    """Hilar shadows and fine texture that thins out towards the edge of the lungs."""
    hila = sum(0.13 * ball(x, y, side * 0.20, -0.05, 0.10, 0.20, 0.09) for side in (-1, 1))
    near = np.exp(-((np.hypot(np.abs(x) - 0.2, (y + 0.02) / 1.3) / 0.32) ** 2))
    branches = np.clip(noise(rng, x.shape, 0.014) - 0.3, 0, 2)
    return np.asarray(hila) + lungs * (0.06 * near + 0.01) * branches


def _opacity(x: Map, y: Map, lungs: np.ndarray, rng: np.random.Generator) -> Map:
    """A cloud over part of a lung that may hide its border."""
    row, column = rng.choice(np.argwhere(lungs))
    radius = rng.uniform(0.18, 0.4)
    distance = np.hypot(x - x[row, column], y - y[row, column]) / radius
    cloud = np.exp(-(distance**2)) * (1 + 0.35 * noise(rng, x.shape, 0.05))
    return rng.uniform(0.15, 0.35) * np.clip(cloud, 0, 1.5) * smooth(lungs.astype(float), 0.03)


def _exposed(image: Map, rng: np.random.Generator) -> Map:
    """As the detector sees it: blur, contrast, brightness, grain; [0, 1]."""
    size = len(image)
    image = smooth(image, 0.004) + 0.012 * noise(rng, (size, size), 0.03)
    image = np.clip(image * rng.uniform(1.0, 1.25) + rng.normal(0, 0.03), 0, 1) ** rng.uniform(0.85, 1.3)
    return np.clip(image + rng.uniform(0.008, 0.02) * rng.normal(size=image.shape), 0, 1)


def _band(distance: Map, width: float) -> Map:
    """A bone: dense at both rims, lighter between."""
    inside = soft(width - np.abs(distance), width / 2)
    return inside * (0.75 + 0.25 * np.clip(np.abs(distance) / width, 0, 1) ** 2)
