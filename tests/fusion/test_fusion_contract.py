"""What every fusion promises, whatever it computes."""

import warnings

import numpy as np
import pytest
import torch

from umanet.errors import AnnotationError
from umanet.fusion import FUSIONS

OPTIONS = {"random": {"seed": 0, "epoch": 0, "case": "case1"}, "single": {"annotator": 1}}
SHAPES = {"2D": (9, 7), "3D": (5, 4, 6)}
BLIND_TO_ORDER = sorted(FUSIONS.keys() - OPTIONS.keys())

all_fusions = pytest.mark.parametrize("name", FUSIONS)
all_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def annotate(shape, annotators=5, classes=3, seed=0):
    """Annotations that agree on four voxels out of five."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=shape)
    noise = rng.integers(classes, size=(annotators, *shape))
    return np.where(rng.random(noise.shape) < 0.8, truth, noise).astype(np.uint8)


def fuse(name, annotations, present=None, classes=3):
    here = np.ones(len(annotations), bool) if present is None else present
    return FUSIONS[name](annotations, here, classes, **OPTIONS.get(name, {}))


@all_shapes
@all_fusions
def test_probabilities_and_confusion_have_the_promised_form(name, shape):
    probabilities, confusion = fuse(name, annotate(shape))
    assert probabilities.shape == (3, *shape)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    assert confusion.shape == (5, 3, 3)
    np.testing.assert_allclose(confusion.sum(axis=2), 1)


@all_fusions
def test_confusion_counts_what_each_annotator_says_where_the_result_is_a_class(name):
    annotations = annotate((6, 5))
    probabilities, confusion = fuse(name, annotations)
    for r, i, j in np.ndindex(confusion.shape):
        expected = probabilities[i][annotations[r] == j].sum(dtype=float) / probabilities[i].sum(dtype=float)
        assert confusion[r, i, j] == pytest.approx(expected, abs=1e-6)


@all_shapes
@all_fusions
def test_an_absent_annotator_changes_nothing_whatever_its_slot_holds(name, shape):
    annotations = annotate(shape)
    present = np.array([True, True, False, True, False])
    junk = annotations.copy()
    junk[~present] = 250
    probabilities, confusion = fuse(name, junk, present)
    without, confusion_without = fuse(name, annotations[present])
    np.testing.assert_array_equal(probabilities, without)
    np.testing.assert_array_equal(confusion[present], confusion_without)
    assert not confusion[~present].any()


@pytest.mark.parametrize("name", BLIND_TO_ORDER)
def test_permuting_annotators_permutes_confusion_and_leaves_probabilities(name):
    annotations, order = annotate((8, 8)), [3, 0, 4, 2, 1]
    probabilities, confusion = fuse(name, annotations)
    permuted, permuted_confusion = fuse(name, annotations[order])
    np.testing.assert_allclose(permuted, probabilities, atol=1e-6)
    np.testing.assert_allclose(permuted_confusion, confusion[order], atol=1e-6)


@all_fusions
def test_annotators_who_agree_are_followed(name):
    annotations = np.repeat(annotate((8, 8), annotators=1), 4, axis=0)
    probabilities, confusion = fuse(name, annotations)
    np.testing.assert_array_equal(probabilities, annotations[0] == np.arange(3)[:, None, None])
    np.testing.assert_array_equal(confusion, np.broadcast_to(np.eye(3), (4, 3, 3)))


@all_fusions
def test_one_present_annotator_is_returned(name):
    annotations = annotate((8, 8))
    probabilities, _ = fuse(name, annotations, np.arange(5) == 1)
    np.testing.assert_array_equal(probabilities, annotations[1] == np.arange(3)[:, None, None])


@pytest.mark.parametrize("label", [0, 1])
@all_fusions
def test_one_class_everywhere_is_defined_without_nan(name, label):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        probabilities, confusion = fuse(name, np.full((3, 4, 4), label, np.uint8), classes=2)
    assert (probabilities[label] == 1).all()
    assert (probabilities[1 - label] == 0).all()
    assert (confusion[:, label, label] == 1).all()
    assert not confusion[:, 1 - label].any()


@all_fusions
def test_torch_tensors_and_any_integer_type_give_the_same(name):
    annotations = annotate((8, 8))
    expected, _ = fuse(name, annotations)
    from_torch, _ = fuse(name, torch.from_numpy(annotations), torch.ones(5, dtype=torch.bool))
    np.testing.assert_array_equal(from_torch, expected)
    for dtype in (np.int8, np.int16, np.uint64):
        np.testing.assert_array_equal(fuse(name, annotations.astype(dtype))[0], expected)


@all_fusions
def test_no_annotator_present_is_an_error(name):
    with pytest.raises(AnnotationError, match=r"None of the 5 annotators is present.*leave this case out"):
        fuse(name, annotate((4, 4)), np.zeros(5, bool))


@all_fusions
def test_a_label_without_a_class_is_an_error_that_names_annotator_and_value(name):
    annotations = annotate((4, 4)).astype(np.int16)
    annotations[3, 2, 2] = 7
    with pytest.raises(AnnotationError, match="value 7 found in the annotation of annotator 3, 0 to 2"):
        fuse(name, annotations, np.array([True, True, False, True, True]))
    annotations[3, 2, 2] = -1
    with pytest.raises(AnnotationError, match="value -1 found in the annotation of annotator 3"):
        fuse(name, annotations)


@pytest.mark.parametrize(
    ("annotations", "present", "classes", "message"),
    [
        (
            annotate((4, 4)).astype(np.float32),
            np.ones(5, bool),
            3,
            "type float32 found, integer class indices",
        ),
        (
            annotate((4, 4)),
            np.ones(4, bool),
            3,
            r"shape \(4,\) found, one boolean for each of the 5 annotators",
        ),
        (annotate((4, 4)), np.ones(5, int), 3, "present of type int64"),
        (np.zeros(5, np.uint8), np.ones(5, bool), 3, r"shape \(5,\) found, \(annotators, \*spatial\)"),
        (np.zeros((5, 0, 4), np.uint8), np.ones(5, bool), 3, "at least one voxel expected"),
        (np.zeros((5, 4, 4), np.uint8), np.ones(5, bool), 1, "num_classes = 1 found, at least 2 expected"),
    ],
)
@all_fusions
def test_unusable_arrays_are_errors(name, annotations, present, classes, message):
    with pytest.raises(AnnotationError, match=message):
        fuse(name, annotations, present, classes)
