"""STAPLE against SimpleITK and against a plain voxel-wise EM."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk

from umanet.fusion import majority_vote, staple
from umanet.fusion.staple import OneClassWarning


def annotate(shape, annotators, classes, seed):
    """Nested balls seen by annotators of different skill and bias."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape).reshape(len(shape), -1).T / (np.array(shape) - 1) - 0.5
    distance = np.linalg.norm(grid, axis=1).reshape(shape)
    radii = np.linspace(0.4, 0.15, classes - 1)
    seen = [distance + rng.normal(0, 0.03) + rng.uniform(0.02, 0.1) * rng.normal(size=shape) for _ in range(annotators)]
    return np.stack([(image[..., None] < radii).sum(axis=-1) for image in seen]).astype(np.uint8)


def all_present(annotations):
    return np.ones(len(annotations), bool)


def voxel_wise_em(annotations, classes, iterations):
    """Warfield's equations, one voxel and one annotator at a time. Returns posterior (K, N) and confusion."""
    votes = annotations.reshape(len(annotations), -1)
    one_hot = np.stack([votes == k for k in range(classes)])  # (K, R, N)
    prior = one_hot.mean(axis=(1, 2))
    posterior = one_hot.mean(axis=1)
    confusion = np.zeros((len(votes), classes, classes))
    for _ in range(iterations):
        for r, i, j in np.ndindex(confusion.shape):
            confusion[r, i, j] = posterior[i][votes[r] == j].sum() / posterior[i].sum()
        for n in range(votes.shape[1]):
            scores = prior.copy()
            for r in range(len(votes)):
                scores *= confusion[r, :, votes[r, n]]
            posterior[:, n] = scores / scores.sum()
    return posterior, confusion


@pytest.mark.parametrize("shape", [(48, 40), (16, 14, 12)])
@pytest.mark.parametrize("annotators", [2, 3, 4, 7])
def test_binary_staple_is_that_of_simpleitk(shape, annotators):
    annotations = annotate(shape, annotators, 2, seed=annotators)
    reference = sitk.STAPLEImageFilter()
    reference.SetForegroundValue(1)
    reference.SetMaximumIterations(1000)
    expected = sitk.GetArrayFromImage(reference.Execute([sitk.GetImageFromArray(a) for a in annotations]))
    assert reference.GetElapsedIterations() < 1000
    probabilities, confusion = staple(annotations, all_present(annotations), 2)
    np.testing.assert_allclose(probabilities[1], expected, atol=1e-5)
    np.testing.assert_allclose(confusion[:, 1, 1], reference.GetSensitivity(), atol=1e-5)
    np.testing.assert_allclose(confusion[:, 0, 0], reference.GetSpecificity(), atol=1e-5)


def test_random_masks_that_converge_slowly_follow_simpleitk_step_by_step():
    annotations = np.random.default_rng(0).integers(2, size=(5, 30, 30)).astype(np.uint8)
    reference = sitk.STAPLEImageFilter()
    reference.SetMaximumIterations(20)
    expected = sitk.GetArrayFromImage(reference.Execute([sitk.GetImageFromArray(a) for a in annotations]))
    probabilities, _ = staple(annotations, all_present(annotations), 2, max_iterations=20)
    np.testing.assert_allclose(probabilities[1], expected, atol=1e-5)


@pytest.mark.parametrize(("annotators", "classes"), [(1, 3), (2, 2), (3, 4), (5, 3)])
def test_staple_is_the_voxel_wise_em(annotators, classes):
    annotations = annotate((14, 13), annotators, classes, seed=classes)
    expected, expected_confusion = voxel_wise_em(annotations, classes, iterations=40)
    # The confusion belongs to the returned posterior: that of the plain EM's next iteration.
    _, expected_confusion = voxel_wise_em(annotations, classes, iterations=41)
    probabilities, confusion = staple(annotations, all_present(annotations), classes, max_iterations=40, tolerance=0.0)
    np.testing.assert_allclose(probabilities.reshape(classes, -1), expected, atol=1e-6)
    np.testing.assert_allclose(confusion, expected_confusion, atol=1e-9)


