import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import pearsonr

from umanet.errors import AnnotationError, ImageError
from umanet.metrics import area_under_risk_coverage, normalised_cross_correlation, risk_coverage

RNG = np.random.default_rng(29)


@pytest.mark.parametrize("shape", [(15, 12), (6, 7, 5)])
@pytest.mark.parametrize("number", [2, 3, 7])
def test_the_correlation_is_that_of_scipy_with_the_variance_of_the_annotations(shape, number):
    annotations = RNG.random((number, *shape)) < RNG.random(shape)
    variance = annotations.var(axis=0)
    uncertainty = variance + RNG.normal(scale=0.1, size=shape)
    expected = pearsonr(uncertainty.ravel(), variance.ravel()).statistic
    assert normalised_cross_correlation(uncertainty, annotations) == pytest.approx(expected)
    assert normalised_cross_correlation(uncertainty, variance) == pytest.approx(expected)
    tensors = torch.from_numpy(uncertainty), torch.from_numpy(annotations)
    assert normalised_cross_correlation(*tensors) == pytest.approx(expected)


def test_absent_annotators_and_voxels_outside_the_region_do_not_count():
    annotations, uncertainty = RNG.random((4, 10, 9)) < 0.5, RNG.random((10, 9))
    present = np.array([True, False, True, True])
    region = np.zeros((10, 9), bool)
    region[2:7, 1:8] = True
    expected = normalised_cross_correlation(uncertainty[2:7, 1:8], annotations[present][:, 2:7, 1:8])
    found = normalised_cross_correlation(uncertainty, annotations, present, region=region)
    assert found == pytest.approx(expected)
    assert found != pytest.approx(normalised_cross_correlation(uncertainty, annotations, region=region))
    assert found != pytest.approx(normalised_cross_correlation(uncertainty, annotations, present))


def test_what_is_constant_correlates_with_nothing():
    annotations, uncertainty = RNG.random((3, 5, 5)) < 0.5, RNG.random((5, 5))
    assert np.isnan(normalised_cross_correlation(np.full((5, 5), 0.1), annotations))
    assert np.isnan(normalised_cross_correlation(uncertainty, annotations[:1]))
    assert np.isnan(normalised_cross_correlation(uncertainty, np.zeros((3, 5, 5), bool)))
    assert np.isnan(normalised_cross_correlation(uncertainty[:1, :1], annotations[:, :1, :1]))
    assert np.isnan(normalised_cross_correlation(uncertainty, annotations, region=np.zeros((5, 5), bool)))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 6), st.sampled_from([1.0, 1e-200, 1e100]))
def test_the_correlation_is_bounded_blind_to_the_unit_and_to_the_order_of_annotators(data, number, unit):
    annotations = data.draw(hnp.arrays(bool, (number, 3, 4)))
    uncertainty = data.draw(hnp.arrays(np.float64, (3, 4), elements=st.sampled_from([0.0, 0.1, 0.5, 3.0])))
    order = data.draw(st.permutations(range(number)))
    value = normalised_cross_correlation(uncertainty, annotations)
    assert np.isnan(value) or -1 <= value <= 1
    same = normalised_cross_correlation(unit * uncertainty, annotations[order])
    assert same == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert normalised_cross_correlation(-uncertainty, annotations) == pytest.approx(-value, nan_ok=True)
    perfect = normalised_cross_correlation(unit * annotations.var(axis=0), annotations)
    assert np.isnan(perfect) or perfect == pytest.approx(1)


def test_input_that_does_not_fit_is_refused():
    annotations, uncertainty = np.ones((2, 3, 3), bool), np.ones((3, 3))
    for bad in (np.nan, np.inf):
        with pytest.raises(ImageError, match="NaN or infinity found in an uncertainty"):
            normalised_cross_correlation(np.full((3, 3), bad), annotations)
    with pytest.raises(AnnotationError, match="beside a variance"):
        normalised_cross_correlation(uncertainty, uncertainty, np.ones(2, bool))
    with pytest.raises(AnnotationError, match=r"variance of annotations of shape \(3, 1\) found"):
        normalised_cross_correlation(uncertainty, uncertainty[:, :1])
    with pytest.raises(AnnotationError, match="No annotator is present"):
        normalised_cross_correlation(uncertainty, annotations, np.zeros(2, bool))


def plain_risks(uncertainty, error):
    """Mean over all orders of the cases that respect the uncertainty."""
    orders = [
        order
        for order in itertools.permutations(range(len(error)))
        if (np.diff(np.array(uncertainty)[list(order)]) >= 0).all()
    ]
    kept = np.arange(1, len(error) + 1)
    return np.mean([np.cumsum(np.array(error)[list(order)]) / kept for order in orders], axis=0)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 5))
def test_the_risk_is_the_mean_over_all_orders_of_cases_that_tie(data, size):
    uncertainty = data.draw(hnp.arrays(np.float64, size, elements=st.sampled_from([0.0, 0.5, 1.0, np.inf])))
    error = data.draw(hnp.arrays(np.float64, size, elements=st.floats(0, 1)))
    expected = plain_risks(np.nan_to_num(uncertainty, posinf=9), error)
    coverage, risk = risk_coverage(uncertainty, error)
    assert coverage == pytest.approx(np.arange(1, size + 1) / size)
    assert risk == pytest.approx(expected, abs=1e-12)
    area = area_under_risk_coverage(uncertainty, error)
    assert area == pytest.approx(expected.mean())
    best, worst = (area_under_risk_coverage(sign * error, error) for sign in (1, -1))
    assert best - 1e-12 <= area <= worst + 1e-12
    order = data.draw(st.permutations(range(size)))
    assert area_under_risk_coverage(uncertainty[order], error[order]) == pytest.approx(area, abs=1e-12)
    excess = area_under_risk_coverage(uncertainty, error, excess=True)
    assert excess == pytest.approx(area - min(plain_risks(error, error).mean(), area), abs=1e-12)


def test_risk_and_coverage_of_a_worked_example():
    wrong = torch.tensor([False, True, False, True])
    coverage, risk = risk_coverage(torch.tensor([0.1, 0.9, 0.2, 0.3]), wrong)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 0, 1 / 3, 2 / 4])
    found = area_under_risk_coverage(np.array([0.9, 0.1, 0.2, 0.3]), wrong)
    assert found == pytest.approx((1 + 1 / 2 + 2 / 3 + 2 / 4) / 4)
    assert area_under_risk_coverage(np.array([0.1, 0.9, 0.2, 0.3]), wrong, excess=True) == 0


def test_an_uncertainty_that_never_changes_has_the_mean_error_as_its_risk():
    error = RNG.random(7)
    assert risk_coverage(np.ones(7), error)[1] == pytest.approx(np.full(7, error.mean()))


def test_no_case_has_no_curve():
    assert risk_coverage(np.zeros(0), np.zeros(0))[0].size == 0
    assert np.isnan(area_under_risk_coverage(np.zeros(0), np.zeros(0), excess=True))


@pytest.mark.parametrize(("uncertainty", "error"), [(np.nan, 0.5), (0.5, np.nan), (0.5, np.inf)])
def test_cases_without_a_number_are_refused(uncertainty, error):
    with pytest.raises(AnnotationError, match="Leave such cases out"):
        risk_coverage(np.array([0.1, uncertainty]), np.array([0.1, error]))


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_what_is_not_one_number_per_case_has_no_risk(shape):
    with pytest.raises(AnnotationError, match="one number per case expected"):
        risk_coverage(np.zeros(shape), np.zeros(shape))
