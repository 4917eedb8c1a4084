"""Does a score find what it should: wrong voxels by their uncertainty, bad annotations by their quality?"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from umanet.errors import AnnotationError
from umanet.metrics.arrays import require_shape, to_mask, to_numpy


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
    values, marked = to_numpy(score), to_mask(positive)
    require_shape(values, marked.shape, "Scores")
    if np.isnan(values).any():
        raise AnnotationError("A score of NaN found, numbers expected. Leave out items that were not scored.")
    distinct, rank = np.unique(values.ravel(), return_inverse=True)
    # Items of each distinct score, lowest first, as floats: a product of two counts may not fit an integer.
    positives = np.bincount(rank[marked.ravel()], minlength=len(distinct)).astype(np.float64)
    negatives = np.bincount(rank[~marked.ravel()], minlength=len(distinct)).astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)
