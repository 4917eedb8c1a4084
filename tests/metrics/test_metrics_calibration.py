import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from umanet.errors import ImageError
from umanet.metrics import brier_score, expected_calibration_error
from umanet.metrics.calibration import neighbourhood

RNG = np.random.default_rng(5)


def plain_calibration_error(probability, target, bins):
    total = 0.0
    for b in range(bins):
        last = b == bins - 1
        inside = (probability >= b / bins) & ((probability < (b + 1) / bins) | last)
        if inside.any():
            total += inside.mean() * abs(probability[inside].mean() - target[inside].mean())
    return total


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
    for metric in (expected_calibration_error, brier_score):
        assert metric(target.astype(np.float32), target) == 0
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


def test_only_the_region_counts():
    probability, target = RNG.random((10, 10)), RNG.random((3, 10, 10)) < 0.5
    region = np.zeros((10, 10), bool)
    region[2:5, 3:9] = True
    for metric in (expected_calibration_error, brier_score):
        expected = metric(probability[2:5, 3:9], target[:, 2:5, 3:9])
        assert metric(probability, target, region=torch.from_numpy(region)) == pytest.approx(expected)
        assert metric(probability, target) != pytest.approx(expected)


def test_an_empty_region_is_undefined():
    nothing = np.zeros((4, 4), bool)
    assert np.isnan(brier_score(nothing, nothing, region=nothing))
    assert np.isnan(expected_calibration_error(nothing, nothing, region=nothing))


def test_a_probability_on_an_edge_belongs_to_the_bin_above_and_one_to_the_last():
    # 0.5 and 1 share the upper of two bins: mean p 0.75, mean target 0.5.
    found = expected_calibration_error(np.array([0.5, 1.0]), np.array([True, False]), bins=2)
    assert found == pytest.approx(0.25)


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
