import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from umanet.errors import AnnotationError
from umanet.metrics import auroc, average_precision, error_detection

RNG = np.random.default_rng(23)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(2, 40))
def test_auroc_with_ties_is_that_of_scikit_learn(data, size):
    positive = data.draw(hnp.arrays(bool, size))
    positive[:2] = [True, False]
    score = data.draw(hnp.arrays(np.float64, size, elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 7.0])))
    finite = np.nan_to_num(score, neginf=-9)
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, finite), abs=1e-12)
    assert auroc(-score, positive) == pytest.approx(1 - auroc(score, positive), abs=1e-12)


def test_auroc_counts_pairs_in_the_right_order():
    score, positive = np.array([[0.1, 0.4], [0.35, 0.4]]), np.array([[False, False], [True, True]])
    assert auroc(score, positive) == (1 + 0 + 1 + 0.5) / 4
    assert auroc(torch.from_numpy(score), torch.from_numpy(positive)) == (1 + 0 + 1 + 0.5) / 4


def test_auroc_of_one_kind_only_is_undefined():
    for positive in (True, False):
        assert np.isnan(auroc(np.arange(3.0), np.full(3, positive)))
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, bool)))


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 40))
def test_average_precision_with_ties_is_that_of_scikit_learn(data, size):
    positive = data.draw(hnp.arrays(bool, size))
    positive[0] = True
    score = data.draw(hnp.arrays(np.float64, size, elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 7.0])))
    order = data.draw(st.permutations(range(size)))
    found = average_precision(score, positive)
    assert found == pytest.approx(average_precision_score(positive, np.nan_to_num(score, neginf=-9)), abs=1e-12)
    assert found == average_precision(score[order], positive[order])
    assert 0 < found <= 1
    assert average_precision(positive, positive) == 1


def test_average_precision_of_a_worked_example():
    score, positive = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    # Recall 1/2 at precision 1; 1 at 2/3, the tie taken together.
    assert average_precision(torch.from_numpy(score), positive) == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_of_a_constant_is_the_share_of_positives_and_without_positives_undefined():
    assert average_precision(np.zeros(10), np.arange(10) < 3) == pytest.approx(0.3)
    for size in (0, 3):
        assert np.isnan(average_precision(np.arange(float(size)), np.zeros(size, bool)))


@pytest.mark.parametrize("shape", [(60,), (12, 5)])
def test_error_detection_is_that_of_scikit_learn_and_scipy(shape):
    true_dice = RNG.random(shape).round(1)
    quality = (true_dice + RNG.normal(scale=0.3, size=shape)).round(1)
    found = error_detection(quality, torch.from_numpy(true_dice))
    wrong = (true_dice < 0.6).ravel()
    assert found.auroc == pytest.approx(roc_auc_score(wrong, -quality.ravel()))
    assert found.average_precision == pytest.approx(average_precision_score(wrong, -quality.ravel()))
    assert found.spearman == pytest.approx(spearmanr(quality.ravel(), true_dice.ravel()).statistic)
    assert (found.positives, found.items) == (wrong.sum(), 60)


def test_an_annotation_at_the_threshold_is_not_wrong():
    assert error_detection(np.arange(3), np.array([0.6, 0.5, 0.7])).positives == 1
    assert error_detection(np.arange(3), np.array([0.6, 0.5, 0.7]), threshold=0.65).positives == 2


def test_integers_that_cannot_be_negative_rank_as_others():
    true_dice = np.array([0.1, 0.9, 0.2, 0.8])
    assert error_detection(np.array([0, 3, 1, 2], np.uint8), true_dice).auroc == 1.0


def test_error_detection_says_nothing_where_nothing_can_be_said():
    all_good = error_detection(np.array([0.5, 0.6]), np.array([0.9, 0.8]))
    assert np.isnan([all_good.auroc, all_good.average_precision]).all()
    assert all_good.spearman == pytest.approx(-1)
    assert all_good.positives == 0
    assert np.isnan(error_detection(np.full(3, 0.5), np.array([0.9, 0.8, 0.1])).spearman)
    nothing = error_detection(np.zeros(0), np.zeros(0))
    assert np.isnan([nothing.auroc, nothing.average_precision, nothing.spearman]).all()


@pytest.mark.parametrize("value", [np.nan, -0.1, 50.0])
def test_a_true_dice_outside_the_unit_interval_is_refused(value):
    with pytest.raises(AnnotationError, match=r"0 to 1 expected.*without a truth"):
        error_detection(np.zeros(2), np.array([0.5, value]))


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(AnnotationError, match="NaN found"):
        auroc(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(AnnotationError, match="NaN found"):
        error_detection(np.array([0.1, np.nan]), np.array([0.2, 0.3]))
