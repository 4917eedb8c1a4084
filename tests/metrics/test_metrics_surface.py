import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import TypeCheckError
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from scipy import ndimage
from scipy.spatial.distance import cdist

from umanet.errors import AnnotationError, ConfigError, ImageError
from umanet.metrics import assd_mm, hd95_mm, surface_dice, surface_distances

RNG = np.random.default_rng(17)
GRIDS = [
    ((30, 24), (0.7, 0.7)),
    ((25, 33), (2.0, 0.4)),
    ((12, 20, 16), (3.0, 0.8, 0.7)),
    ((1, 20, 18), (5.0, 1.0, 1.5)),
]
masks = hnp.arrays(bool, st.sampled_from([(4, 5), (3, 4, 3), (1, 1), (6,)]))


def blob(shape):
    noise = ndimage.gaussian_filter(RNG.random(shape), [min(2, size / 4) for size in shape])
    return noise > np.quantile(noise, RNG.uniform(0.6, 0.9))


def plain_distances(first, second, spacing):
    """Every border voxel to every other one."""
    points = []
    for mask in (first, second):
        at = np.argwhere(mask)
        inside = {tuple(voxel) for voxel in at}
        steps = np.concatenate([np.eye(mask.ndim, dtype=int), -np.eye(mask.ndim, dtype=int)])
        border = [voxel for voxel in at if any(tuple(voxel + step) not in inside for step in steps)]
        points.append(np.array(border).reshape(-1, mask.ndim) * spacing)
    table = cdist(*points)
    return table.min(axis=1), table.min(axis=0)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_distances_are_those_of_every_border_voxel_to_every_other(shape, spacing):
    for _ in range(3):
        first, second = blob(shape), blob(shape)
        expected = plain_distances(first, second, spacing)
        found = surface_distances(first, second, spacing)
        for a, b in zip((found.from_prediction, found.from_truth), expected, strict=True):
            assert np.sort(a) == pytest.approx(np.sort(b))
        assert hd95_mm(first, second, spacing) == pytest.approx(max(np.percentile(d, 95) for d in expected))
        together = np.concatenate(expected)
        assert assd_mm(first, second, spacing) == pytest.approx(together.mean())
        assert surface_dice(first, second, spacing, 1.3) == pytest.approx((together <= 1.3).mean())


@pytest.mark.parametrize(("shape", "spacing"), GRIDS[:3])
def test_surface_metrics_are_those_of_monai(shape, spacing):
    for tolerance in (0.0, 0.9, 2.5):
        first, second = blob(shape), blob(shape)
        pair = [torch.from_numpy(mask)[None, None].float() for mask in (first, second)]
        given_to_both = {"include_background": True, "spacing": spacing}
        expected = compute_hausdorff_distance(*pair, percentile=95, **given_to_both).item()
        assert hd95_mm(first, second, spacing) == pytest.approx(expected, rel=1e-5)
        expected = compute_average_surface_distance(*pair, symmetric=True, **given_to_both).item()
        assert assd_mm(first, second, spacing) == pytest.approx(expected, rel=1e-5)
        expected = compute_surface_dice(*pair, class_thresholds=[tolerance], **given_to_both).item()
        assert surface_dice(first, second, spacing, tolerance) == pytest.approx(expected)