@pytest.mark.parametrize("classes", [3, 4])
def test_multi_class_staple_agrees_with_simpleitk(classes):
    """At convergence, and not exactly: SimpleITK starts from the vote's confusion, whose zeros stay zeros."""
    annotations = annotate((40, 40), 6, classes, seed=1)
    reference = sitk.MultiLabelSTAPLEImageFilter()
    reference.SetMaximumNumberOfIterations(2000)
    reference.SetTerminationUpdateThreshold(1e-7)
    expected = sitk.GetArrayFromImage(reference.Execute([sitk.GetImageFromArray(a) for a in annotations]))
    probabilities, confusion = staple(annotations, all_present(annotations), classes)
    np.testing.assert_array_equal(probabilities.argmax(axis=0), expected)
    for r, matrix in enumerate(confusion):
        theirs = np.array(reference.GetConfusionMatrix(r)).reshape(classes + 1, classes)[:classes]
        np.testing.assert_allclose(matrix, theirs.T, atol=2e-3)


def test_staple_finds_the_truth_where_a_biased_majority_hides_it():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 60)) < 0.3
    flips = np.array([0.02, 0.02, 0.4, 0.4, 0.4])
    annotations = (truth ^ (rng.random((5, 60, 60)) < flips[:, None, None])).astype(np.uint8)
    estimate, confusion = staple(annotations, all_present(annotations), 2)
    vote, _ = majority_vote(annotations, all_present(annotations), 2)
    assert (estimate.argmax(axis=0) == truth).mean() > 0.97 > (vote.argmax(axis=0) == truth).mean() + 0.02
    np.testing.assert_allclose(confusion[:, 0, 1], flips, atol=0.04)


def test_many_annotators_do_not_underflow():
    annotations = annotate((20, 20), 1, 3, seed=5)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random((1200, 20, 20)) < 0.5, annotations[0], rng.integers(3, size=(1200, 20, 20)))
    for annotators in (40, 1200):
        probabilities, confusion = staple(noisy[:annotators], np.ones(annotators, bool), 3)
        assert np.isfinite(probabilities).all()
        np.testing.assert_array_equal(probabilities.argmax(axis=0), annotations[0])
        np.testing.assert_allclose(confusion.sum(axis=2), 1)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_everywhere_is_the_result_with_a_warning(label):
    annotations = np.full((3, 4, 4), label, np.uint8)
    with pytest.warns(OneClassWarning, match=f"hold class {label} everywhere"):
        probabilities, confusion = staple(annotations, all_present(annotations), 2)
    assert (probabilities[label] == 1).all()
    assert (confusion[:, label, label] == 1).all()


def test_a_class_that_nobody_says_changes_nothing():
    annotations = annotate((20, 20), 4, 3, seed=2)
    two, confusion = staple(annotations, all_present(annotations), 3)
    more, more_confusion = staple(annotations, all_present(annotations), 5)
    np.testing.assert_allclose(more[:3], two, atol=1e-7)
    assert not more[3:].any()
    np.testing.assert_allclose(more_confusion[:, :3, :3], confusion, atol=1e-9)
    assert not more_confusion[:, 3:].any()


def test_annotators_who_contradict_each_other_everywhere_give_no_nan():
    annotations = np.stack([np.eye(4, dtype=np.uint8), 1 - np.eye(4, dtype=np.uint8)])
    probabilities, confusion = staple(annotations, all_present(annotations), 2)
    assert np.isfinite(probabilities).all()
    assert np.isfinite(confusion).all()


def test_stopping_before_convergence_is_logged(caplog):
    annotations = annotate((20, 20), 4, 2, seed=2)
    with caplog.at_level(logging.DEBUG, "umanet.fusion"):
        staple(annotations, all_present(annotations), 2)
        assert not caplog.records
        staple(annotations, all_present(annotations), 2, max_iterations=2)
    assert "did not converge to 1e-07 in 2 iterations" in caplog.text
