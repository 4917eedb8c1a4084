"""Shapes whose fault is known are said to have it."""

import numpy as np
import pytest

from fake_data.arrays import ball
from umanet.report.reasons import find_reasons

TWO = ("background", "lung")
THREE = ("background", "anterior", "posterior")
SHAPES = {2: (64, 96), 3: (32, 48, 24)}


def discs(shape, *centres, radius, label=1):
    """Labels with a disc or ball at each centre, given as shares of the sides."""
    labels = np.zeros(shape, np.uint8)
    for centre in centres:
        labels[ball(shape, tuple(s * c for s, c in zip(shape, centre, strict=True)), radius).numpy()] = label
    return labels


def kinds(drawn, agreed, classes=TWO, spacing=None):
    return [reason.kind for reason in find_reasons(drawn, agreed, classes, spacing or (1.0,) * drawn.ndim)]


def text(drawn, agreed, classes=TWO, **options):
    options = {"spacing": (1.0,) * drawn.ndim} | options
    return find_reasons(drawn, agreed, classes, **options)[0].text


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def shape(request):
    return SHAPES[request.param]


@pytest.fixture
def left(shape):
    return (0.5, 0.25, 0.5)[: len(shape)]


@pytest.fixture
def right(shape):
    return (0.5, 0.75, 0.5)[: len(shape)]


def test_one_fault_has_one_reason(shape, left, right):
    pair, one = discs(shape, left, right, radius=7), discs(shape, left, radius=7)
    assert kinds(np.zeros(shape, np.uint8), pair) == ["empty"]
    assert kinds(one, pair) == ["missed object"]
    assert kinds(pair, one) == ["extra object"]
    assert kinds(discs(shape, left, right, radius=9), pair) == ["over-segmentation"]
    assert kinds(discs(shape, left, right, radius=5), pair) == ["under-segmentation"]
    assert kinds(np.roll(pair, 3, axis=1), pair) == ["shift"]
    assert kinds(pair, pair) == ["as the consensus"]


def test_a_border_that_wavers_to_both_sides_only_differs(shape, left):
    agreed = discs(shape, left, radius=8)
    # Too small in two opposite quarters, too large in the others: neither larger nor elsewhere.
    rows, columns = (axis - side * share for axis, side, share in zip(np.indices(shape), shape, left[:2], strict=False))
    quarters = rows * columns > 0
    drawn = np.where(quarters, discs(shape, left, radius=7), discs(shape, left, radius=9)).astype(agreed.dtype)
    assert kinds(drawn, agreed) == ["border differs"]
    # A voxel here and there is no more than how a border is cut into voxels.
    nearly = agreed.copy()
    nearly[tuple(np.argwhere(agreed)[0])] = 0
    assert kinds(nearly, agreed) == ["as the consensus"]


def test_a_speck_has_a_share_that_is_not_nothing():
    agreed, speck = np.ones((70, 70), np.uint8), np.zeros((70, 70), np.uint8)
    speck[30:34, 30:34] = 1
    assert text(speck, agreed).startswith("0.003 times the area")
    speck[30:34, 31:34] = speck[31:34] = 0
    assert text(speck, agreed).startswith("less than 0.001 times the area")


def test_several_faults_come_gravest_first(shape, left, right):
    agreed = discs(shape, left, right, radius=7)
    assert kinds(discs(shape, left, radius=9), agreed) == ["over-segmentation", "missed object"]
    assert kinds(np.roll(discs(shape, left, radius=7), 2, axis=1), agreed) == ["missed object", "shift"]
    larger = np.roll(discs(shape, left, right, radius=8), 4, axis=1)
    assert set(kinds(larger, agreed)) == {"shift", "over-segmentation"}


def test_a_shift_over_the_edge_of_the_image_is_a_shift():
    agreed = discs((64, 96), (0.5, 0.25), (0.5, 0.75), radius=15)
    drawn = np.zeros_like(agreed)
    drawn[20:] = agreed[:-20]
    assert kinds(drawn, agreed)[0] == "shift"


def test_a_small_drawing_off_the_centre_of_a_large_one_is_no_shift(shape, left):
    agreed = discs(shape, left, radius=9)
    inside = np.roll(discs(shape, left, radius=3), 4, axis=1)
    assert kinds(inside, agreed) == ["under-segmentation"]


def test_sizes_and_distances_are_in_millimetres_where_the_spacing_is_known():
    agreed = discs((64, 96), (0.5, 0.5), radius=10)
    moved = np.roll(agreed, 4, axis=1)
    assert text(moved, agreed, spacing=(1.0, 0.5)).startswith("all of it lies 2 mm off")
    assert text(moved, agreed, spacing_is_known=False).startswith("all of it lies 4 px off")
    assert text(np.zeros_like(agreed), agreed, spacing=(0.5, 0.5)) == (
        f"nothing was drawn; the consensus has {agreed.sum() / 4:.4g} mm²"
    )
    larger = discs((64, 96), (0.5, 0.5), radius=13)
    ratio = larger.sum() / agreed.sum()
    assert text(larger, agreed) == f"{ratio:.2f} times the area of the consensus, border 2.9 mm outside on average"


def test_what_is_missed_is_counted():
    agreed = discs((64, 96), (0.5, 0.2), (0.5, 0.5), (0.5, 0.8), radius=7)
    drawn = discs((64, 96), (0.5, 0.5), radius=7)
    assert text(drawn, agreed).startswith("2 of 3 objects of the consensus")
    assert text(np.roll(drawn, 25, axis=0), agreed).startswith("all 3 objects of the consensus")
    assert text(drawn, drawn * 0).startswith("an object of")
    far = discs((64, 96), (0.2, 0.1), radius=4)
    assert {r.kind for r in find_reasons(far, drawn, TWO, (1.0, 1.0))} == {"missed object", "extra object"}


def test_specks_are_no_objects():
    agreed = discs((64, 96), (0.5, 0.5), radius=12)
    drawn = agreed.copy()
    drawn[2, 2] = 1
    assert kinds(drawn, agreed) == ["as the consensus"]


def test_classes_are_named_and_exchanged_ones_are_found():
    agreed = discs((64, 96), (0.5, 0.25), radius=8) + discs((64, 96), (0.5, 0.75), radius=8, label=2)
    drawn = np.where(agreed == 2, 1, 2 * agreed).astype(np.uint8)
    found = find_reasons(drawn, agreed, THREE, (1.0, 1.0))
    assert [reason.kind for reason in found] == ["other class", "other class"]
    assert {reason.text.split(":")[0] for reason in found} == {"anterior", "posterior"}
    assert found[0].text.endswith("drawn as posterior") or found[0].text.endswith("drawn as anterior")
    only = find_reasons(np.where(agreed == 2, 0, agreed).astype(np.uint8), agreed, THREE, (1.0, 1.0))
    assert [(r.kind, r.text.split(":")[0]) for r in only] == [("missed object", "posterior")]


def test_an_empty_annotation_of_nothing_is_said_to_be_that():
    nothing = np.zeros((8, 8), np.uint8)
    assert text(nothing, nothing) == "nothing was drawn; the consensus is empty as well"


def test_a_volume_that_is_all_one_class_has_reasons():
    full = np.ones((6, 6, 6), np.uint8)
    assert kinds(full, np.zeros_like(full)) == ["extra object"]
    assert kinds(full, full) == ["as the consensus"]
