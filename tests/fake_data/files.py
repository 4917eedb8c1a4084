"""Image files and a data set index for them."""

import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.types import Case

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (6, 9), dtype=np.uint8)
RGB = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
LPS = np.array([[-0.8, 0, 0, 40.0], [0, 0, -1.5, 30.0], [0, 0.9, 0, -7.0], [0, 0, 0, 1]])
"""Flipped and permuted: file axes point left, superior, posterior."""


def an_index(*values, spatial_dims=2, channels=("grey",), annotators=("ann",)):
    classes = [ClassDefinition(name=f"c{k}", values=v if isinstance(v, tuple) else (v,)) for k, v in enumerate(values)]
    case = Case("a", (Path("a.png"),))
    return DatasetIndex(
        spatial_dims=spatial_dims, channels=channels, classes=tuple(classes), annotators=annotators, cases=(case,)
    )


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def saved_nifti(path, array, affine=LPS, *, unit="mm"):
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def claiming_png(path: Path, side: int) -> Path:
    """A grey PNG of ``side`` x ``side`` that ends after its first row; no memory is needed to write it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(side + 1))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path
