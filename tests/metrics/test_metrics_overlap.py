import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou
from sklearn.metrics import f1_score, jaccard_score

from umanet import metrics
from umanet.errors import AnnotationError, ConfigError
from umanet.metrics import (
    dice,
    dice_per_class,
    iou,
    iou_per_class,
    mean_dice_over_annotators,
    personalised_dice,
    qubiq_score,
    soft_dice,
    soft_iou,
)
from umanet.metrics.overlap import BLOCK, HISTOGRAM_BLOCK, QUBIQ_TENTHS, require_labels, shared_voxels

RNG = np.random.default_rng(3)
SHAPES = [(16, 16), (6, 7, 5), (1,), (1, 1)]
masks = hnp.arrays(bool, st.sampled_from([(3, 4), (2, 2, 3), (1, 1)]))


def plain_overlap(first, second, name):
    first, second = set(np.flatnonzero(first)), set(np.flatnonzero(second))
    if not first and not second:
        return 1.0
    shared = len(first & second)
    return 2 * shared / (len(first) + len(second)) if name == "dice" else shared / len(first | second)


def plain_soft(probability, annotations, name, tenths, comparison):
    """One pass per threshold, the mean of the annotations as an exact fraction."""

    def passes(value, threshold):
        return value > threshold if comparison == ">" else value >= threshold

    mean = [Fraction(int(votes), len(annotations)) for votes in annotations.sum(axis=0).ravel()]
    scores = []
    for level in tenths:
        predicted = passes(probability, probability.dtype.type(level / 10)).ravel()
        annotated = np.array([passes(m, Fraction(level, 10)) for m in mean])
        scores.append(plain_overlap(predicted, annotated, name))
    return np.mean(scores)


@pytest.mark.parametrize("shape", SHAPES)
def test_dice_and_iou_are_those_of_scikit_learn_and_monai(shape):
    first, second = RNG.random(shape) < 0.4, RNG.random(shape) < 0.6
    first.flat[0] = second.flat[0] = True
    assert dice(first, second) == pytest.approx(f1_score(second.ravel(), first.ravel()))
    assert iou(first, second) == pytest.approx(jaccard_score(second.ravel(), first.ravel()))
    one_hot = [torch.from_numpy(mask)[None, None].float() for mask in (first, second)]
    assert dice(first, second) == pytest.approx(compute_dice(*one_hot).item())
    assert iou(first, second) == pytest.approx(compute_iou(*one_hot).item())


def test_both_empty_is_one_and_one_empty_is_zero():
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    for metric in (dice, iou):
        assert metric(empty, empty) == 1.0
        assert metric(empty, full) == metric(full, empty) == 0.0


def test_every_class_is_scored_as_its_own_mask():
    first, second = RNG.integers(0, 3, (9, 8, 7)), RNG.integers(0, 3, (9, 8, 7))
    second[second == 2] = 1
    for per_class, metric in ((dice_per_class, dice), (iou_per_class, iou)):
        expected = [metric(first == k, second == k) for k in range(4)]
        for kinds in ((np.uint8, np.int64), (np.int32, np.uint64)):
            assert per_class(first.astype(kinds[0]), second.astype(kinds[1]), 4) == pytest.approx(expected)
    assert dice_per_class(first, second, 4)[2:].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("number", [-1, 3])
def test_a_label_without_a_class_is_refused(number):
    with pytest.raises(AnnotationError, match="0 to 2 expected"):
        dice_per_class(np.array([[number, 0]]), np.array([[0, 0]]), 3)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_overlap_is_symmetric_bounded_and_one_for_a_perfect_prediction(data):
    first = data.draw(masks)
    second = data.draw(hnp.arrays(bool, first.shape))
    for metric in (dice, iou):
        assert metric(first, second) == metric(second, first)
        assert 0 <= metric(first, second) <= 1
        assert metric(first, first) == 1
    assert iou(first, second) == pytest.approx(dice(first, second) / (2 - dice(first, second)))


