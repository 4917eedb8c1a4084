"""Pictures that travel inside the page: a small WebP, and outlines above it as lines that stay sharp at any size."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import contourpy
import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from matplotlib.colors import to_hex
from PIL import Image

from umanet.data.index import DatasetIndex
from umanet.report.view import View, find_view
from umanet.types import IGNORE, Sample

SIDE = 256
"""Pixels of the longer side of a picture."""
QUALITY = 72
HEAT = "inferno"
TENTHS = 10
"""Outlines are written in whole tenths of a pixel of the picture."""
SILENT = "silent"
"""Style of what is ignored."""
STRAIGHT = 0.7
"""Tenths of a pixel by which a point may leave the straight line and be left out."""


@dataclass(frozen=True)
class Outline:
    """``style`` is the name of a line in the style sheet, ``path`` the ``d`` of an SVG path."""

    style: str
    path: str


@dataclass(frozen=True)
class Picture:
    """A picture with what is drawn above it; ``alt`` is what it says to those who cannot see it."""

    source: str
    width: int
    height: int
    outlines: tuple[Outline, ...]
    alt: str

    @property
    def view_box(self) -> str:
        return f"0 0 {self.width * TENTHS} {self.height * TENTHS}"


def picture(
    image: Float32[np.ndarray, "C *spatial"],
    view: View,
    outlines: Sequence[tuple[str, UInt8[np.ndarray, "*spatial"]]],
    alt: str,
    *,
    heat: Float[np.ndarray, "*spatial"] | None = None,
    silent: Bool[np.ndarray, "*spatial"] | None = None,
) -> Picture:
    """A case as the view shows it.

    Args:
        image: One channel, or three that are shown as red, green and blue.
        view: What of it.
        outlines: Style and labels; every class is outlined.
        alt: The text in place of the picture.
        heat: Probabilities laid over the image, transparent where low.
        silent: Of which voxels nothing is said: they are hatched.
    """
    shown = view.take(image)
    width, height = _size(shown.shape[-2:], view.aspect)
    pixels = _resized(shown, width, height)
    pixels = np.broadcast_to(pixels, (3, height, width)) if len(pixels) == 1 else pixels
    if heat is not None:
        pixels = _heated(pixels, _resized(view.take(heat)[None], width, height)[0])
    hatched = [] if silent is None or not silent.any() else [(SILENT, silent.astype(np.uint8))]
    paths = tuple(Outline(style, outline(view.take(labels), width, height)) for style, labels in (*hatched, *outlines))
    return Picture(_encoded(pixels), width, height, paths, alt)


def picture_of_annotations(
    sample: Sample, index: DatasetIndex, image: Float32[np.ndarray, "C *spatial"], *also: UInt8[np.ndarray, "*spatial"]
) -> tuple[Picture, str]:
    """All annotations of a case, each with its own line, where they differ most; and that place in words.

    Args:
        sample: With at least one annotation.
        index: Says in which line an annotator is drawn.
        image: Of the case, from ``displayed``.
        also: Labels that must be in view, too.
    """
    styles = styles_of(index.annotators)
    present = [(name, sample.annotations[r].numpy()) for r, name in enumerate(index.annotators) if sample.present[r]]
    names, stack = [name for name, _ in present], np.stack([labels for _, labels in present])
    view = find_view(sample.geometry, any_of(*stack, *also), _disputed(stack, index, names).astype(np.float32))
    alt = f"{sample.case} with the outlines of all {len(present)} annotations"
    lines = [(styles[name], labels) for name, labels in present]
    silent = (stack == IGNORE).any(0) if index.ignore else None
    return picture(image, view, lines, alt, silent=silent), view.place


def _disputed(
    stack: UInt8[np.ndarray, "P *spatial"], index: DatasetIndex, names: Sequence[str]
) -> Bool[np.ndarray, "*spatial"]:
    """Where no class is possible by all that is said."""
    if not (index.ignore or index.annotator_classes):
        return stack.max(0) != stack.min(0)
    possible = np.zeros(stack.shape[1:], bool)
    for k in range(len(index.classes)):
        open_ = np.array([k > 0 and k not in index.drawn_by(name) for name in names], bool)
        open_ = open_[(slice(None), *[None] * (stack.ndim - 1))]
        possible |= ((stack == k) | (stack == IGNORE) | ((stack == 0) & open_)).all(0)
    return ~possible


def displayed(image: Float32[np.ndarray, "C *spatial"], index: DatasetIndex) -> Float32[np.ndarray, "shown *spatial"]:
    """The channels to show, from 0 (black) to 1: colours where they are that, else the first, at its 1st to 99th
    percentile.
    """
    colours = len(image) == 3 and index.spatial_dims == 2 and float(image.min()) >= 0 and float(image.max()) <= 255
    if colours:
        return image / np.float32(max(float(image.max()), 1e-6))
    low, high = np.percentile(image[0], (1, 99))
    return np.clip((image[:1] - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)


def outline(labels: UInt8[np.ndarray, "H W"], width: int, height: int) -> str:
    """The borders of every class as the ``d`` of a path, in tenths of a pixel of a picture of this size.

    What is ``IGNORE`` has none.
    """
    parts = []
    for k in np.unique(labels[(labels > 0) & (labels != IGNORE)]):
        mask = labels == k
        smaller = (min(mask.shape[0], height), min(mask.shape[1], width))
        share = np.pad(_resized(mask[None].astype(np.float32), smaller[1], smaller[0])[0], 1)
        scale = np.array([width / smaller[1], height / smaller[0]]) * TENTHS
        # What is smaller than a pixel of the picture is shown all the same.
        lines = contourpy.contour_generator(z=share).lines(min(0.5, float(share.max()) / 2))
        # Contours run through the centres of pixels, half a pixel from the edge, and the padding adds one.
        parts += [_path((np.asarray(line) - 0.5) * scale) for line in lines]
    return "".join(parts)


def _path(points: Float[np.ndarray, "N 2"]) -> str:
    """Relative, in whole numbers, without points on straight lines."""
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    along = after - before
    off = np.abs(along[:, 0] * (points - before)[:, 1] - along[:, 1] * (points - before)[:, 0])
    bent = off > STRAIGHT * np.maximum(np.hypot(*along.T), 1e-9)
    # Of two neighbours on a gentle curve one is kept: both would be too many, none would cut it.
    bent |= np.arange(len(points)) % 2 == 0
    bent[[0, -1]] = True
    whole = np.rint(points[bent]).astype(int)
    steps = np.diff(whole, axis=0)
    steps = steps[(steps != 0).any(axis=1)]
    moves = " ".join(f"{x} {y}" for x, y in steps.tolist())
    return f"M{whole[0, 0]} {whole[0, 1]}l{moves}z" if moves else ""


def cross(place: Bool[np.ndarray, "H W"], width: int, height: int) -> str:
    """A cross at the only pixel of ``place``; nothing where there is none."""
    found = np.argwhere(place)
    if not len(found):
        return ""
    y, x = (found[0] + 0.5) / place.shape * (height, width) * TENTHS
    arm = 7 * TENTHS
    return f"M{x - arm:.0f} {y:.0f}h{2 * arm}M{x:.0f} {y - arm:.0f}v{2 * arm}"


def _size(shape: tuple[int, ...], aspect: float) -> tuple[int, int]:
    """Width and height of the picture: small crops grow to it, so that all pictures are alike."""
    height, width = shape[0] * aspect, float(shape[1])
    scale = SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(values: Float[np.ndarray, "N H W"], width: int, height: int) -> Float[np.ndarray, "N h w"]:
    """Averages where it shrinks, smooth where it grows."""
    maps = [np.ascontiguousarray(one, dtype=np.float32) for one in values]
    filtered = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(one).resize((width, height), filtered)) for one in maps])


def _heated(pixels: Float[np.ndarray, "3 H W"], heat: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "3 H W"]:
    heat = np.clip(heat, 0, 1)
    colours = matplotlib.colormaps[HEAT](heat)[..., :3].transpose(2, 0, 1)
    covers = np.clip(1.5 * heat, 0, 0.8)
    return pixels * (1 - covers) + colours * covers


def _encoded(pixels: Float[np.ndarray, "3 H W"]) -> str:
    buffer = io.BytesIO()
    bytes_ = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(bytes_)).save(buffer, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def heat_scale() -> str:
    """The colours of the heat map as a CSS gradient, from 0 to 1."""
    stops = [to_hex(matplotlib.colormaps[HEAT](value)) for value in np.linspace(0, 1, 9)]
    return f"linear-gradient(to right, {', '.join(stops)})"


def styles_of(names: Sequence[str]) -> dict[str, str]:
    """A line for each annotator: seven colours times four patterns."""
    return {name: f"who{number % 28}" for number, name in enumerate(names)}


def any_of(*labels: UInt8[np.ndarray, "*spatial"]) -> Bool[np.ndarray, "*spatial"]:
    """Where any of them has a class."""
    return np.logical_or.reduce([(one > 0) & (one != IGNORE) for one in labels])