def test_distances_are_those_of_a_distance_map_of_simpleitk():
    shape, spacing = GRIDS[2]
    first, second = blob(shape), blob(shape)
    surfaces = []
    for mask in (first, second):
        # LabelContour leaves out the edge of the image: one voxel of nothing around.
        image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        surfaces.append(sitk.LabelContour(image, fullyConnected=False))
    for contour, other, name in ((*surfaces, "from_prediction"), (*surfaces[::-1], "from_truth")):
        far = sitk.SignedMaurerDistanceMap(other, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
        expected = np.abs(sitk.GetArrayFromImage(far))[sitk.GetArrayFromImage(contour) == 1]
        found = getattr(surface_distances(first, second, spacing), name)
        assert np.sort(found) == pytest.approx(np.sort(expected), abs=1e-4)


def test_distances_between_two_squares_are_known():
    first, second = np.zeros((2, 20, 20), bool)
    first[2:7, 2:7] = True
    second[2:7, 5:10] = True
    # The far column of either, 5 of its 16 border voxels, lies three columns of 2 mm from the other square.
    assert hd95_mm(first, second, (1.0, 2.0)) == 6.0
    assert surface_dice(first, second, (1.0, 2.0), 6.0) == 1.0
    assert surface_dice(first, first, (1.0, 2.0), 0.0) == 1.0
    one, other = np.zeros((2, 9, 9), bool)
    one[0, 0] = other[3, 4] = True
    for metric in (hd95_mm, assd_mm):
        assert metric(one, other, (1.0, 1.0)) == 5.0
        assert metric(one, other, (2.0, 1.0)) == np.hypot(6, 4)


def test_the_larger_percentile_counts_and_not_that_of_all_distances():
    small, large = np.zeros((2, 60), bool)
    small[10], large[[10, 50]] = True, True
    for pair in ((small, large), (large, small)):
        assert hd95_mm(*pair, (1.0,)) == pytest.approx(0.95 * 40)
        assert assd_mm(*pair, (1.0,)) == pytest.approx(40 / 3)
        assert surface_dice(*pair, (1.0,), 1.0) == pytest.approx(2 / 3)


def test_the_edge_of_the_image_is_a_surface():
    everything, hole = np.ones((5, 5), bool), np.ones((5, 5), bool)
    hole[2, 2] = False
    found = surface_distances(everything, hole, (1.0, 1.0))
    assert len(found.from_prediction) == 16
    assert len(found.from_truth) == 16 + 4


def test_a_distance_equal_to_the_tolerance_is_near_whatever_its_float():
    one, other = np.zeros((2, 30), bool)
    one[0], other[3] = True, True
    assert 3 * 0.1 > 0.3
    assert surface_dice(one, other, (0.1,), 0.3) == 1.0
    assert surface_dice(one, other, (0.1,), 0.2999) == 0.0


@pytest.mark.parametrize("shape", [(6, 8), (2, 3, 6), (1,)])
def test_both_empty_is_perfect_and_a_missed_structure_is_not_lost(shape):
    spacing = (2.0, 0.5, 1.5)[: len(shape)]
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    diagonal = np.sqrt(sum((n * s) ** 2 for n, s in zip(shape, spacing, strict=True)))
    for metric in (hd95_mm, assd_mm):
        assert metric(empty, empty, spacing) == metric(empty, empty, spacing, missed="diagonal") == 0
        for pair in ((empty, full), (full, empty)):
            assert np.isnan(metric(*pair, spacing))
            assert metric(*pair, spacing, missed="diagonal") == pytest.approx(diagonal)
    assert surface_dice(empty, empty, spacing, 1.0) == 1.0
    assert surface_dice(empty, full, spacing, 1e9) == surface_dice(full, empty, spacing, 1e9) == 0.0


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_surface_metrics_are_symmetric_bounded_and_perfect_for_the_same_mask(data):
    first = data.draw(masks)
    second = data.draw(hnp.arrays(bool, first.shape))
    spacing = tuple(data.draw(st.floats(0.1, 9)) for _ in first.shape)
    tolerance = data.draw(st.floats(0, 9))
    distances = surface_distances(first, second, spacing)
    for metric in (hd95_mm, assd_mm):
        value = metric(first, second, spacing, missed="diagonal")
        assert value == pytest.approx(metric(second, first, spacing, missed="diagonal"))
        assert 0 <= value <= distances.diagonal_mm * (1 + 1e-12)
        assert metric(first, first, spacing) == 0
        assert np.isnan(metric(first, second, spacing)) == distances.one_empty
    near = surface_dice(first, second, spacing, tolerance)
    assert near == surface_dice(second, first, spacing, tolerance)
    assert 0 <= near <= surface_dice(first, second, spacing, tolerance + 1) <= 1
    assert surface_dice(first, first, spacing, 0.0) == 1


def test_a_structure_moved_or_in_a_larger_image_is_as_far():
    first, second = blob((12, 10, 8)), blob((12, 10, 8))
    moved = [np.pad(mask, ((5, 2), (0, 7), (3, 3))) for mask in (first, second)]
    spacing = (2.0, 0.8, 0.7)
    assert hd95_mm(*moved, spacing) == pytest.approx(hd95_mm(first, second, spacing))
    assert assd_mm(*moved, spacing) == pytest.approx(assd_mm(first, second, spacing))
    scaled = tuple(3 * size for size in spacing)
    assert assd_mm(first, second, scaled) == pytest.approx(3 * assd_mm(first, second, spacing))


def test_tensors_give_the_same_surface_metrics_as_arrays():
    first, second = blob((9, 8)), blob((9, 8))
    tensors = torch.from_numpy(first), torch.from_numpy(second)
    assert hd95_mm(*tensors, (1.0, 2.0)) == hd95_mm(first, second, (1.0, 2.0))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0), (np.inf, 1.0)])
def test_a_spacing_that_does_not_fit_is_refused(spacing):
    mask = np.ones((3, 3), bool)
    with pytest.raises(ImageError, match=r"spacing of .* found, 2 positive sizes in mm expected.*array order"):
        hd95_mm(mask, mask, spacing)


@pytest.mark.parametrize("tolerance", [-0.1, np.nan])
def test_a_negative_tolerance_is_refused(tolerance):
    mask = np.ones((3, 3), bool)
    with pytest.raises(ConfigError, match="0 or more expected"):
        surface_dice(mask, mask, (1.0, 1.0), float(tolerance))


def test_masks_of_two_shapes_have_no_distance():
    with pytest.raises((AnnotationError, TypeCheckError)):
        surface_distances(np.ones((4, 4), bool), np.ones((4, 1), bool), (1.0, 1.0))
