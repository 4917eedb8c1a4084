"""Overlap of a prediction with a truth, or with several annotations.

Masks are boolean and of one class, with any number of spatial axes. Both empty counts as 1, one empty as 0:
read a mean over cases next to the number of such cases.
"""

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer

from umanet.errors import AnnotationError, ConfigError
from umanet.metrics.arrays import (
    annotations_present,
    count_votes,
    require_known,
    require_shape,
    to_mask,
    to_numpy,
    to_probability,
)

Comparison = Literal[">", ">="]

RIGA_TENTHS = (1, 3, 5, 7, 9)
"""Thresholds of the soft Dice on the RIGA data set: 0.1, 0.3, 0.5, 0.7, 0.9."""

QUBIQ_TENTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
"""Thresholds of the QUBIQ challenge: 0.1, 0.2 ... 0.9."""

BLOCK = 2**15
"""Voxels counted at once: bounds the memory, and keeps intermediate numbers in the processor's cache."""

HISTOGRAM_BLOCK = 2**16
"""Likewise, where a voxel is a byte or four."""


def dice(prediction: Bool[Any, "*spatial"], truth: Bool[Any, "*spatial"]) -> float:
    """``2 |A & B| / (|A| + |B|)``, in [0, 1]; both empty 1, one empty 0.

    Reference: L. R. Dice, "Measures of the Amount of Ecologic Association Between Species", Ecology 26, 1945.
        DOI 10.2307/1932409
    """
    return float(dice_of_sizes(*_sizes(prediction, truth)))


def iou(prediction: Bool[Any, "*spatial"], truth: Bool[Any, "*spatial"]) -> float:
    """``|A & B| / |A | B|`` (Jaccard index), in [0, 1]; both empty 1, one empty 0.

    Reference: P. Jaccard, "The Distribution of the Flora in the Alpine Zone", New Phytologist 11, 1912.
        DOI 10.1111/j.1469-8137.1912.tb05611.x
    """
    return float(iou_of_sizes(*_sizes(prediction, truth)))


def dice_per_class(
    prediction: Integer[Any, "*spatial"], truth: Integer[Any, "*spatial"], num_classes: int
) -> Float[np.ndarray, " K"]:
    """``2 |A_k & B_k| / (|A_k| + |B_k|)`` for every class k of two label maps, background (index 0) included.

    ``A_k`` are the voxels that the prediction gives to class k, ``B_k`` those of the truth. Both empty 1, one empty 0.

    Raises:
        AnnotationError: A label has no class, or the shapes differ.

    Reference: as for ``dice``; by class, A. A. Taha, A. Hanbury, "Metrics for Evaluating 3D Medical Image
        Segmentation", BMC Medical Imaging 15, 2015. DOI 10.1186/s12880-015-0068-x
    """
    return dice_of_sizes(*_class_sizes(prediction, truth, num_classes))


