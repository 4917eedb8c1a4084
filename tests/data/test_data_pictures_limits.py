"""Pictures that claim more pixels than they should are refused before they are unpacked."""

import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from fake_data.files import claiming_png
from umanet.data.images import read_annotation_values, read_image
from umanet.errors import ImageError


@pytest.mark.parametrize("side", [10_000, 12_000, 14_000, 60_000])
@pytest.mark.parametrize("read", [lambda p: read_image([p], 2), lambda p: read_annotation_values(p, 2)])
def test_a_bomb_is_an_error_of_one_line_and_no_warning(tmp_path, side, read):
    with pytest.raises(ImageError, match=r"pixels .*found.* expected, at .*bomb\.png"):
        read(claiming_png(tmp_path / "bomb.png", side))


def test_a_tiff_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path):
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, shape=(9000, 9000), dtype=np.uint8, compression="zlib", rowsperstrip=9000,
                     data=iter([zlib.compress(bytes(9000 * 9000), 9)]))  # fmt: skip
    with pytest.raises(ImageError, match=r"9000 x 9000 pixels \(1 page\)"):
        read_annotation_values(path, 2)


def test_a_large_picture_that_holds_something_is_read(tmp_path):
    """64 million pixels are below the size from which on files are suspicious, though they are empty."""
    Image.fromarray(np.zeros((8000, 8000), bool)).save(tmp_path / "large.png")
    assert read_annotation_values(tmp_path / "large.png", 2)[0].shape == (8000, 8000)
