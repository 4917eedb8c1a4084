import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from umanet.errors import AnnotationError, ConfigError, ImageError
from umanet.metrics import (
    adaptive_calibration_error,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    neighbourhood,
    reliability_curve,
)

RNG = np.random.default_rng(5)
METRICS = (expected_calibration_error, adaptive_calibration_error, brier_score, negative_log_likelihood)


def plain_calibration_error(probability, target, bins):
    total = 0.0
    for b in range(bins):
        last = b == bins - 1
        inside = (probability >= b / bins) & ((probability < (b + 1) / bins) | last)
        if inside.any():
            total += inside.mean() * abs(probability[inside].mean() - target[inside].mean())
    return total


def plain_adaptive_error(probability, target, bins):
    """Every voxel in as many equal pieces as there are bins, so that every bin holds whole pieces."""
    p = probability.ravel()
    y = np.array([target.ravel()[p == value].mean() for value in p])
    pieces = np.sort(np.repeat(np.stack([p, y], axis=1), bins, axis=0).view("f8,f8"), axis=0, order=["f0"])
    gaps = pieces["f0"] - pieces["f1"]
    return np.abs(gaps.reshape(bins, -1).mean(axis=1)).mean()


@pytest.mark.parametrize("shape", [(30, 20), (6, 7, 8), (1,)])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_is_that_of_a_loop_over_bins(shape, bins):
    probability, target = RNG.random(shape), RNG.random(shape) < 0.3
    expected = plain_calibration_error(probability, target, bins)
    assert expected_calibration_error(probability, target, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_the_calibration_error_agrees_with_scikit_learns_curve():
    probability, target = RNG.random(5000), RNG.random(5000) < 0.4
    right, said = calibration_curve(target, probability, n_bins=15)
    share = np.histogram(probability, bins=15, range=(0, 1))[0] / 5000
    expected = (share * np.abs(right - said)).sum()
    assert expected_calibration_error(probability, target) == pytest.approx(expected)


def test_brier_is_that_of_scikit_learn():
    probability, target = RNG.random((20, 20)), RNG.random((20, 20)) < 0.4
    expected = brier_score_loss(target.ravel(), probability.ravel())
    assert brier_score(probability, target) == pytest.approx(expected)


def test_certain_and_right_is_zero_and_certain_and_wrong_is_one():
    target = RNG.random((9, 9)) < 0.5
    for metric in (expected_calibration_error, adaptive_calibration_error, brier_score):
        assert metric(target.astype(np.float32), target) == 0
    for metric in (expected_calibration_error, brier_score):
        assert metric(~target, target) == 1


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 5))
def test_single_annotations_add_their_disagreement_to_brier_and_nothing_to_the_calibration_error(data, number):
    annotations = data.draw(hnp.arrays(bool, (number, 3, 4)))
    probability = data.draw(hnp.arrays(np.float64, (3, 4), elements=st.floats(0, 1)))
    mean = annotations.mean(axis=0)
    disagreement = (mean * (1 - mean)).mean()
    assert brier_score(probability, annotations) == pytest.approx(brier_score(probability, mean) + disagreement)
    error = expected_calibration_error(probability, mean)
    assert expected_calibration_error(probability, annotations) == pytest.approx(error, abs=1e-12)
    assert 0 <= error <= 1 + 1e-12
    assert brier_score(mean, mean) == 0


@pytest.mark.parametrize("kind", [bool, float])
def test_brier_against_annotations_is_the_mean_of_brier_against_each(kind):
    probability, annotations = RNG.random((8, 9), np.float32), (RNG.random((5, 8, 9)) ** 3).round(2)
    annotations = annotations > 0.3 if kind is bool else annotations
    expected = np.mean([brier_score(probability, annotation) for annotation in annotations])
    assert brier_score(probability, annotations) == pytest.approx(expected)


def test_only_the_region_counts():
    probability, target = RNG.random((10, 10)), RNG.random((3, 10, 10)) < 0.5
    region = np.zeros((10, 10), bool)
    region[2:5, 3:9] = True
    for metric in METRICS:
        expected = metric(probability[2:5, 3:9], target[:, 2:5, 3:9])
        assert metric(probability, target, region=torch.from_numpy(region)) == pytest.approx(expected)
        assert metric(probability, target) != pytest.approx(expected)


