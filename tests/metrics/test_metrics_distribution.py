import itertools
from math import lcm

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from umanet.errors import AnnotationError, ConfigError
from umanet.metrics import (
    dice_match,
    dice_max,
    distribution_scores,
    generalized_energy_distance,
    hungarian_matched_iou,
)

RNG = np.random.default_rng(7)
METRICS = (generalized_energy_distance, dice_max, dice_match, hungarian_matched_iou)
SIZES = [(1, 1), (1, 3), (2, 3), (3, 2), (4, 2), (3, 3)]
SHAPES = [(6, 7), (3, 4, 5), (1,)]


def draw(number, shape):
    """Random masks, the first empty, and the last two equal."""
    masks = RNG.random((number, *shape)) < RNG.random()
    masks[0], masks[-1] = False, masks[max(number - 2, 0)]
    return masks


def flat(masks):
    return masks.reshape(len(masks), -1)


def plain_dice(first, second):
    return 2 * np.sum(first & second) / (first.sum() + second.sum()) if first.any() or second.any() else 1.0


def table(samples, annotations):
    return np.array([[plain_dice(s, y) for y in annotations] for s in samples])


def best_permutation(overlap):
    """All ways to give each row of a table, which is not taller than wide, a column of its own."""
    rows = range(len(overlap))
    return max(np.mean([overlap[r, c] for r, c in zip(rows, columns, strict=True)])
               for columns in itertools.permutations(range(overlap.shape[1]), len(overlap)))  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("drawn", "annotated"), SIZES)
def test_the_energy_distance_is_that_of_scipys_jaccard_distances(drawn, annotated, shape):
    samples, annotations = draw(drawn, shape), draw(annotated, shape)
    between, among, within = (
        cdist(flat(a), flat(b), "jaccard")
        for a, b in ((samples, annotations), (samples, samples), (annotations, annotations))
    )
    expected = 2 * between.mean() - among.mean() - within.mean()
    assert generalized_energy_distance(samples, annotations) == pytest.approx(expected, abs=1e-12)
    found = generalized_energy_distance(samples, annotations, statistic="u")
    if min(drawn, annotated) < 2:
        assert np.isnan(found)
    else:
        pairs = (among[~np.eye(drawn, dtype=bool)].mean(), within[~np.eye(annotated, dtype=bool)].mean())
        assert found == pytest.approx(2 * between.mean() - sum(pairs), abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("drawn", "annotated"), SIZES)
def test_best_and_matched_dice_are_those_of_trying_all(drawn, annotated, shape):
    samples, annotations = draw(drawn, shape), draw(annotated, shape)
    overlap = table(samples, annotations)
    by_annotation = np.mean([max(overlap[:, r]) for r in range(annotated)])
    by_sample = np.mean([max(overlap[i]) for i in range(drawn)])
    assert dice_max(samples, annotations) == pytest.approx(by_annotation)
    assert dice_max(samples, annotations, direction="samples") == pytest.approx(by_sample)
    best = best_permutation(overlap if drawn <= annotated else overlap.T)
    assert dice_match(samples, annotations) == pytest.approx(best)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("drawn", "annotated"), SIZES)
def test_the_matched_iou_is_that_of_repeated_masks(drawn, annotated, shape):
    samples, annotations = draw(drawn, shape), draw(annotated, shape)
    number = lcm(drawn, annotated)
    copies = [np.concatenate([flat(masks)] * (number // len(masks))) for masks in (samples, annotations)]
    best = best_permutation(1 - cdist(*copies, "jaccard"))
    assert hungarian_matched_iou(samples, annotations) == pytest.approx(best)


def test_a_worked_example():
    annotations = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    samples = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], bool)
    # IoU with each annotation: 1, 1/2; 2/3, 3/4; 0, 0. Dice: 1, 2/3; 4/5, 6/7; 0, 0.
    assert dice_max(samples, annotations) == pytest.approx((1 + 6 / 7) / 2)
    assert dice_max(samples, annotations, direction="samples") == pytest.approx((1 + 6 / 7 + 0) / 3)
    assert dice_match(samples, annotations) == pytest.approx((1 + 6 / 7) / 2)
    assert hungarian_matched_iou(samples, annotations) == pytest.approx((2 * 1 + 2 * 3 / 4 + 0) / 6)
    between, among, within = (0 + 1 / 2 + 1 / 3 + 1 / 4 + 1 + 1) / 6, 2 * (1 / 3 + 1 + 1) / 9, 2 * (1 / 2) / 4
    assert generalized_energy_distance(samples, annotations) == pytest.approx(2 * between - among - within)


def test_a_perfect_sampler_has_an_energy_distance_above_zero_unless_it_is_unbiased():
    pool = RNG.random((8, 10)) < 0.5
    v, u = [], []
    for _ in range(300):
        samples, annotations = pool[RNG.integers(8, size=4)], pool[RNG.integers(8, size=3)]
        v.append(generalized_energy_distance(samples, annotations))
        u.append(generalized_energy_distance(samples, annotations, statistic="u"))
    assert np.mean(v) > 0.2
    assert np.mean(u) == pytest.approx(0, abs=4 * np.std(u) / 300**0.5)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 4))