@pytest.mark.parametrize("comparison", [">", ">="])
@pytest.mark.parametrize("tenths", [(1, 3, 5, 7, 9), (1, 2, 3, 4, 5, 6, 7, 8, 9)])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 10])
def test_soft_overlap_from_one_histogram_is_that_of_a_pass_per_threshold(number, tenths, comparison):
    annotations = RNG.random((number, 12, 11)) < RNG.random((12, 11))
    for probability in (
        RNG.random((12, 11), np.float32),
        np.round(RNG.random((12, 11)), 1),  # ties with the thresholds
        annotations.mean(axis=0, dtype=np.float32),
    ):
        options = {"tenths": tenths, "comparison": comparison}
        for metric, name in ((soft_dice, "dice"), (soft_iou, "iou")):
            expected = plain_soft(probability, annotations, name, tenths, comparison)
            assert metric(probability, annotations, **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("number", range(3, 8))
def test_votes_pass_a_threshold_exactly_where_their_fraction_does(number):
    for votes, tenths in itertools.product(range(number + 1), range(1, 10)):
        annotations = np.arange(number)[:, None] < votes
        mean, threshold = Fraction(votes, number), Fraction(tenths, 10)
        for comparison, expected in ((">", mean > threshold), (">=", mean >= threshold)):
            found = soft_dice(np.ones(1), annotations, tenths=(tenths,), comparison=comparison)
            assert found == float(expected), (votes, tenths, comparison)


def test_riga_and_mrnet_differ_where_votes_tie():
    annotations = np.zeros((6, 4), bool)
    annotations[:3] = True
    assert soft_dice(np.ones(4), annotations, tenths=(5,)) == 0.0
    assert soft_dice(np.ones(4), annotations, tenths=(5,), comparison=">=") == 1.0


def test_the_thresholds_are_those_of_the_protocols():
    annotations, probability = RNG.random((20, 15, 15)) < RNG.random((15, 15)), RNG.random((15, 15))
    riga, qubiq = (0.1, 0.3, 0.5, 0.7, 0.9), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    # Votes of 20 in whole numbers: 20 t is 2, 4 ... 18.
    votes = annotations.sum(axis=0)
    for metric, plain in ((soft_dice, dice), (soft_iou, iou)):
        expected = np.mean([plain(probability > t, votes > round(20 * t)) for t in riga])
        assert metric(probability, annotations) == pytest.approx(expected)
    expected = np.mean([dice(probability >= t, votes >= round(20 * t)) for t in qubiq])
    assert qubiq_score(probability, annotations) == pytest.approx(expected)


@pytest.mark.parametrize("tenths", [(), (11,), (-1, 5)])
def test_thresholds_that_are_no_tenths_are_refused(tenths):
    with pytest.raises(ConfigError, match=r"tenths = .* found, whole numbers from 0 to 10 expected"):
        soft_dice(np.ones(4), np.ones((2, 4), bool), tenths=tenths)


def test_soft_dice_of_a_worked_example():
    annotations = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    probability = np.array([0.0, 0.2, 0.4, 0.8], np.float32)
    # m = 0, 1/3, 2/3, 1. Voxels with p > t: 3, 2, 1, 1, 0; with m > t: 3, 3, 2, 1, 1; in both: 3, 2, 1, 1, 0.
    assert soft_dice(probability, annotations) == pytest.approx((1 + 4 / 5 + 2 / 3 + 1 + 0) / 5)
    assert soft_iou(probability, annotations) == pytest.approx((1 + 2 / 3 + 1 / 2 + 1 + 0) / 5)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 7))
