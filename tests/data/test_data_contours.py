"""Outlines are filled by their pixel centres, an odd number of times."""

import numpy as np
import pytest

from umanet.data.contours import fill_even_odd


def box(first, last):
    return np.array([(first, first), (last, first), (last, last), (first, last)], float)


def test_centres_on_an_outline_are_inside_at_the_left_and_top_only():
    mask = fill_even_odd([box(1, 3)], (5, 5))
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_neighbours_share_no_pixel_and_leave_none():
    left, right = np.array([(0, 0), (2, 0), (3, 4), (0, 4.0)]), np.array([(2, 0), (6, 0), (6, 4), (3, 4.0)])
    masks = [fill_even_odd([outline], (5, 7)).astype(int) for outline in (left, right)]
    assert sum(masks).max() == 1 and sum(masks)[:4, :6].all()


@pytest.mark.parametrize("turned", [1, -1])
def test_neither_direction_nor_rounding_matters(turned):
    rng = np.random.default_rng(0)
    outline = rng.uniform(0, 20, (15, 2)).round(2)[::turned]
    expected = fill_even_odd([outline], (20, 20))
    assert (fill_even_odd([outline + rng.uniform(-4e-5, 4e-5, outline.shape)], (20, 20)) == expected).all()


def test_a_circle_is_filled_as_by_another_program():
    from matplotlib.path import Path

    angle = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    circle = np.stack([10.3 + 7.1 * np.cos(angle), 9.7 + 6.3 * np.sin(angle)], 1)
    y, x = np.indices((20, 22))
    expected = Path(circle).contains_points(np.stack([x.ravel(), y.ravel()], 1)).reshape(20, 22)
    assert (fill_even_odd([circle], (20, 22)) == expected).all() and expected.sum() > 100
