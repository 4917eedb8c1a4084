"""Does a score find what it should: wrong voxels by their uncertainty, bad annotations by their quality?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from umanet.errors import AnnotationError
from umanet.metrics.arrays import require_shape, to_mask, to_numpy
from umanet.metrics.uncertainty import pearson

GROSS_ERROR = 0.6
"""An annotation whose Dice with the truth is below this is wrong."""


@dataclass(frozen=True)
class ErrorDetection:
    """How well quality finds wrong annotations. NaN where it cannot be said.

    Attributes:
        auroc: Of low quality for wrong annotations.
        average_precision: Likewise; by chance it is ``positives / items``.
        spearman: Rank correlation of quality with true Dice.
        positives: How many annotations are wrong.
        items: How many there are.
    """

    auroc: float
    average_precision: float
    spearman: float
    positives: int
    items: int


def auroc(score: Shaped[Any, "*items"], positive: Bool[Any, "*items"]) -> float:
    """Probability that a positive item has a higher score than a negative one, in [0, 1]; ties count half.

    Exact: from the ranks, no thresholds. Undefined where all items are positive or all are negative: NaN.

    Args:
        score: High where an item should be positive. Pass ``-quality`` to find bad annotations.
        positive: What the items are.

    Raises:
        AnnotationError: A score is NaN; or the shapes differ.

    Reference: J. A. Hanley, B. J. McNeil, "The Meaning and Use of the Area under a Receiver Operating
        Characteristic (ROC) Curve", Radiology 143, 1982. DOI 10.1148/radiology.143.1.7063747
    """
    positives, below, through, negatives = _counts_by_score(score, positive)
    pairs = positives.sum() * negatives
    return float((positives * (below + through) / 2).sum() / pairs) if pairs else float("nan")


def average_precision(score: Shaped[Any, "*items"], positive: Bool[Any, "*items"]) -> float:
    """Precision at every distinct score from the highest down, weighted by the recall that it adds, in [0, 1].

    ``sum_t (recall_t - recall_(t-1)) precision_t``: steps, no interpolation, as scikit-learn has it. Items of the
    same score are taken together, so that their order does not matter. By chance it is the share of positives:
    state that beside it. No positive item: NaN.

    Args:
        score: High where an item should be positive. Pass ``-quality`` to find bad annotations.
        positive: What the items are.

    Raises:
        AnnotationError: A score is NaN; or the shapes differ.

    Reference: J. Davis, M. Goadrich, "The Relationship Between Precision-Recall and ROC Curves", ICML 2006.
        DOI 10.1145/1143844.1143874
    """
    positives, below, _, negatives = _counts_by_score(score, positive)
    if positives.sum() == 0:
        return float("nan")
    found = np.cumsum(positives[::-1])[::-1]
    precision = found / (found + negatives - below)
    return float((positives * precision).sum() / positives.sum())


def error_detection(
    quality: Shaped[Any, "*items"], true_dice: Float[Any, "*items"], threshold: float = GROSS_ERROR
) -> ErrorDetection:
    """How well the quality of annotations finds those with a Dice below ``threshold`` with the truth.

    Only where the truth is known: simulation. A Dice equal to the threshold is not wrong. AUROC and average
    precision as by the functions of that name; Spearman's correlation gives ties their mean rank, NaN where
    either is constant.

    Args:
        quality: High where an annotation is good, in any unit. Leave absent annotations out.
        true_dice: Of the annotation with the truth, in [0, 1].
        threshold: Below it an annotation is wrong.

    Raises:
        AnnotationError: A quality is NaN, a Dice is not in [0, 1], or the shapes differ.

    Reference: C. Spearman, "The Proof and Measurement of Association between Two Things", American Journal of
        Psychology 15, 1904. DOI 10.2307/1412159
    """
    values, truth = to_numpy(quality), to_numpy(true_dice)
    # Written so that NaN fails the comparison.
    if truth.size and not (truth.min() >= 0 and truth.max() <= 1):
        raise AnnotationError(
            f"A true Dice from {truth.min():g} to {truth.max():g} found, 0 to 1 expected. "
            "Leave out annotations without a truth."
        )
    wrong, doubt = truth < threshold, -values.astype(np.float64)
    return ErrorDetection(
        auroc=auroc(doubt, wrong),
        average_precision=average_precision(doubt, wrong),
        spearman=pearson(_ranks(values), _ranks(truth)),
        positives=int(wrong.sum()),
        items=wrong.size,
    )


def _counts_by_score(
    score: Any, positive: Any
) -> tuple[Float[np.ndarray, " scores"], Float[np.ndarray, " scores"], Float[np.ndarray, " scores"], float]:
    """At each distinct score of a positive item, lowest first: positive items, and negative ones below it and up to it.

    Last the number of negative items. As floats: a product of two counts may not fit an integer.
    """
    values, marked = to_numpy(score), to_mask(positive)
    require_shape(values, marked.shape, "Scores")
    if np.isnan(values).any():
        raise AnnotationError("A score of NaN found, numbers expected. Leave out items that were not scored.")
    # Two sorted halves: several times faster than ranks of all, which have to remember where each item was.
    scores, positives = np.unique(values[marked], return_counts=True)
    others = np.sort(values[~marked])
    below, through = (np.searchsorted(others, scores, side=side).astype(np.float64) for side in ("left", "right"))
    return positives.astype(np.float64), below, through, float(len(others))


def _ranks(values: Shaped[np.ndarray, "*items"]) -> Float[np.ndarray, " N"]:
    """From 1; ties have their mean rank."""
    _, group, sizes = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]