def test_soft_overlap_is_bounded_perfect_for_the_mean_and_blind_to_the_order_of_annotators(data, number):
    annotations = data.draw(hnp.arrays(bool, (number, 3, 4)))
    probability = data.draw(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
    order = data.draw(st.permutations(range(number)))
    for metric in (soft_dice, soft_iou):
        assert 0 <= metric(probability, annotations) <= 1
        assert metric(probability, annotations) == metric(probability, annotations[list(order)])
        assert metric(annotations[0], annotations[:1]) == 1
        # 64-bit floats: the mean of the votes lies on the right side of every threshold it does not tie with.
        if (10 * annotations.sum(axis=0) % number).all():
            assert metric(annotations.mean(axis=0), annotations) == 1


@pytest.mark.parametrize("shape", [(9, 8), (4, 3, 5), (1,)])
@pytest.mark.parametrize("number", range(1, 8))
def test_the_qubiq_score_is_that_of_a_pass_per_threshold(number, shape):
    annotations = RNG.random((number, *shape)) < RNG.random(shape)
    for probability in (RNG.random(shape, np.float32), np.round(RNG.random(shape), 1)):
        expected = plain_soft(probability, annotations, "dice", QUBIQ_TENTHS, ">=")
        assert qubiq_score(probability, annotations) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("number", range(3, 8))
def test_the_qubiq_score_counts_a_tie_with_a_threshold_as_passed(number):
    for votes in range(number + 1):
        passed = sum(Fraction(votes, number) >= Fraction(tenths, 10) for tenths in range(1, 10))
        assert qubiq_score(np.ones(1), np.arange(number)[:, None] < votes) == pytest.approx(passed / 9)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 7))
def test_the_qubiq_score_is_bounded_and_blind_to_the_order_of_annotators(data, number):
    annotations = data.draw(hnp.arrays(bool, (number, 3, 4)))
    probability = data.draw(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
    order = list(data.draw(st.permutations(range(number))))
    assert 0 <= qubiq_score(probability, annotations) <= 1
    assert qubiq_score(probability, annotations) == qubiq_score(probability, annotations[order])
    assert qubiq_score(annotations[0], annotations[:1]) == 1


@pytest.mark.parametrize("noisy", [0.01, 0.99])
def test_a_large_image_of_several_blocks_is_counted_once(noisy):
    size = 3 * HISTOGRAM_BLOCK + 5
    plain, doubtful = np.arange(size) % 3 == 0, RNG.random(size) < noisy
    plain[HISTOGRAM_BLOCK : 2 * HISTOGRAM_BLOCK] = doubtful[HISTOGRAM_BLOCK : 2 * HISTOGRAM_BLOCK] = False
    annotations = np.where(doubtful, RNG.random((3, size)) < 0.5, plain)
    probability = np.where(doubtful, RNG.random(size, np.float32), plain.astype(np.float32))
    expected = [dice(probability >= np.float32(k / 10), annotations.sum(axis=0) >= np.ceil(0.3 * k)) for k in (4, 8)]
    found = soft_dice(probability, annotations, tenths=(4, 8), comparison=">=")
    assert found == pytest.approx(np.mean(expected), abs=1e-12)


def test_more_annotators_than_fit_a_byte_are_counted():
    annotations, probability = RNG.random((300, 5, 5)) < RNG.random((5, 5)), RNG.random((5, 5))
    expected = plain_soft(probability, annotations, "dice", QUBIQ_TENTHS, ">=")
    assert qubiq_score(probability, annotations) == pytest.approx(expected)
    assert shared_voxels(annotations)[0, 299] == np.count_nonzero(annotations[0] & annotations[299])


@pytest.mark.parametrize("shape", [(7, 6), (3, 4, 5), (1,), (2 * BLOCK + 3,)])
def test_voxels_shared_by_pairs_are_those_of_a_double_loop(shape):
    first, second = RNG.random((4, *shape)) < 0.3, RNG.random((3, *shape)) < 0.8
    together = np.concatenate([first, second])
    together[0], together[1] = False, True
    expected = [[np.count_nonzero(a & b) for b in together] for a in together]
    assert shared_voxels(together[:4], together[4:]).tolist() == expected
    assert (shared_voxels(together[1:2].repeat(2, axis=0)) == np.prod(shape)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_personalised_dice_pairs_every_annotator_with_their_own_prediction(shape):
    predictions, annotations = RNG.random((4, *shape)) < 0.5, RNG.random((4, *shape)) < 0.5
    predictions[0] = annotations[0] = False
    present = np.array([True, False, True, True])
    expected = np.mean([plain_overlap(predictions[r], annotations[r], "dice") for r in (0, 2, 3)])
    assert personalised_dice(predictions, annotations, present) == pytest.approx(expected)
    annotations[1], predictions[1] = True, False
    assert personalised_dice(predictions, annotations, present) == pytest.approx(expected)
    assert personalised_dice(annotations, annotations) == 1
    order = [2, 0, 3, 1]
    moved = personalised_dice(predictions[order], annotations[order], present[order])
    assert moved == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 6))
