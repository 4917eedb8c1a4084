"""PNG, JPEG, BMP and TIFF: arrays as stored, no spacing, no affine; the resolution of PNG and TIFF is carried along.

Traps that are met here: Pillow cuts 16-bit colour PNG down to 8 bits and stretches 2- and 4-bit grey to
0..255 without a word; palette annotations mean their indices and not their colours; cameras leave the rotation
of a photograph to its EXIF tag.
"""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Shaped
from PIL import Image, ImageSequence

from umanet.data.files import whole_file
from umanet.data.formats import TIFF, reading, suffix_of
from umanet.errors import ImageError, counted
from umanet.types import Geometry

EXIF_ORIENTATION = 0x0112
DECODED = (1, 8, 32773, 32946)
"""TIFF compressions that tifffile decodes by itself: none, deflate (two numbers), PackBits."""
MOST_PIXELS = 2**27
"""Of a picture (a page of a TIFF): 11,585 x 11,585. A file of a few bytes may claim more than any memory holds."""
SUSPICIOUS_PIXELS, SUSPICIOUS_RATIO = 2**26, 500
"""Above so many pixels in all, a file that unpacks to more than so many times its size is taken for a bomb."""
QUICK = 1
"""Level of compression of 16-bit PNG, which are maps: a third of the time of the usual 6, for 3 to 8 % more bytes."""
_opening = threading.Lock()
Resolution = tuple[float, float, int] | None
"""As in ``Geometry``."""
STRETCHED = {2: 85, 4: 17}
"""Bit depth of a grey PNG to the factor by which Pillow multiplies its values."""


def read_picture(path: Path) -> tuple[Shaped[np.ndarray, "C *spatial"], Geometry]:
    """All channels of an image file as stored; palettes as colours, opaque alpha left out.

    Raises:
        ImageError: Unreadable, truncated, or values that would be changed silently by reading them.
    """
    if suffix_of(path) in TIFF:
        return _with_geometry(*_read_tiff(path), path)
    with reading(path), opened_picture(path) as picture:
        _refuse_hidden_changes(picture, path)
        # Pillow makes one up for some JPEG files.
        dpi = picture.info.get("dpi") if suffix_of(path) == ".png" else None
        if picture.mode == "P":
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        if picture.mode not in ("1", "L", "I", "I;16", "F", "RGB", "LA", "RGBA"):
            raise ImageError(f"Colours {picture.mode} found, grey or RGB expected, in {path}. Convert the file.")
        channels = np.moveaxis(np.atleast_3d(np.asarray(picture)), 2, 0)
        alpha = picture.mode in ("LA", "RGBA")
    resolution = None if dpi is None else (float(dpi[0]), float(dpi[1]), int(tifffile.RESUNIT.INCH))
    return _with_geometry(_without_alpha(channels, path) if alpha else channels, resolution, path)


