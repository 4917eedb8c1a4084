"""Every algorithm finds a bright structure, in 2D and 3D, and draws the same twice."""

import numpy as np
import pytest

from umanet.algorithms.annotate import Drawing, masks
from umanet.algorithms.draw import ALGORITHMS, draw
from umanet.types import Geometry


def scene(dims: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball in noise, and where it is."""
    shape = (40, 44) if dims == 2 else (24, 26, 22)
    centre = np.reshape(shape, (-1, *dims * [1])) / 2
    truth = np.sqrt(((np.indices(shape) - centre) ** 2).sum(0)) < 7
    image = np.random.default_rng(0).normal(100, 6, shape) + 80 * truth
    return image.astype(np.float32), truth


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_bright_ball_is_found_and_found_again(name, dims):
    image, truth = scene(dims)
    everywhere = np.ones(image.shape, bool)
    first = draw(name, image, everywhere)
    # Thresholds that are made for other histograms take some of the noise along.
    assert dice(first, truth) > (0.2 if name in ("triangle", "kmeans", "multi-otsu", "yen") else 0.95), dice(
        first, truth
    )
    assert np.array_equal(first, draw(name, image, everywhere))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_image_of_one_value_holds_nothing(name):
    assert not draw(name, np.full((16, 16), 7, np.float32), np.ones((16, 16), bool)).any()


def test_dark_structures_are_found_where_they_are_asked_for():
    image, truth = scene(2)
    drawn = masks(-image, Geometry(image.shape, (1.0, 1.0)), ["otsu"], Drawing(dark=True))["otsu"]
    assert dice(drawn, truth) > 0.95


def test_parts_are_kept_by_size_or_place():
    image = np.zeros((60, 60), np.float32)
    image[2:16, 2:16] = 100  # the largest, in a corner
    image[28:33, 28:33] = 100
    found = {
        keep: masks(image, Geometry(image.shape, (1.0, 1.0)), ["otsu"], Drawing(keep=keep))["otsu"]
        for keep in ("all", "largest", "central")
    }
    assert found["all"].sum() == 14 * 14 + 25
    assert found["largest"].sum() == 14 * 14 and found["largest"][5, 5]
    assert found["central"].sum() == 25 and found["central"][30, 30]


def test_smoothing_is_in_millimetres():
    image, truth = scene(2)
    noisy = image + np.random.default_rng(1).normal(0, 60, image.shape).astype(np.float32)
    fine, coarse = (
        masks(noisy, Geometry(image.shape, spacing, spacing_is_known=True), ["otsu"], Drawing(smooth=2.0))["otsu"]
        for spacing in ((1.0, 1.0), (100.0, 100.0))
    )
    assert dice(fine, truth) > 0.8 > dice(coarse, truth)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 2.0)])
def test_within_is_a_box_in_millimetres_around_the_centre(spacing):
    image = np.zeros((60, 61), np.float32)
    image[:, :20] = 300  # brighter than what is looked for, and elsewhere
    image[26:34, 27:34] = 100
    box = Drawing(within=20 * spacing[0])
    drawn = masks(image, Geometry(image.shape, spacing), ["otsu"], box)["otsu"]
    assert np.array_equal(drawn, image == 100)
    assert not np.array_equal(masks(image, Geometry(image.shape, spacing), ["otsu"], Drawing())["otsu"], image == 100)


def test_a_box_wider_than_the_image_is_the_image():
    image, _ = scene(3)
    geometry = Geometry(image.shape, (1.0, 1.0, 1.0))
    wide, whole = (masks(image, geometry, ["otsu"], Drawing(within=side))["otsu"] for side in (999.0, None))
    assert np.array_equal(wide, whole)