def test_an_empty_region_is_undefined():
    nothing = np.zeros((4, 4), bool)
    for metric in METRICS:
        assert np.isnan(metric(nothing, nothing, region=nothing))
    curve = reliability_curve(nothing, nothing, region=nothing)
    assert curve.counts.sum() == 0
    assert np.isnan(curve.mean_probability).all()


def test_a_probability_on_an_edge_belongs_to_the_bin_above_and_one_to_the_last():
    # 0.5 and 1 share the upper of two bins: mean p 0.75, mean target 0.5.
    found = expected_calibration_error(np.array([0.5, 1.0]), np.array([True, False]), bins=2)
    assert found == pytest.approx(0.25)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bins", [3, 10, 15, 20])
def test_every_edge_as_its_type_writes_it_belongs_to_the_bin_above(bins, kind):
    edges = np.array([number / bins for number in range(bins + 1)], kind)
    counts = reliability_curve(edges, np.zeros(bins + 1, bool), bins=bins).counts
    assert counts.tolist() == [1] * (bins - 1) + [2]
    below = np.nextafter(edges[1:-1], kind(0))
    assert reliability_curve(below, np.zeros(bins - 1, bool), bins=bins).counts[:-1].tolist() == [1] * (bins - 1)


def test_the_curve_is_that_of_scikit_learn():
    probability, target = RNG.random((40, 50)), RNG.random((40, 50)) < 0.4
    right, said = calibration_curve(target.ravel(), probability.ravel(), n_bins=12)
    curve = reliability_curve(probability, target, bins=12)
    assert curve.mean_probability == pytest.approx(said)
    assert curve.mean_target == pytest.approx(right)
    assert curve.counts.tolist() == np.histogram(probability, bins=12, range=(0, 1))[0].tolist()
    assert curve.edges == pytest.approx(np.linspace(0, 1, 13))


def test_curves_of_cases_add_up_to_the_curve_of_all_their_voxels():
    cases = [(RNG.random(shape), RNG.random(shape) < 0.3) for shape in ((5, 6), (7, 3), (4, 4))]
    added = sum((reliability_curve(*case) for case in cases[1:]), reliability_curve(*cases[0]))
    together = [np.concatenate([case[i].ravel() for case in cases]) for i in (0, 1)]
    expected = reliability_curve(*together)
    assert added.counts.tolist() == expected.counts.tolist()
    assert added.sum_target == pytest.approx(expected.sum_target)
    assert added.expected_calibration_error == pytest.approx(expected_calibration_error(*together))
    with pytest.raises(ConfigError, match="15 and 10 bins found, the same bins expected"):
        added + reliability_curve(*together, bins=10)


@pytest.mark.parametrize("size", [1, 2, 14, 15, 16, 60])
@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_adaptive_error_is_that_of_voxels_cut_into_equal_pieces(size, bins):
    for probability in (RNG.random(size), np.round(RNG.random(size), 1), RNG.integers(0, 2, size).astype(float)):
        target = RNG.random(size) < 0.4
        expected = plain_adaptive_error(probability, target, bins)
        assert adaptive_calibration_error(probability, target, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_the_adaptive_error_without_ties_and_remainder_is_that_of_scikit_learns_quantiles():
    probability, target = RNG.random(3000), RNG.random(3000) < 0.4
    right, said = calibration_curve(target, probability, n_bins=15, strategy="quantile")
    assert adaptive_calibration_error(probability, target) == pytest.approx(np.abs(right - said).mean())


def test_the_adaptive_error_sees_what_few_voxels_in_wide_bins_hide():
    probability = np.concatenate([np.full(50, 0.01), np.full(50, 0.05)])
    target = np.arange(100) < 3  # 0.06 and 0 where 0.01 and 0.05 was said
    assert expected_calibration_error(probability, target, bins=10) == pytest.approx(0.0)
    assert adaptive_calibration_error(probability, target, bins=10) == pytest.approx(0.05)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(1, 20))