def read_picture_values(path: Path) -> tuple[Shaped[np.ndarray, "C *spatial"], Geometry]:
    """The values of an annotation file: palette indices, and 2- and 4-bit grey unstretched.

    Raises:
        ImageError: Unreadable or truncated.
    """
    if suffix_of(path) not in TIFF:
        with reading(path), opened_picture(path) as picture:
            if picture.mode in ("L", "P"):
                factor = STRETCHED.get(_png_type(path)[0], 1) if picture.mode == "L" else 1
                return _with_geometry((np.asarray(picture) // factor)[None], None, path)
    return read_picture(path)


def write_picture(path: Path, values: Shaped[np.ndarray, "*spatial"], resolution: Resolution = None) -> None:
    """By the suffix of ``path``: any numbers as deflated TIFF, or 8- or 16-bit unsigned values as PNG."""
    with whole_file(path) as temporary:
        if suffix_of(path) in TIFF:
            said = {} if resolution is None else {"resolution": resolution[:2], "resolutionunit": resolution[2]}
            axes = {"axes": "ZYX"[-values.ndim :]}
            tifffile.imwrite(temporary, values, compression="zlib", photometric="minisblack", metadata=axes, **said)
        else:
            said = {"dpi": resolution[:2]} if resolution and resolution[2] == tifffile.RESUNIT.INCH else {}
            level = {} if values.dtype.itemsize == 1 else {"compress_level": QUICK}
            Image.fromarray(values).save(temporary, format="PNG", **said, **level)


@contextmanager
def opened_picture(path: Path) -> Iterator[Image.Image]:
    """A picture of which only the header was read, once its size is known to be bearable."""
    try:
        # The filters of warnings are those of the whole process, so one thread at a time.
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is below Pillow's own error
            picture = Image.open(path)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise ImageError(_too_large(f"{pixels[0] if pixels else 'Too many'} pixels", path)) from None
    with picture:
        depth = {"I": 4, "F": 4, "I;16": 2, "I;16B": 2}.get(picture.mode, 1)
        _refuse_bomb(picture.size, getattr(picture, "n_frames", 1), len(picture.getbands()) * depth, path)
        yield picture


def _refuse_bomb(page: tuple[int, ...], pages: int, bytes_each: int, path: Path) -> None:
    """Before anything is unpacked.

    Raises:
        ImageError: More pixels than ``MOST_PIXELS``, or many out of next to nothing.
    """
    width, height = page
    if width * height > MOST_PIXELS:
        raise ImageError(_too_large(f"{width} x {height} pixels", path))
    unpacked, size = width * height * pages * bytes_each, path.stat().st_size
    if width * height * pages > SUSPICIOUS_PIXELS and unpacked > SUSPICIOUS_RATIO * size:
        raise ImageError(
            f"{width} x {height} pixels ({counted(pages, 'page')}) in a file of {size} bytes found, which unpacks to "
            f"{unpacked / size:.0f} times its size; less than {SUSPICIOUS_RATIO} expected, at {path}. If the picture "
            "is meant, crop it, or save it without compression as TIFF."
        )


def _too_large(found: str, path: Path) -> str:
    return f"{found} found, at most {MOST_PIXELS} expected, at {path}. Cut the picture into tiles, or shrink it."


def _with_geometry(channels: np.ndarray, resolution: Resolution, path: Path) -> tuple[np.ndarray, Geometry]:
    shape = channels.shape[1:]
    spacing = tuple(1.0 for _ in shape)
    return channels, Geometry(shape, spacing=spacing, suffix=suffix_of(path), resolution=resolution)


def _png_type(path: Path) -> tuple[int, int]:
    """Bit depth and colour type in the header of a PNG; zeros for other files."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return (head[24], head[25]) if head.startswith(b"\x89PNG") and len(head) == 26 else (0, 0)


def _refuse_hidden_changes(picture: Image.Image, path: Path) -> None:
    depth, colours = _png_type(path)
    if depth == 16 and colours != 0:
        raise ImageError(
            f"A 16-bit colour PNG found, 8 bits or 16-bit grey expected, at {path}. Save the colours as 8-bit PNG or "
            "16-bit TIFF: reading would cut them to 8 bits."
        )
    turned = picture.getexif().get(EXIF_ORIENTATION, 1)
    if turned != 1:
        raise ImageError(
            f"EXIF orientation {turned} found, 1 expected, in {path}. Rotate the pixels as the tag says, so that image "
            "and annotations have one order."
        )


def _without_alpha(channels: np.ndarray, path: Path) -> np.ndarray:
    if (channels[-1] != channels[-1].max()).any():
        raise ImageError(f"Transparent pixels found, an opaque image expected, in {path}. Remove the alpha channel.")
    return channels[:-1]


def _read_tiff(path: Path) -> tuple[np.ndarray, Resolution]:
    with reading(path), tifffile.TiffFile(path) as file:
        series, page = file.series, file.pages.first.keyframe
        if len(series) != 1:
            raise ImageError(f"{len(series)} images found, one expected, in {path}. Save each to a file of its own.")
        axes = series[0].axes
        _refuse_bomb((page.imagewidth, page.imagelength), len(series[0]), page.samplesperpixel * _bytes(page), path)
        stored = _read_pages(path, page) if page.compression not in DECODED else series[0].asarray()
        alpha = any(extra in (1, 2) for extra in page.extrasamples)
        resolution = _resolution(page)
    channel_axes = [axis for axis, letter in enumerate(axes) if letter in "SC"]
    if len(channel_axes) > 1 or not 2 <= stored.ndim - len(channel_axes) <= 3:
        raise ImageError(f"Axes {axes} found, two or three spatial ones expected, in {path}. Split the file.")
    channels = np.moveaxis(stored, channel_axes[0], 0) if channel_axes else stored[None]
    return _without_alpha(channels, path) if alpha else channels, resolution


def _bytes(page: tifffile.TiffPage) -> int:
    return max(1, page.bitspersample // 8)


def _resolution(page: tifffile.TiffPage) -> Resolution:
    """What the tags say; without a unit equal numbers say nothing."""
    (across, down), unit = page.resolution, page.resolutionunit
    tagged = "XResolution" in page.tags and "YResolution" in page.tags and unit in list(tifffile.RESUNIT)
    if not tagged or min(across, down) <= 0 or (unit == tifffile.RESUNIT.NONE and across == down):
        return None
    return across, down, int(unit)


def _read_pages(path: Path, page: tifffile.TiffPage) -> np.ndarray:
    """LZW, JPEG and fax compression, which only Pillow decodes; it has 8-bit colours only."""
    if page.samplesperpixel > 1 and page.bitspersample > 8:
        raise ImageError(
            f"16-bit colours with compression {page.compression} found in {path}. Save it without compression."
        )
    with opened_picture(path) as picture:
        pages = [np.asarray(frame) for frame in ImageSequence.Iterator(picture)]
    return pages[0] if len(pages) == 1 else np.stack(pages)
