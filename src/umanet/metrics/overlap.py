"""Overlap of a prediction with a truth, or with several annotations.

Masks are boolean and of one class, with any number of spatial axes. Both empty counts as 1, one empty as 0:
read a mean over cases next to the number of such cases.
"""

from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

from umanet.errors import AnnotationError
from umanet.metrics.arrays import (
    annotations_present,
    count_votes,
    require_shape,
    to_mask,
    to_numpy,
    to_probability,
)

Comparison = Literal[">", ">="]

RIGA_TENTHS = (1, 3, 5, 7, 9)
"""Thresholds of the soft Dice on the RIGA data set: 0.1, 0.3, 0.5, 0.7, 0.9."""


def dice(prediction: Bool[Any, "*spatial"], truth: Bool[Any, "*spatial"]) -> float:
    """``2 |A & B| / (|A| + |B|)``, in [0, 1]; both empty 1, one empty 0.

    Reference: L. R. Dice, "Measures of the Amount of Ecologic Association Between Species", Ecology 26, 1945.
        DOI 10.2307/1932409
    """
    return float(_dice(*_sizes(prediction, truth)))


def iou(prediction: Bool[Any, "*spatial"], truth: Bool[Any, "*spatial"]) -> float:
    """``|A & B| / |A | B|`` (Jaccard index), in [0, 1]; both empty 1, one empty 0.

    Reference: P. Jaccard, "The Distribution of the Flora in the Alpine Zone", New Phytologist 11, 1912.
        DOI 10.1111/j.1469-8137.1912.tb05611.x
    """
    return float(_iou(*_sizes(prediction, truth)))


def dice_per_class(
    prediction: Integer[Any, "*spatial"], truth: Integer[Any, "*spatial"], num_classes: int
) -> Float[np.ndarray, " K"]:
    """``dice`` of every class of two label maps, background (index 0) included."""
    return _dice(*_class_sizes(prediction, truth, num_classes))


def iou_per_class(
    prediction: Integer[Any, "*spatial"], truth: Integer[Any, "*spatial"], num_classes: int
) -> Float[np.ndarray, " K"]:
    """``iou`` of every class of two label maps, background (index 0) included."""
    return _iou(*_class_sizes(prediction, truth, num_classes))


def soft_dice(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    *,
    tenths: tuple[int, ...] = RIGA_TENTHS,
    comparison: Comparison = ">",
) -> float:
    """Mean over thresholds ``t`` of ``dice([p > t], [m > t])``, ``m`` the mean of the annotations; in [0, 1].

    It rewards a probability that equals the share of annotators who marked a voxel. Where both are empty at a
    threshold, that threshold counts 1; where one is, 0.

    Args:
        probability: Of one class, in [0, 1]; a boolean mask is taken as zeros and ones.
        annotations: Of the same class.
        present: Who annotated; None for all.
        tenths: Thresholds in tenths. RIGA: 1, 3, 5, 7, 9.
        comparison: ``>`` as in the RIGA protocol, ``>=`` as in MRNet's code. They differ where votes tie,
            as 3 of 6 at 0.5. ``m`` is compared in integers, ``10 * votes > tenths * R``, for no float is 0.1;
            ``p`` is compared with the threshold rounded to the type of ``p``.

    Reference: W. Ji et al., "Learning Calibrated Medical Image Segmentation via Multi-rater Agreement
        Modeling", CVPR 2021. DOI 10.1109/CVPR46437.2021.01216
    """
    return float(_dice(*_level_sizes(probability, annotations, present, tenths, comparison)).mean())


def soft_iou(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    *,
    tenths: tuple[int, ...] = RIGA_TENTHS,
    comparison: Comparison = ">",
) -> float:
    """As ``soft_dice``, with ``iou`` at every threshold."""
    return float(_iou(*_level_sizes(probability, annotations, present, tenths, comparison)).mean())


def mean_dice_over_annotators(
    prediction: Bool[Any, "*spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
) -> float:
    """``(1/R) sum_r dice(prediction, y_r)`` over the annotators present; 1 only where all agree with it."""
    mask = to_mask(prediction)
    masks = annotations_present(annotations, present, mask.shape).reshape(-1, mask.size)
    shared = np.count_nonzero(masks & mask.ravel(), axis=1)
    return float(_dice(shared, np.count_nonzero(mask), np.count_nonzero(masks, axis=1)).mean())


def _dice(shared: Any, first: Any, second: Any) -> np.ndarray:
    return _ratio(2 * shared, first + second)


def _iou(shared: Any, first: Any, second: Any) -> np.ndarray:
    return _ratio(shared, first + second - shared)


def _ratio(part: Any, whole: Any) -> np.ndarray:
    return np.where(whole == 0, 1.0, part / np.maximum(whole, 1))


def _sizes(prediction: Any, truth: Any) -> tuple[Any, Any, Any]:
    first, second = to_mask(prediction), to_mask(truth)
    require_shape(first, second.shape, "A prediction")
    return np.count_nonzero(first & second), np.count_nonzero(first), np.count_nonzero(second)


def _class_sizes(prediction: Any, truth: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = to_numpy(prediction), to_numpy(truth)
    require_shape(first, second.shape, "A prediction")
    for labels in (first, second):
        if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
            raise AnnotationError(
                f"Labels from {labels.min()} to {labels.max()} found, 0 to {num_classes - 1} expected. "
                "Map file values to class indices first."
            )
    pairs = first.astype(np.intp) * num_classes + second
    counts = np.bincount(pairs.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes)
    return counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)


def _level_sizes(
    probability: Any, annotations: Any, present: Any, tenths: tuple[int, ...], comparison: Comparison
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels in both, in the prediction and in the annotations, at every threshold.

    All from one joint histogram of (how many thresholds the probability passes, votes).
    """
    p = to_probability(probability)
    masks = annotations_present(annotations, present, p.shape)
    passes = np.greater if comparison == ">" else np.greater_equal
    levels, most = sorted(tenths), len(masks)
    passed = np.zeros(p.shape, np.uint8)
    for level in levels:
        passed += passes(p, p.dtype.type(level / 10))
    cells = passed.astype(np.intp) * (most + 1) + count_votes(masks)
    shape = (len(levels) + 1, most + 1)
    counts = np.bincount(cells.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    predicted = np.arange(shape[0]) > np.arange(len(levels))[:, None]
    annotated = passes(10 * np.arange(shape[1]), most * np.array(levels)[:, None])
    return (
        np.einsum("tp,pv,tv->t", predicted, counts, annotated),
        predicted @ counts.sum(axis=1),
        annotated @ counts.sum(axis=0),
    )
