import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from umanet.errors import AnnotationError, ImageError
from umanet.metrics import brier_score, dice, qubiq_score, soft_dice
from umanet.metrics.arrays import annotations_present, count_votes, require_shape, to_mask, to_numpy, to_probability

RNG = np.random.default_rng(31)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_tensor_of_any_precision_with_a_gradient_keeps_its_values(kind):
    tensor = torch.rand(5, 6).to(kind).requires_grad_()
    assert to_numpy(tensor).tolist() == tensor.tolist()
    annotations = RNG.random((3, 5, 6)) < 0.5
    for metric in (qubiq_score, brier_score):
        assert metric(tensor, torch.from_numpy(annotations)) == metric(to_numpy(tensor), annotations)


def test_a_probability_in_double_precision_stays_so():
    above = np.array([0.1 + 1e-12])
    assert to_probability(above) is above
    assert soft_dice(above, np.ones((1, 1), bool), tenths=(1,)) == 1
    assert soft_dice(above - 1e-12, np.ones((1, 1), bool), tenths=(1,)) == 0


@pytest.mark.parametrize("number", [1, 3, 255, 256, 300])
def test_votes_are_counted_in_integers_whatever_the_order_in_memory(number):
    masks = RNG.random((4, 5, number)) < 0.9
    masks[0, 0] = True
    votes = count_votes(masks.transpose(2, 0, 1))
    assert votes.dtype.kind == "u"
    assert votes.tolist() == masks.sum(axis=2).tolist()


UNKNOWN_OPTIONS = """
import numpy as np
from umanet.errors import ConfigError
from umanet.metrics import assd_mm, hd95_mm, soft_dice, soft_iou
mask = np.ones((2, 3), bool)
for metric in (soft_dice, soft_iou):
    try:
        metric(mask, mask[None], comparison="=>")
    except ConfigError as error:
        print(error)
for metric in (hd95_mm, assd_mm):
    try:
        metric(mask, mask, (1, 1), missed="diagnal")
    except ConfigError as error:
        print(error)
"""


def test_an_option_that_is_misspelt_is_refused_and_not_taken_for_another():
    # A process of its own: while the tests run, types are checked, and would refuse it sooner.
    done = subprocess.run([sys.executable, "-c", UNKNOWN_OPTIONS], capture_output=True, text=True, check=True)
    comparison = "comparison = '=>' found, one of >, >= expected."
    missed = "missed = 'diagnal' found, one of nan, diagonal expected."
    assert done.stdout.splitlines() == [comparison, comparison, missed, missed]


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(AnnotationError, match=r"type uint8 found, bool expected.*labels == 1"):
        to_mask(np.array([0, 255], np.uint8))


def test_not_a_number_is_called_so_and_no_softmax_advised():
    with pytest.raises(ImageError, match=r"^NaN found, probabilities in \[0, 1\] expected, in the map\. Look for"):
        to_probability(np.array([0.5, np.nan]), "the map")


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.1])
def test_a_number_that_is_no_probability_is_refused(value):
    with pytest.raises(ImageError, match=r"probabilities in \[0, 1\] expected, in the map"):
        to_probability(np.array([0.5, value]), "the map")


def test_shapes_that_numpy_would_broadcast_are_refused():
    with pytest.raises((AnnotationError, TypeCheckError)):
        dice(np.ones((4, 4), bool), np.ones((4, 1), bool))
    with pytest.raises(AnnotationError, match=r"Annotations of shape \(2, 4, 1\) found, \(2, 4, 4\) expected"):
        annotations_present(np.ones((2, 4, 1), bool), None, (4, 4))
    with pytest.raises(AnnotationError, match="Resample to the grid"):
        require_shape(np.ones((4, 1)), (4, 4), "A prediction")