def iou_per_class(
    prediction: Integer[Any, "*spatial"], truth: Integer[Any, "*spatial"], num_classes: int
) -> Float[np.ndarray, " K"]:
    """``|A_k & B_k| / |A_k | B_k|`` for every class k of two label maps, background (index 0) included.

    Both empty 1, one empty 0. Letters and errors as for ``dice_per_class``.

    Reference: as for ``iou``; by class, A. A. Taha, A. Hanbury, "Metrics for Evaluating 3D Medical Image
        Segmentation", BMC Medical Imaging 15, 2015. DOI 10.1186/s12880-015-0068-x
    """
    return iou_of_sizes(*_class_sizes(prediction, truth, num_classes))


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

    Raises:
        ImageError: A probability is NaN or outside [0, 1].
        AnnotationError: No annotator is present, or the arrays do not fit.
        ConfigError: ``comparison`` is unknown, or ``tenths`` are none or not whole numbers from 0 to 10.

    Reference: W. Ji et al., "Learning Calibrated Medical Image Segmentation via Multi-rater Agreement
        Modeling", CVPR 2021. DOI 10.1109/CVPR46437.2021.01216
    """
    return float(dice_of_sizes(*_level_sizes(probability, annotations, present, tenths, comparison)).mean())


def soft_iou(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    *,
    tenths: tuple[int, ...] = RIGA_TENTHS,
    comparison: Comparison = ">",
) -> float:
    """As ``soft_dice``, with ``iou`` at every threshold; arguments, errors and source too."""
    return float(iou_of_sizes(*_level_sizes(probability, annotations, present, tenths, comparison)).mean())


def qubiq_score(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
) -> float:
    """Mean over ``t = 0.1, 0.2 ... 0.9`` of ``dice([p >= t], [m >= t])``, ``m`` the mean of the annotations.

    In [0, 1]: ``soft_dice`` with nine thresholds that belong to the masks. The challenge takes the mean over the
    cases of a task, then over tasks; scores that used bands ``t <= m < t + 0.1`` are far lower.

    Reference: H. B. Li et al., "QUBIQ: Uncertainty Quantification for Biomedical Image Segmentation
        Challenge", 2024. DOI 10.48550/arXiv.2405.18435
    """
    return soft_dice(probability, annotations, present, tenths=QUBIQ_TENTHS, comparison=">=")


def mean_dice_over_annotators(
    prediction: Bool[Any, "*spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
) -> float:
    """``(1/R) sum_r dice(prediction, y_r)`` over the annotators present, in [0, 1]; 1 only where all agree with it.

    Each annotator weighs the same. Where annotator and prediction are empty that annotator counts 1, where one is, 0.

    Raises:
        AnnotationError: No annotator is present, or the arrays do not fit.

    Reference: that of ``dice``; to take its mean over annotators needs none.
    """
    mask = to_mask(prediction)
    masks = annotations_present(annotations, present, mask.shape)
    return float(dice_of_sizes(_each_size(masks & mask), np.count_nonzero(mask), _each_size(masks)).mean())


def personalised_dice(
    predictions: Bool[Any, "R *spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    *,
    identified: bool = True,
) -> float:
    """``(1/R) sum_r dice(prediction for annotator r, y_r)`` over the annotators present, in [0, 1].

    Args:
        predictions: What a method expects of each annotator. Those for absent annotators are not looked at.
        annotations: In the same order.
        present: Who annotated; None for all.
        identified: False where an annotator's name is not one person across cases.

    Raises:
        AnnotationError: The annotators are not identified, none is present, or the arrays do not fit.

    Reference: Y. Wu et al., "Diversified and Personalized Multi-rater Medical Image Segmentation", CVPR 2024.
        DOI 10.48550/arXiv.2403.13417
    """
    if not identified:
        raise AnnotationError(
            "Anonymous annotators found, identified ones expected by a personalised Dice. "
            "Use mean_dice_over_annotators or dice_match."
        )
    expected, masks = to_mask(predictions), to_mask(annotations)
    require_shape(expected, masks.shape, "Predictions")
    expected, masks = (annotations_present(x, present, masks.shape[1:]) for x in (expected, masks))
    return float(dice_of_sizes(_each_size(expected & masks), _each_size(expected), _each_size(masks)).mean())


def dice_of_sizes(shared: Any, first: Any, second: Any) -> np.ndarray:
    """``dice`` from the voxels that two masks share and the voxels of each; arrays broadcast."""
    return _ratio(2 * shared, first + second)


def iou_of_sizes(shared: Any, first: Any, second: Any) -> np.ndarray:
    """``iou`` from the voxels that two masks share and the voxels of each; arrays broadcast."""
    return _ratio(shared, first + second - shared)


def shared_voxels(*stacks: Bool[np.ndarray, "_ *spatial"]) -> Int64[np.ndarray, "n n"]:
    """Voxels that each two of all masks share, the stacks one after another; on the diagonal, the size of each.

    One matrix product of the flattened masks, over the voxels where they differ: those where all or none are
    set are counted once for all pairs.
    """
    flat = [stack.reshape(len(stack), -1) for stack in stacks]
    number = sum(map(len, flat))
    shared = np.zeros((number, number), np.int64)
    for start in range(0, flat[0].shape[1], BLOCK):
        masks = np.concatenate([stack[:, start : start + BLOCK] for stack in flat])
        votes = count_votes(masks)
        # Exact: no count of a block reaches 2^24, where single precision ends.
        varying = masks[:, (votes > 0) & (votes < number)].astype(np.float32)
        shared += (varying @ varying.T).astype(np.int64) + np.count_nonzero(votes == number)
    return shared


def require_labels(labels: np.ndarray, num_classes: int) -> None:
    """Refuse what is no class index.

    Raises:
        AnnotationError: Another dtype than integers, or a value outside 0 to ``num_classes - 1``.
    """
    if labels.dtype.kind not in "iu":
        raise AnnotationError(
            f"Labels of type {labels.dtype} found, integer class indices expected. Convert them: mask.astype(int)."
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise AnnotationError(
            f"Labels from {labels.min()} to {labels.max()} found, 0 to {num_classes - 1} expected. "
            "Map file values to class indices first."
        )


def _ratio(part: Any, whole: Any) -> np.ndarray:
    return np.where(whole == 0, 1.0, part / np.maximum(whole, 1))


def _sizes(prediction: Any, truth: Any) -> tuple[Any, Any, Any]:
    first, second = to_mask(prediction), to_mask(truth)
    require_shape(first, second.shape, "A prediction")
    return np.count_nonzero(first & second), np.count_nonzero(first), np.count_nonzero(second)


def _each_size(masks: Bool[np.ndarray, "n *spatial"]) -> Int64[np.ndarray, " n"]:
    # With an axis, count_nonzero adds up 64-bit integers, which takes nine times as long.
    return np.array([np.count_nonzero(mask) for mask in masks], np.int64)


def _class_sizes(prediction: Any, truth: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = to_numpy(prediction), to_numpy(truth)
    require_shape(first, second.shape, "A prediction")
    for labels in (first, second):
        require_labels(labels, num_classes)
    # The smallest integers that hold a pair's number: in bytes, several times faster than in 64 bits.
    kind = np.min_scalar_type(num_classes**2)
    pairs = first.astype(kind) * kind.type(num_classes) + second.astype(kind)
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
    require_known("comparison", comparison, get_args(Comparison))
    if not tenths or not set(tenths) <= set(range(11)):
        raise ConfigError(f"tenths = {tenths} found, whole numbers from 0 to 10 expected: 5 is the threshold 0.5.")
    passes = np.greater if comparison == ">" else np.greater_equal
    levels, most = sorted(tenths), len(masks)
    thresholds = (np.array(levels) / 10).astype(p.dtype)
    counts = _joint_histogram(p.ravel(), passes, thresholds, masks.reshape(most, -1))
    predicted = np.arange(len(counts)) > np.arange(len(levels))[:, None]
    annotated = passes(10 * np.arange(most + 1), most * np.array(levels)[:, None])
    return (
        np.einsum("tp,pv,tv->t", predicted, counts, annotated),
        predicted @ counts.sum(axis=1),
        annotated @ counts.sum(axis=0),
    )


def _joint_histogram(
    p: Float[np.ndarray, " N"],
    passes: np.ufunc,
    thresholds: Float[np.ndarray, " T"],
    masks: Bool[np.ndarray, "R N"],
) -> Int64[np.ndarray, "T+1 V"]:
    """Voxels by (how many thresholds the probability passes, votes); of (0, 0), which nothing asks for, only some."""
    most = len(masks)
    shape = (len(thresholds) + 1, most + 1)
    counts = np.zeros(shape[0] * shape[1], np.int64)
    # The smallest integers that hold a cell's number: in bytes, several times faster than in 64 bits.
    kind = np.min_scalar_type(counts.size).type
    for start in range(0, p.size, HISTOGRAM_BLOCK):
        block = slice(start, start + HISTOGRAM_BLOCK)
        here, said = p[block], count_votes(masks[:, block])
        # Most voxels pass no threshold on either side, or all: then it pays to look no further at these.
        low = passes(here, thresholds[0])
        certain = np.count_nonzero(low)
        if not certain and not said.any():
            continue
        mixed = said != low.view(np.uint8) * said.dtype.type(most)
        mixed |= low ^ passes(here, thresholds[-1])
        if 2 * np.count_nonzero(mixed) < mixed.size:
            here, said = here[mixed], said[mixed]
        passed = np.add.reduce(passes(here, thresholds[:, None]).view(np.uint8), axis=0, dtype=np.uint8)
        found = np.bincount(passed.astype(kind) * kind(shape[1]) + said, minlength=counts.size)
        found[-1] += certain - np.count_nonzero(passed)
        counts += found
    return counts.reshape(shape)
