"""Outlines to masks."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float64

DECIMALS = 4
"""Of a pixel, to which outlines are rounded: millimetres turned into pixels miss whole numbers by less."""


def fill_even_odd(
    outlines: Iterable[Float64[np.ndarray, "points 2"]], shape: tuple[int, int]
) -> Bool[np.ndarray, "rows columns"]:
    """The pixels whose centre lies inside an odd number of closed outlines: an outline inside another is a hole.

    A keyhole, one outline that runs to a hole and back along the same line, makes a hole too. A centre on an outline
    is inside at the left and at the top, outside at the right and at the bottom, so that regions with a common border
    share no pixel.

    Args:
        outlines: Corners (x, y) in pixels; the centre of the first pixel is (0, 0). The last corner joins the first.
        shape: Rows and columns.
    """
    rows, columns = shape
    # Every edge toggles the row's pixels from where it is crossed; an odd number of toggles on the left means inside.
    toggles = np.zeros((rows, columns + 1), np.int64)
    for outline in outlines:
        corners = np.round(outline, DECIMALS)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            first, last = np.clip(np.ceil([min(y0, y1), max(y0, y1)]).astype(int), 0, rows)
            crossed = np.arange(first, last)
            if len(crossed):
                x = np.round(x0 + (crossed - y0) * (x1 - x0) / (y1 - y0), DECIMALS)
                toggles[crossed, np.clip(np.ceil(x).astype(int), 0, columns)] += 1
    return (np.cumsum(toggles, axis=1) % 2 == 1)[:, :columns]
