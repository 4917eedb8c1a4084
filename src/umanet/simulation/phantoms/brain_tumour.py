"""Phantom of a slice of brain MRI with a tumour: four contrasts, three nested structures."""

import numpy as np
from jaxtyping import Float, UInt8

from umanet.simulation.phantoms.shading import Map, ball, noise, one_piece, smooth, soft

CONTRASTS = ("T1", "T1 with contrast", "T2", "FLAIR")
TISSUES = {
    # T1, T1 with contrast, T2, FLAIR
    "scalp": (0.75, 0.78, 0.65, 0.55),
    "skull": (0.08, 0.08, 0.06, 0.06),
    "grey": (0.40, 0.42, 0.50, 0.46),
    "white": (0.56, 0.57, 0.36, 0.36),
    "fluid": (0.14, 0.14, 0.92, 0.10),
    "oedema": (0.38, 0.40, 0.74, 0.80),
    "necrosis": (0.22, 0.22, 0.80, 0.50),
    "enhancing": (0.36, 0.90, 0.58, 0.64),
}
Contrasts = Float[np.ndarray, "4 H W"]


def brain_tumour(rng: np.random.Generator, size: int = 96) -> tuple[Contrasts, UInt8[np.ndarray, "H W"]]:
    """A phantom that looks like an axial slice with a glioma at a glance, and its parts.

    Scalp, skull, cortex, white matter, ventricles that the tumour shifts; oedema that FLAIR shows, a necrotic middle
    and a rim that takes up contrast. Half have small white-matter lesions, as bright on FLAIR and no part of the truth.

    Returns:
        ``CONTRASTS`` in [0, 1], and labels: 1 in the oedema, 2 in the core that does not enhance, 3 in the enhancing
        rim; the core is 2 and 3, the whole tumour all three. Row 0 is in front.
    """
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x, y = x + 0.015 * noise(rng, x.shape, 0.10), y + 0.015 * noise(rng, x.shape, 0.10)
    wide, high = rng.uniform(0.66, 0.74), rng.uniform(0.82, 0.90)
    brain = wide * (1 - np.hypot(x / wide, y / high))
    at = rng.choice((-1, 1)) * rng.uniform(0.26, 0.36), rng.uniform(-0.38, 0.38)
    whole, core, middle = _tumour(x, y, at, brain, rng)
    image = _head(x, y, at, brain, rng)
    image = _mix(image, "oedema", rng.uniform(0.7, 1.0) * soft(whole, 0.09))
    image = _mix(image, "enhancing", soft(core, 0.04) * np.clip(0.85 + 0.2 * noise(rng, x.shape, 0.03), 0.3, 1))
    image = _mix(image, "necrosis", soft(middle, 0.05))
    labels = (whole > 0).astype(np.uint8) + (core > 0) + ((core > 0) & (middle <= 0))
    return _scanned(image, rng), labels.astype(np.uint8)


def _tumour(x: Map, y: Map, at: tuple[float, float], brain: Map, rng: np.random.Generator) -> tuple[Map, Map, Map]:
    """Distances to the borders of the whole tumour, its core, and the core's necrotic middle, positive inside."""
    radius = rng.uniform(0.13, 0.21)
    rough = 0.032 * noise(rng, x.shape, 0.06) + 0.012 * noise(rng, x.shape, 0.025)
    away = np.hypot((x - at[0]) / rng.uniform(0.85, 1.2), (y - at[1]) / rng.uniform(0.85, 1.2))
    core = one_piece(np.minimum(radius - away + rough, brain - 0.05))
    # Oedema follows the white matter in fingers, and not beyond it.
    fingers = rng.uniform(0.08, 0.18) + 0.08 * noise(rng, x.shape, 0.06)
    whole = one_piece(np.maximum(np.minimum(core + fingers, brain - 0.12), core))
    rim = rng.uniform(0.045, 0.09) + 0.025 * noise(rng, x.shape, 0.05)
    return whole, core, core - np.clip(rim, 0.035, None)


def _head(x: Map, y: Map, at: tuple[float, float], brain: Map, rng: np.random.Generator) -> Contrasts:
    """Everything but the tumour."""
    image = np.zeros((4, *x.shape))
    image = _mix(image, "scalp", soft(brain + 0.20, 0.02))
    image = _mix(image, "skull", soft(brain + 0.13, 0.02))
    image = _mix(image, "fluid", soft(brain + 0.03, 0.02))
    image = _mix(image, "grey", soft(brain, 0.02))
    sulci = np.exp(-((noise(rng, x.shape, 0.028) / 0.35) ** 2))
    image = _mix(image, "white", soft(brain - 0.07 - 0.07 * sulci, 0.05))
    image = _mix(image, "fluid", 0.9 * sulci * soft(0.09 - brain, 0.06) * soft(brain, 0.02))
    image = _mix(image, "grey", 0.8 * _nuclei(x, y))
    fissure = soft(0.012 + 0.02 * np.abs(y) - np.abs(x - _shift(y, at)), 0.02) * soft(np.abs(y) - 0.42, 0.05)
    image = _mix(image, "fluid", fissure * soft(brain, 0.02))
    image = _mix(image, "fluid", _ventricles(x - _shift(y, at), y, rng))
    return _white_matter_lesions(image, x, y, rng)


def _nuclei(x: Map, y: Map) -> Map:
    return ball(np.abs(x), y, 0.20, 0.06, 0.09, 0.17, 0.04)


def _shift(y: Map, at: tuple[float, float]) -> Map:
    """The tumour pushes the midline to the other side."""
    return -0.06 * np.sign(at[0]) * np.exp(-(((y - at[1]) / 0.4) ** 2))


def _ventricles(x: Map, y: Map, rng: np.random.Generator) -> Map:
    """Two pairs of horns that nearly meet in the middle."""
    wide, aside = rng.uniform(0.05, 0.085), np.abs(x)
    front = ball(aside, y + 0.9 * aside, 0.09, -0.08, wide, 0.19, 0.03)
    back = ball(aside, y - 0.9 * aside, 0.13, 0.12, wide, 0.20, 0.03)
    return np.maximum(front, back)


def _white_matter_lesions(image: Contrasts, x: Map, y: Map, rng: np.random.Generator) -> Contrasts:
    for _ in range(rng.integers(2, 5) if rng.random() < 1 / 2 else 0):
        where = rng.choice((-1, 1)) * rng.uniform(0.22, 0.40), rng.uniform(-0.45, 0.45), rng.uniform(0.025, 0.05)
        image = _mix(image, "oedema", 0.8 * ball(x, y, *where, where[2] * 1.2, 0.03))
    return image


def _scanned(image: Contrasts, rng: np.random.Generator) -> Contrasts:
    """As the scanner has it: texture, a bias field, a gain for each contrast, noise."""
    shape = image.shape[1:]
    received = []
    for contrast in image:
        bias = rng.uniform(0.8, 1.1) * (1 + 0.06 * noise(rng, shape, 0.25))
        grain = rng.uniform(0.012, 0.028) * rng.normal(size=shape)
        received.append(smooth(contrast * (1 + 0.03 * noise(rng, shape, 0.02)), 0.006) * bias + grain)
    return np.clip(np.stack(received), 0, 1)


def _mix(image: Contrasts, tissue: str, share: Map) -> Contrasts:
    return image * (1 - share) + np.array(TISSUES[tissue])[:, None, None] * share
