import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from umanet.errors import AnnotationError
from umanet.metrics import auroc


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


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(AnnotationError, match="NaN found"):
        auroc(np.array([0.1, np.nan]), np.array([True, False]))
