import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import mode
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from umanet.errors import AnnotationError
from umanet.metrics import (
    against_others,
    agreement_counts,
    alpha_of_counts,
    confusion_with_others,
    dice,
    fleiss_kappa,
    kappa_of_counts,
    krippendorff_alpha,
    mean_over_pairs,
    pairwise_dice,
    scores_of_confusion,
)
from umanet.metrics.overlap import BLOCK

RNG = np.random.default_rng(13)
SHAPES = [(6, 7), (3, 4, 5)]
STATISTICS = (fleiss_kappa, krippendorff_alpha)


def alike(number, shape, classes):
    """Labels of annotators who agree on two voxels in three."""
    truth = RNG.integers(0, classes, shape)
    return np.where(RNG.random((number, *shape)) < 0.67, truth, RNG.integers(0, classes, (number, *shape)))


def plain_kappa(units, classes):
    """Fleiss' formulas on his table: a row per unit, a column per class."""
    table = np.array([[unit.count(k) for k in range(classes)] for unit in units])
    raters = table.sum(axis=1)[0]
    agree = np.mean([(np.sum(row**2) - raters) / (raters * (raters - 1)) for row in table])
    chance = np.sum((table.sum(axis=0) / table.sum()) ** 2)
    return (agree - chance) / (1 - chance)


def plain_alpha(units, classes):
    """Krippendorff's formulas on his coincidence matrix, filled pair by pair; units may differ in length."""
    coincidences = np.zeros((classes, classes))
    for unit in units:
        for first, second in itertools.permutations(range(len(unit)), 2):
            coincidences[unit[first], unit[second]] += 1 / (len(unit) - 1)
    values, total = coincidences.sum(axis=1), coincidences.sum()
    observed = total - np.trace(coincidences)
    expected = (total**2 - np.sum(values**2)) / (total - 1)
    return 1 - observed / expected


def units_of(annotations):
    return annotations.reshape(len(annotations), -1).T.tolist()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("number", range(2, 8))
def test_kappa_and_alpha_are_those_of_the_textbook(number, classes, shape):
    annotations = alike(number, shape, classes)
    for present in (None, np.ones(number, bool)):
        assert fleiss_kappa(annotations, present, classes) == pytest.approx(plain_kappa(units_of(annotations), classes))
        expected = plain_alpha(units_of(annotations), classes)
        assert krippendorff_alpha(annotations, present, classes) == pytest.approx(expected)


def test_kappa_of_the_worked_example_of_fourteen_annotators():
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
             [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    annotations = np.array([np.repeat(range(5), row) for row in table]).T
    assert fleiss_kappa(annotations, None, 5) == pytest.approx(0.210, abs=5e-4)


def test_alpha_of_krippendorffs_example_with_absent_annotators():
    # Four annotators, twelve units, -1 where absent: every unit is a case of one voxel.
    said = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3],
        [-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1],
    ])  # fmt: skip
    counts = sum(agreement_counts(unit[:, None], unit >= 0, 6) for unit in said.T)
    assert alpha_of_counts(counts) == pytest.approx(0.743, abs=5e-4)
    units = [[label for label in unit if label >= 0] for unit in said.T.tolist()]
    assert alpha_of_counts(counts) == pytest.approx(plain_alpha(units, 6))
    with pytest.raises(AnnotationError, match=r"Voxels with 2, 3, 4 annotators found.*Use Krippendorff's alpha"):
        kappa_of_counts(counts)


def test_counts_of_two_cases_are_those_of_their_voxels_together():
    annotations = alike(3, (2, 5, 8), 3)
    counts = sum(agreement_counts(annotations[:, case], None, 3) for case in (0, 1))
    assert kappa_of_counts(counts) == pytest.approx(fleiss_kappa(annotations, None, 3))
    assert alpha_of_counts(counts) == pytest.approx(krippendorff_alpha(annotations, None, 3))
    confusion = sum(confusion_with_others(annotations[:, case], None, 3) for case in (0, 1))
    assert (confusion == confusion_with_others(annotations, None, 3)).all()


