"""Pictures show the slice where it happens, turned as viewers turn it, with outlines where the masks end."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from umanet.report.pictures import SIDE, cross, outline, picture
from umanet.report.view import find_view
from umanet.types import Geometry

SHAPE = (30, 40, 20)


def geometry(spacing=(1.0, 1.0, 1.0), affine=True, shape=SHAPE):
    return Geometry(
        shape, spacing, spacing_is_known=True, affine=np.diag([*spacing, 1.0]) if affine and len(shape) == 3 else None
    )


def volume(*voxels, shape=SHAPE):
    values = np.zeros(shape, bool)
    for voxel in voxels:
        values[voxel] = True
    return values


def view_of(matters, doubt=None, **options):
    doubt = np.zeros(matters.shape, np.float32) if doubt is None else doubt.astype(np.float32)
    return find_view(geometry(shape=matters.shape, **options), matters, doubt)


def points(path):
    """Corners of a relative path, absolute."""
    corners = []
    for part in re.findall(r"M([^l]+)l([^z]+)z", path):
        start, steps = (np.array(text.split(), float).reshape(-1, 2) for text in part)
        corners.append(np.concatenate([start, steps]).cumsum(axis=0))
    return np.concatenate(corners)


def test_the_slice_with_most_doubt_is_shown_not_the_middle_one():
    whole = np.ones(SHAPE, bool)
    view = view_of(whole, volume((3, 4, 17), (5, 6, 17), (3, 4, 10)))
    assert (view.axis, view.index, view.place) == (2, 17, "axial slice 18 of 20")
    assert view_of(volume((3, 4, 5))).index == 5


@pytest.mark.parametrize(
    ("spacing", "affine", "axis"),
    [((1.0, 1.0, 1.0), True, 2), ((1.0, 4.0, 1.0), True, 1), ((1.0, 1.0, 1.0), False, 0), ((1.0, 1.0, 3.0), False, 2)],
)
def test_volumes_are_shown_as_they_were_acquired(spacing, affine, axis):
    assert view_of(np.ones(SHAPE, bool), spacing=spacing, affine=affine).axis == axis


def test_the_right_side_of_the_patient_is_at_the_left_and_the_front_above():
    whole, marked = np.ones(SHAPE, bool), volume((29, 39, 7))
    shown = view_of(whole, marked).take(marked)
    assert shown.shape == (40, 30) and np.argwhere(shown).tolist() == [[0, 0]]
    top = volume((29, 7, 19))
    coronal = view_of(whole, top, spacing=(1.0, 4.0, 1.0)).take(top)
    assert np.argwhere(coronal).tolist() == [[0, 0]]


def test_pixels_are_as_high_as_they_are_in_the_patient():
    view = view_of(np.ones(SHAPE, bool), spacing=(1.0, 2.0, 1.0), affine=False)
    shown = picture(np.zeros((1, *SHAPE), np.float32), view, (), "nothing")
    assert view.axis == 1 and shown.width / shown.height == pytest.approx(20 / 30, abs=0.01)


def test_the_crop_holds_what_matters_and_some_room():
    small = np.zeros((200, 300), bool)
    small[50:60, 280:295] = True
    view = view_of(small, spacing=(1.0, 1.0))
    shown = view.take(small)
    assert shown.sum() == small.sum() and 60 <= min(shown.shape) == max(shown.shape) < 100
    assert view_of(np.zeros((20, 30), bool), spacing=(1.0, 1.0)).take(small[:20, :30]).shape == (20, 30)


@pytest.mark.parametrize("side", [16, 64, 2048])
def test_an_outline_lies_where_the_mask_ends(side):
    labels = np.zeros((side, side), np.uint8)
    labels[side // 4 : side // 2, side // 2 : 3 * side // 4] = 2
    found = points(outline(labels, SIDE, SIDE)) / (10 * SIDE)
    np.testing.assert_allclose(found.min(axis=0), [0.5, 0.25], atol=0.51 / min(side, SIDE))
    np.testing.assert_allclose(found.max(axis=0), [0.75, 0.5], atol=0.51 / min(side, SIDE))
    assert outline(np.zeros((side, side), np.uint8), SIDE, SIDE) == ""


def test_what_is_smaller_than_a_pixel_of_the_picture_has_an_outline():
    labels = np.zeros((2048, 2048), np.uint8)
    labels[1000:1003, 500:503] = 1
    middle = points(outline(labels, SIDE, SIDE)).mean(axis=0) / (10 * SIDE)
    np.testing.assert_allclose(middle, [501.5 / 2048, 1001.5 / 2048], atol=1 / SIDE)


def test_every_class_and_every_object_has_its_outline():
    labels = np.zeros((60, 60), np.uint8)
    labels[5:15, 5:15], labels[5:15, 30:40], labels[40:50, 5:15] = 1, 1, 2
    assert outline(labels, SIDE, SIDE).count("M") == 3
    assert outline(np.ones((60, 60), np.uint8), SIDE, SIDE).count("M") == 1


def test_a_picture_is_the_image_with_heat_where_it_is_hot():
    image = np.full((1, 50, 50), 0.5, np.float32)
    heat = np.zeros((50, 50), np.float32)
    heat[10:40, 10:40] = 1
    view = view_of(np.ones((50, 50), bool), spacing=(1.0, 1.0))
    shown = picture(image, view, (), "text", heat=heat)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.source.split(",")[1]))))
    assert pixels.shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(pixels[5, 5], 128, atol=6)
    assert pixels[128, 128, 0] > 200 and pixels[128, 128, 2] < 180


def test_a_cross_is_at_its_place():
    place = np.zeros((10, 20), bool)
    place[4, 15] = True
    assert cross(place, 200, 100).startswith(f"M{1550 - 70} 450h140")
    assert cross(np.zeros((10, 20), bool), 200, 100) == ""


def test_a_voxel_that_must_be_shown_decides_the_slice_and_what_it_does_not_show_is_said():
    whole, doubt = np.ones(SHAPE, bool), volume((3, 4, 17)).astype(np.float32)
    view = find_view(geometry(), whole, doubt, through=(1, 2, 5))
    assert view.index == 5 and find_view(geometry(), whole, doubt).index == 17
    assert view.elsewhere(volume((3, 4, 17), (0, 0, 19))) == "slices 18 to 20"
    assert view.elsewhere(volume((3, 4, 6))) == "slice 7"
    assert view.elsewhere(volume((3, 4, 5), (3, 4, 17))) == view.elsewhere(volume()) == ""
    flat = np.ones((8, 9), bool)
    assert view_of(flat, spacing=(1.0, 1.0)).elsewhere(flat) == ""