def test_distribution_metrics_are_bounded_and_blind_to_order(data, drawn, annotated):
    samples = data.draw(hnp.arrays(bool, (drawn, 2, 3)))
    annotations = data.draw(hnp.arrays(bool, (annotated, 2, 3)))
    orders = [list(data.draw(st.permutations(range(number)))) for number in (drawn, annotated)]
    for metric in METRICS:
        value = metric(samples, annotations)
        assert 0 <= value <= (2 if metric is generalized_energy_distance else 1)
        assert metric(samples[orders[0]], annotations[orders[1]]) == pytest.approx(value, abs=1e-12)
        if metric is not dice_max:
            assert metric(annotations, samples) == pytest.approx(value, abs=1e-12)
    other_way = dice_max(annotations, samples, direction="samples")
    assert dice_max(samples, annotations) == pytest.approx(other_way)
    assert dice_match(samples, annotations) <= max(
        dice_max(samples, annotations), dice_max(samples, annotations, direction="samples")
    ) + 1e-12  # fmt: skip


@pytest.mark.parametrize("repeats", [1, 3])
def test_samples_equal_to_the_annotations_are_perfect(repeats):
    annotations = draw(3, (5, 5))
    scores = distribution_scores(np.tile(annotations, (repeats, 1, 1)), annotations)
    assert scores.pop("ged") == pytest.approx(0, abs=1e-12)
    assert scores.pop("ged_u") < 0  # the annotations are nearer to their copies than to each other
    assert set(scores.values()) == {1.0}


def test_empty_masks_equal_each_other_and_nothing_else():
    empty, full = np.zeros((3, 4, 4), bool), np.ones((2, 4, 4), bool)
    assert distribution_scores(empty, empty[:2]) == {
        "ged": 0, "ged_u": 0, "dice_max_annotations": 1, "dice_max_samples": 1, "dice_match": 1, "hm_iou": 1,
    }  # fmt: skip
    assert distribution_scores(empty, full) == {
        "ged": 2, "ged_u": 2, "dice_max_annotations": 0, "dice_max_samples": 0, "dice_match": 0, "hm_iou": 0,
    }  # fmt: skip


def test_all_scores_together_are_those_one_by_one_without_absent_annotators():
    samples, annotations = draw(4, (6, 6)), draw(4, (6, 6))
    present = np.array([True, False, True, True])
    expected = {
        "ged": generalized_energy_distance(samples, annotations[present]),
        "ged_u": generalized_energy_distance(samples, annotations[present], statistic="u"),
        "dice_max_annotations": dice_max(samples, annotations[present]),
        "dice_max_samples": dice_max(samples, annotations[present], direction="samples"),
        "dice_match": dice_match(samples, annotations[present]),
        "hm_iou": hungarian_matched_iou(samples, annotations[present]),
    }
    tensors = [torch.from_numpy(x) for x in (samples, annotations, present)]
    assert distribution_scores(*tensors) == expected
    for metric in METRICS:
        assert metric(samples, annotations, present) == metric(samples, annotations[present])


def test_no_sample_and_no_annotator_are_refused():
    masks = np.zeros((2, 3, 3), bool)
    with pytest.raises(AnnotationError, match=r"Samples of shape \(0, 3, 3\) found"):
        dice_match(masks[:0], masks)
    with pytest.raises(AnnotationError, match="No annotator is present"):
        dice_match(masks, masks, np.zeros(2, bool))


def test_an_unknown_option_is_refused():
    masks = np.zeros((2, 3, 3), bool)
    with pytest.raises(ConfigError, match="statistic = 'w' found, one of v, u expected"):
        generalized_energy_distance(masks, masks, statistic="w")
    with pytest.raises(ConfigError, match="direction = 'both' found, one of annotations, samples expected"):
        dice_max(masks, masks, direction="both")