def test_counts_are_those_of_a_loop_over_pairs_of_annotators():
    annotations = alike(4, (BLOCK + 9,), 3)
    annotations[3] = 255
    expected = np.zeros((5, 3, 3), int)
    for first, second in itertools.permutations(range(3), 2):
        expected[3] += confusion_matrix(annotations[first], annotations[second], labels=range(3))
    present = np.array([True, True, True, False])
    assert (agreement_counts(annotations.astype(np.uint8), present, 3) == expected).all()


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(2, 5), st.integers(2, 4))
def test_kappa_and_alpha_are_bounded_and_blind_to_order_and_to_names_of_classes(data, number, classes):
    annotations = data.draw(hnp.arrays(np.int64, (number, 3, 3), elements=st.integers(0, classes - 1)))
    order = list(data.draw(st.permutations(range(number))))
    renamed = np.array(data.draw(st.permutations(range(classes))))[annotations]
    for statistic in STATISTICS:
        value = statistic(annotations, None, classes)
        assert np.isnan(value) == (len(np.unique(annotations)) == 1)
        for other in (annotations[order], renamed):
            assert statistic(other, None, classes) == pytest.approx(value, nan_ok=True)
        if not np.isnan(value):
            assert -1 <= value <= 1 + 1e-12
            assert (value == 1) == (annotations == annotations[0]).all()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_agreement_is_undefined_with_one_annotator_one_class_or_no_voxel(statistic):
    annotations = alike(3, (4, 4), 2)
    alone, nowhere = np.array([False, True, False]), np.zeros((4, 4), bool)
    assert np.isnan(statistic(annotations, alone, 2))
    assert np.isnan(statistic(np.ones_like(annotations), None, 2))
    assert np.isnan(statistic(annotations, None, 2, region=nowhere))


def test_two_annotators_and_one_voxel_on_which_they_differ():
    annotations = np.array([[0], [1]])
    assert fleiss_kappa(annotations, None, 2) == -1
    assert krippendorff_alpha(annotations, None, 2) == 0


@pytest.mark.parametrize("statistic", [*STATISTICS, confusion_with_others])
def test_only_the_region_and_the_annotators_present_count(statistic):
    annotations = alike(4, (8, 8), 3)
    region, present = np.zeros((8, 8), bool), np.array([True, True, False, True])
    region[2:5, 1:7] = True
    inside = annotations[:, 2:5, 1:7].copy()
    annotations[2] = 99  # of an absent annotator: nobody looks
    inputs = [torch.from_numpy(x) for x in (annotations, present, region)]
    found = statistic(inputs[0], inputs[1], 3, region=inputs[2])
    expected = statistic(inside, present, 3)
    assert np.array_equal(found, expected)
    assert not np.array_equal(expected, statistic(inside, None, 3))


def plain_consensus(others):
    return mode(others, axis=0).mode  # of several, the lowest


@pytest.mark.parametrize("shape", [*SHAPES, (1,), (BLOCK + 9,)])
@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
def test_the_confusion_with_the_others_is_that_of_their_majority(number, shape):
    annotations = alike(number, shape, 3)
    found = confusion_with_others(annotations, None, 3)
    for r in range(number):
        consensus = plain_consensus(np.delete(annotations, r, axis=0))
        assert (found[r] == confusion_matrix(consensus.ravel(), annotations[r].ravel(), labels=range(3))).all()


@pytest.mark.parametrize("number", [3, 4])
def test_scores_against_others_are_those_of_scikit_learn(number):
    annotations = alike(number, (10, 11), 3)
    found = against_others(annotations, None, 3)
    for r, k in itertools.product(range(number), range(3)):
        consensus = plain_consensus(np.delete(annotations, r, axis=0)).ravel() == k
        own = annotations[r].ravel() == k
        assert found.dice[r, k] == pytest.approx(f1_score(consensus, own))
        assert found.sensitivity[r, k] == pytest.approx(recall_score(consensus, own))
        assert found.specificity[r, k] == pytest.approx(recall_score(~consensus, ~own))
        assert found.bias[r, k] == pytest.approx(own.sum() / consensus.sum())


def test_others_who_tie_say_the_lowest_of_their_classes():
    annotations = np.array([[1, 2, 1], [1, 2, 0], [2, 1, 1]])
    # The others of each annotator say 1 1 0, 1 1 1 and 1 2 0.
    found = confusion_with_others(annotations, None, 3)
    assert [row.argmax() for row in found[2]] == [1, 2, 1]
    assert found[0].tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_who_is_absent_or_alone_has_no_score_against_others():
    annotations = alike(3, (5, 5), 2)
    two, one = (np.array([True, True, False]), np.array([False, True, False]))
    scores = against_others(annotations, two, 2)
    for values in (scores.dice, scores.sensitivity, scores.specificity, scores.bias):
        assert np.isnan(values).tolist() == [[False, False], [False, False], [True, True]]
    alone = against_others(annotations, one, 2)
    for values in (alone.dice, alone.sensitivity, alone.specificity, alone.bias):
        assert np.isnan(values).all()