def test_dice_with_every_annotator_is_bounded_perfect_and_blind_to_their_order(data, number):
    shape = (number, *data.draw(st.sampled_from([(3, 4), (2, 2, 3), (1,)])))
    predictions, annotations = (data.draw(hnp.arrays(bool, shape)) for _ in range(2))
    present = data.draw(hnp.arrays(bool, number).filter(np.any))
    order = list(data.draw(st.permutations(range(number))))
    for metric, prediction, moved in (
        (personalised_dice, predictions, predictions[order]),
        (mean_dice_over_annotators, predictions[0], predictions[0]),
    ):
        value = metric(prediction, annotations, present)
        assert 0 <= value <= 1
        assert metric(moved, annotations[order], present[order]) == pytest.approx(value, abs=1e-12)
    assert personalised_dice(annotations, annotations, present) == 1
    assert (mean_dice_over_annotators(annotations[0], annotations) == 1) == (annotations == annotations[0]).all()


def test_the_personalised_dice_tells_annotators_apart():
    annotations = np.array([[True, True, False], [False, False, True]])
    assert personalised_dice(annotations[::-1], annotations) == 0


def test_a_personalised_dice_of_anonymous_annotators_is_refused():
    masks = np.ones((2, 3), bool)
    with pytest.raises(AnnotationError, match=r"Anonymous annotators found.*Use mean_dice_over_annotators"):
        personalised_dice(masks, masks, identified=False)


def test_labels_that_are_no_integers_are_refused():
    with pytest.raises(AnnotationError, match=r"Labels of type bool found.*astype\(int\)"):
        require_labels(np.array([True]), 2)


def test_an_absent_annotator_changes_no_overlap():
    annotations, probability = RNG.random((4, 8, 8)) < 0.5, RNG.random((8, 8))
    present = np.array([True, False, True, True])
    for metric, prediction in (
        (soft_dice, probability),
        (soft_iou, probability),
        (qubiq_score, probability),
        (mean_dice_over_annotators, probability > 0.5),
    ):
        expected = metric(prediction, annotations[present])
        assert metric(prediction, annotations, present) == expected
        assert metric(prediction, annotations) != expected


def test_nothing_predicted_and_nothing_annotated_is_one():
    empty = np.zeros((3, 5, 5), bool)
    for metric in (soft_dice, soft_iou, qubiq_score):
        assert metric(np.zeros((5, 5)), empty) == 1.0
    assert personalised_dice(empty, empty) == 1.0
    assert mean_dice_over_annotators(empty[0], empty) == 1.0
    assert soft_dice(np.ones((5, 5)), empty) == mean_dice_over_annotators(~empty[0], empty) == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_over_annotators_is_the_mean_of_their_dice(shape):
    prediction, annotations = RNG.random(shape) < 0.5, RNG.random((3, *shape)) < 0.5
    annotations[0] = False
    expected = np.mean([plain_overlap(prediction, annotation, "dice") for annotation in annotations])
    assert mean_dice_over_annotators(prediction, annotations) == pytest.approx(expected)


def test_tensors_give_the_same_as_arrays():
    annotations, probability = RNG.random((3, 8, 8)) < 0.5, RNG.random((8, 8))
    tensors = [torch.from_numpy(x) for x in (probability, annotations, np.array([True, True, False]))]
    tensors[0].requires_grad_()
    assert soft_dice(*tensors) == soft_dice(probability, annotations[:2])
    assert dice(tensors[1][0], annotations[1]) == dice(annotations[0], annotations[1])


def test_nobody_present_is_refused():
    with pytest.raises(AnnotationError, match="No annotator is present"):
        soft_dice(np.zeros((2, 2)), np.zeros((2, 2, 2), bool), np.zeros(2, bool))


@pytest.mark.parametrize("name", sorted(name for name in metrics.__all__ if "dice" in name or "iou" in name))
def test_every_overlap_says_its_formula_and_where_it_is_from(name):
    said = metrics.__dict__[name].__doc__
    assert "``" in said and ("Reference:" in said or "source too" in said)
