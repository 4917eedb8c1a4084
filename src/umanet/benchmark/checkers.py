"""What finds bad annotations without learning from all of them: a quality in [0, 1] per annotation of one case.

High is good, NaN is for who is absent. None of them sees the truth.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer

from umanet.metrics.agreement import against_others
from umanet.types import IGNORE

TEMPERATURE = 0.1
"""Of ``cleanlab_quality``: that of the article and of the package."""


def agreement_quality(
    annotations: Integer[Any, "R *spatial"], present: Bool[Any, " R"], num_classes: int
) -> Float64[np.ndarray, " R"]:
    """Dice of each annotation with the majority vote of the others, mean over foreground classes.

    A class that neither has counts 1. NaN also where there is no other annotation. Voxels of which the annotation, or
    all others, say nothing do not count.

    Args:
        annotations: Labels, or ``IGNORE``. Those of absent annotators may hold anything.
        present: Who annotated.
        num_classes: Background included.

    Raises:
        AnnotationError: As ``against_others``.

    Reference: A. A. Taha, A. Hanbury, "Metrics for Evaluating 3D Medical Image Segmentation", BMC Medical Imaging 15,
        2015. DOI 10.1186/s12880-015-0068-x
    """
    return against_others(annotations, present, num_classes).dice[:, 1:].mean(axis=1)


def staple_quality(confusion: Float[Any, "R K K"], present: Bool[Any, " R"]) -> Float64[np.ndarray, " R"]:
    """Mean over classes of the probability that the annotator says the class where it is true, as STAPLE has it.

    For two classes that is ``(sensitivity + specificity) / 2``. Classes without evidence (rows of zeros) do not count.

    Args:
        confusion: ``[r, i, j]``: P(annotator r says class j | the truth is class i), of one case.
        present: Who annotated.

    Reference: S. K. Warfield, K. H. Zou, W. M. Wells, "Simultaneous Truth and Performance Level Estimation (STAPLE)",
        IEEE Transactions on Medical Imaging 23, 2004. DOI 10.1109/TMI.2004.828354
    """
    matrices = np.asarray(confusion, np.float64)
    known = (matrices.sum(axis=2) > 0) & np.asarray(present)[:, None]
    right = np.where(known, matrices.diagonal(axis1=1, axis2=2), 0).sum(axis=1)
    return np.divide(right, known.sum(axis=1), out=np.full(len(matrices), np.nan), where=known.any(axis=1))


def label_probability(
    annotations: Integer[Any, "R *spatial"], probabilities: Float[Any, "K *spatial"]
) -> Float64[np.ndarray, "R *spatial"]:
    """The probability that is given to each annotation's label, voxel by voxel; NaN where it is ``IGNORE``."""
    labels = np.asarray(annotations).astype(np.int64)
    known = labels != IGNORE
    given = np.asarray(probabilities, np.float64)
    own = np.stack([np.take_along_axis(given, one[None], axis=0)[0] for one in np.where(known, labels, 0)])
    return np.where(known, own, np.nan)


def cleanlab_quality(
    annotations: Integer[Any, "R *spatial"], present: Bool[Any, " R"], probabilities: Float[Any, "K *spatial"]
) -> Float64[np.ndarray, " R"]:
    """Soft minimum over voxels of the probability ``s`` that a network gives to the annotation's label.

    ``sum s softmax((1 - s) / 0.1)``: nearly the mean over voxels where the network trusts the annotation least.
    ``IGNORE`` does not count; NaN also where nothing else is left.

    Args:
        annotations: Labels, or ``IGNORE``.
        present: Who annotated.
        probabilities: Out-of-sample: of a network that has not seen the patient.

    Reference: V. Lad, J. Mueller, "Estimating label quality and errors in semantic segmentation data via any model",
        2023. DOI 10.48550/arXiv.2307.05080
    """
    here = np.asarray(present)
    quality = np.full(len(here), np.nan)
    for r in np.flatnonzero(here):
        own = label_probability(np.asarray(annotations)[r][None], probabilities)
        own = own[~np.isnan(own)]
        if own.size:
            weight = np.exp((own.min() - own) / TEMPERATURE)  # the largest is 1: no overflow
            quality[r] = (own * weight).sum() / weight.sum()
    return quality
