"""Voting against a loop over voxels."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from umanet.errors import AnnotationError, ConfigError
from umanet.fusion import intersection, majority_vote, mean, random_annotator, single_annotator, union
from umanet.fusion.patterns import count_patterns


@st.composite
def cases(draw):
    """Annotations of 1 to 7 annotators, 2 to 4 classes, 2D or 3D; at least one present."""
    classes, annotators = draw(st.integers(2, 4)), draw(st.integers(1, 7))
    shape = draw(st.sampled_from([(3, 4), (2, 3, 2)]))
    annotations = draw(arrays.arrays(np.uint8, (annotators, *shape), elements=st.integers(0, classes - 1)))
    present = draw(arrays.arrays(bool, annotators).filter(np.any))
    return annotations, present, classes


def voxel_by_voxel(rule, annotations, present, classes):
    """``rule`` maps the votes of one voxel (class -> votes) to shares (class -> share)."""
    expected = np.zeros((classes, *annotations.shape[1:]))
    for voxel in np.ndindex(annotations.shape[1:]):
        votes = Counter(int(annotations[(r, *voxel)]) for r in np.flatnonzero(present))
        for label, share in rule(votes).items():
            expected[(label, *voxel)] = share
    return expected


def leaders(votes):
    return sorted(label for label, count in votes.items() if count == max(votes.values()))


TIES = {
    "background": lambda tied: {tied[0] if len(tied) == 1 else 0: 1},
    "lowest": lambda tied: {tied[0]: 1},
    "highest": lambda tied: {tied[-1]: 1},
    "split": lambda tied: dict.fromkeys(tied, 1 / len(tied)),
}


@pytest.mark.parametrize("ties", TIES)
@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_majority_vote_is_the_plurality_of_every_voxel(ties, case):
    probabilities, _ = majority_vote(*case, ties=ties)
    expected = voxel_by_voxel(lambda votes: TIES[ties](leaders(votes)), *case)
    np.testing.assert_allclose(probabilities, expected, atol=1e-7)


@pytest.mark.parametrize(("ties", "expected"), [("background", [0, 0]), ("lowest", [0, 1]), ("highest", [2, 2])])
def test_ties_are_broken_as_asked(ties, expected):
    annotations = np.array([[[0, 1]], [[2, 2]]])
    probabilities, _ = majority_vote(annotations, np.ones(2, bool), 3, ties=ties)
    assert probabilities.argmax(axis=0).tolist() == [expected]


def test_plurality_needs_no_absolute_majority():
    annotations = np.array([0, 1, 2, 2, 3]).reshape(5, 1, 1)
    probabilities, _ = majority_vote(annotations, np.ones(5, bool), 4, ties="background")
    assert probabilities.ravel().tolist() == [0, 0, 1, 0]


def test_an_unknown_rule_for_ties_is_an_error():
    with pytest.raises(ConfigError, match="ties = 'first' found, one of background, lowest, highest, split expected"):
        majority_vote(np.zeros((2, 2, 2), int), np.ones(2, bool), 2, ties="first")


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_mean_is_the_share_of_votes(case):
    expected = voxel_by_voxel(lambda votes: {k: n / votes.total() for k, n in votes.items()}, *case)
    np.testing.assert_allclose(mean(*case)[0], expected, atol=1e-7)


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_union_is_the_foreground_of_anybody(case):
    def rule(votes):
        foreground = {label: count for label, count in votes.items() if label > 0}
        return {leaders(foreground)[0] if foreground else 0: 1}

    np.testing.assert_array_equal(union(*case)[0], voxel_by_voxel(rule, *case))


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_intersection_is_what_all_say(case):
    def rule(votes):
        return {next(iter(votes)) if len(votes) == 1 else 0: 1}

    np.testing.assert_array_equal(intersection(*case)[0], voxel_by_voxel(rule, *case))


def test_random_annotator_draws_among_the_present_by_seed_epoch_and_case():
    annotations = np.arange(4).reshape(4, 1, 1)
    present = np.array([True, False, True, True])

    def drawn(seed, epoch, case):
        return int(random_annotator(annotations, present, 4, seed=seed, epoch=epoch, case=case)[0].argmax())

    by_epoch = [drawn(0, epoch, "a") for epoch in range(300)]
    counts = Counter(by_epoch)
    assert counts.keys() == {0, 2, 3}
    assert min(counts.values()) > 70
    assert by_epoch == [drawn(0, epoch, "a") for epoch in range(300)]
    assert by_epoch != [drawn(-1, epoch, "a") for epoch in range(300)]
    assert by_epoch != [drawn(0, epoch, "b") for epoch in range(300)]


def test_random_annotator_draws_the_same_in_another_process():
    code = (
        "import numpy as np; from umanet.fusion import random_annotator as f;"
        "a = np.arange(7).reshape(7, 1, 1); p = np.ones(7, bool);"
        "print([int(f(a, p, 7, seed=3, epoch=e, case='x')[0].argmax()) for e in range(20)])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": s},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for s in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize("annotator", [1, 3, -1])
def test_a_single_annotator_who_is_absent_is_an_error(annotator):
    with pytest.raises(AnnotationError, match=f"Annotator {annotator} is not present, one of 0, 2 expected"):
        single_annotator(np.zeros((3, 2, 2), int), np.array([True, False, True]), 2, annotator=annotator)


@pytest.mark.parametrize(("annotators", "classes"), [(6, 4), (17, 2), (45, 4)])
def test_patterns_tell_all_voxels_apart_however_many_annotators_there_are(annotators, classes):
    annotations = np.random.default_rng(0).integers(classes, size=(annotators, 30, 20))
    annotations[:, 0] = annotations[:, 1]
    patterns = count_patterns(annotations, np.ones(annotators, bool), classes)
    distinct, counts = np.unique(annotations.reshape(annotators, -1), axis=1, return_counts=True)
    assert len(patterns.counts) == distinct.shape[1]
    assert sorted(patterns.counts) == sorted(counts)
    index = np.searchsorted(patterns.coded.occurring, patterns.coded.codes)
    restored = patterns.ballots.argmax(axis=2)[index].T.reshape(annotations.shape)
    np.testing.assert_array_equal(restored, annotations)