def test_calibration_is_bounded_and_blind_to_the_order_of_voxels_and_annotators(data, number, bins):
    annotations = data.draw(hnp.arrays(bool, (number, 9)))
    probability = data.draw(hnp.arrays(np.float32, 9, elements=st.sampled_from([0.0, 0.2, 0.25, 0.5, 1.0])))
    order, people = data.draw(st.permutations(range(9))), data.draw(st.permutations(range(number)))
    mean = annotations.mean(axis=0)
    shuffled = probability[order], annotations[people][:, order]
    for metric in (expected_calibration_error, adaptive_calibration_error):
        value = metric(probability, annotations, bins=bins)
        assert value == pytest.approx(metric(*shuffled, bins=bins), abs=1e-9)
        assert 0 <= value <= 1 + 1e-9
        assert metric(mean, mean, bins=bins) == pytest.approx(0, abs=1e-12)
    # Finer bins cannot hide more: all in one is the least that any binning finds.
    assert value >= abs(probability.mean(dtype=float) - annotations.mean()) - 1e-9
    assert negative_log_likelihood(*shuffled) == pytest.approx(negative_log_likelihood(probability, mean))
    assert negative_log_likelihood(mean, annotations) <= negative_log_likelihood(probability, annotations) + 1e-6


def test_the_log_likelihood_is_that_of_scikit_learn():
    probability, target = RNG.random((20, 20)), RNG.random((20, 20)) < 0.4
    expected = log_loss(target.ravel(), probability.ravel())
    assert negative_log_likelihood(probability, target) == pytest.approx(expected)


def test_certain_and_wrong_costs_what_the_clip_says():
    wrong, right = np.zeros(3, np.float32), np.ones(3, np.float32)
    target = np.ones(3, bool)
    assert negative_log_likelihood(wrong, target) == pytest.approx(-np.log(1e-7))
    assert negative_log_likelihood(wrong, target, clip=1e-3) == pytest.approx(-np.log(1e-3))
    assert negative_log_likelihood(right, target) == pytest.approx(1e-7)


def test_an_absent_annotator_changes_no_calibration():
    probability, annotations = RNG.random((6, 7)), RNG.random((4, 6, 7)) < 0.5
    present = np.array([True, False, True, True])
    for metric in METRICS:
        expected = metric(probability, annotations[present])
        assert metric(probability, torch.from_numpy(annotations), torch.from_numpy(present)) == expected
        assert metric(probability, annotations) != pytest.approx(expected)


def test_presence_that_does_not_fit_is_refused():
    probability, annotations = np.zeros(3), np.zeros((2, 3), bool)
    with pytest.raises(AnnotationError, match="beside a single target"):
        brier_score(probability, annotations[0], np.ones(2, bool))
    with pytest.raises(AnnotationError, match="No annotator is present"):
        brier_score(probability, annotations, np.zeros(2, bool))
    with pytest.raises(AnnotationError, match=r"present annotators of shape \(3,\) found, \(2,\) expected"):
        brier_score(probability, annotations, np.ones(3, bool))


def test_bins_and_clips_without_sense_are_refused():
    for metric in (expected_calibration_error, adaptive_calibration_error):
        with pytest.raises(ConfigError, match="0 bins found, 1 or more expected"):
            metric(np.zeros(2), np.zeros(2, bool), bins=0)
    for clip in (0.0, 0.5):
        with pytest.raises(ConfigError, match=r"between 0 and 0\.5 expected"):
            negative_log_likelihood(np.zeros(2), np.zeros(2, bool), clip=clip)


def test_a_negative_margin_is_refused():
    with pytest.raises(ConfigError, match="-1 voxels found, 0 or more expected"):
        neighbourhood(np.zeros((3, 3), bool), margin=-1)


def test_a_target_outside_the_unit_interval_is_refused():
    with pytest.raises(ImageError, match=r"\[0, 1\]"):
        brier_score(np.zeros(2), np.array([0, 255], np.uint8))


@pytest.mark.parametrize("shape", [(12, 13), (7, 8, 9)])
def test_the_neighbourhood_is_the_union_dilated_by_a_cube(shape):
    first, second = RNG.random(shape) < 0.01, RNG.random(shape) < 0.01
    first.flat[0] = True
    expected = ndimage.binary_dilation(first | second, np.ones((5,) * len(shape), bool))
    assert (neighbourhood(first, second, margin=2) == expected).all()
    assert not neighbourhood(np.zeros(shape, bool), margin=2).any()