def test_a_class_that_the_others_leave_out_has_a_dice_but_no_sensitivity_and_no_bias():
    scores = against_others(np.array([[0, 1], [0, 0], [0, 0]]), None, 3)
    assert scores.dice[:, 1:].tolist() == [[0, 1], [1, 1], [1, 1]]
    assert np.isnan(scores.sensitivity[:, 1:]).all()
    assert np.isnan(scores.bias[:, 1:]).all()
    assert scores.specificity[:, 1:].tolist() == [[0.5, 1], [1, 1], [1, 1]]
    assert np.isnan(scores.specificity[:, 0]).all()  # the consensus is background everywhere
    assert scores.bias[:, 0].tolist() == [0.5, 1, 1]


def test_annotators_who_agree_have_perfect_scores_against_others():
    annotations = np.broadcast_to(RNG.permutation(np.arange(30) % 3), (4, 30))
    scores = scores_of_confusion(confusion_with_others(annotations, None, 3))
    for values in (scores.dice, scores.sensitivity, scores.specificity, scores.bias):
        assert (values == 1).all()


@pytest.mark.parametrize("shape", [*SHAPES, (1,)])
def test_the_pairwise_dice_is_that_of_a_double_loop(shape):
    annotations = RNG.random((5, *shape)) < 0.5
    annotations[:2] = False
    expected = np.array([[dice(a, b) for b in annotations] for a in annotations])
    assert pairwise_dice(annotations) == pytest.approx(expected)
    assert mean_over_pairs(expected) == pytest.approx(expected[~np.eye(5, dtype=bool)].mean())
    present = np.array([True, False, True, True, False])
    expected[~present], expected[:, ~present] = np.nan, np.nan
    found = pairwise_dice(torch.from_numpy(annotations), torch.from_numpy(present))
    assert found == pytest.approx(expected, nan_ok=True)
    assert mean_over_pairs(found) == pytest.approx(np.mean([expected[0, 2], expected[0, 3], expected[2, 3]]))


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 5))
def test_agreement_of_pairs_and_with_the_others_is_bounded_and_follows_the_order_of_annotators(data, number):
    annotations = data.draw(hnp.arrays(np.int64, (number, 2, 3), elements=st.integers(0, 2)))
    present = data.draw(hnp.arrays(bool, number).filter(np.any))
    order = list(data.draw(st.permutations(range(number))))
    matrix = pairwise_dice(annotations == 1, present)
    assert np.array_equal(matrix, matrix.T, equal_nan=True)
    assert np.array_equal(matrix.diagonal() == 1, present)
    assert ((matrix >= 0) & (matrix <= 1))[np.ix_(present, present)].all()
    moved = pairwise_dice((annotations == 1)[order], present[order])
    assert np.array_equal(moved, matrix[np.ix_(order, order)], equal_nan=True)
    scores = against_others(annotations, present, 3)
    moved = against_others(annotations[order], present[order], 3)
    for name in ("dice", "sensitivity", "specificity", "bias"):
        values = getattr(scores, name)
        assert np.array_equal(getattr(moved, name), values[order], equal_nan=True)
        assert not (values < 0).any()
        assert name == "bias" or not (values > 1).any()


def test_one_annotator_has_no_pair():
    matrix = pairwise_dice(np.zeros((2, 3, 3), bool), np.array([False, True]))
    assert matrix[1, 1] == 1
    assert np.isnan(mean_over_pairs(matrix))


def test_agreement_refuses_nobody_present_and_labels_without_a_class():
    annotations = alike(3, (4, 4), 3)
    for function in (agreement_counts, confusion_with_others):
        with pytest.raises(AnnotationError, match="No annotator is present"):
            function(annotations, np.zeros(3, bool), 3)
        with pytest.raises(AnnotationError, match="Labels from 0 to 2 found, 0 to 1 expected"):
            function(annotations, None, 2)
    with pytest.raises(AnnotationError, match="No annotator is present"):
        pairwise_dice(annotations > 0, np.zeros(3, bool))
