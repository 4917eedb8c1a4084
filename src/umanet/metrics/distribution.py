"""Do drawn samples vary as the annotations do? Overlap of every sample with every annotation, and within each set.

Masks are boolean and of one class, with any number of spatial axes. Both empty: Dice and IoU 1, distance 0. Each
function makes one matrix product (``shared_voxels``); ``distribution_scores`` makes one for all of them.
The number of samples ``M`` changes every number here: state it.
"""

from math import lcm
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from umanet.errors import AnnotationError
from umanet.metrics.arrays import annotations_present, require_known, to_mask
from umanet.metrics.overlap import dice_of_sizes, iou_of_sizes, shared_voxels

STATISTICS = ("v", "u")
DIRECTIONS = ("annotations", "samples")


def generalized_energy_distance(
    samples: Bool[Any, "M *spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    *,
    statistic: str = "v",
) -> float:
    """``2 mean d(s_i, y_r) - mean d(s_i, s_i') - mean d(y_r, y_r')``, squared GED with ``d = 1 - iou``; 0 is best.

    Args:
        samples: Drawn from the prediction.
        annotations: Of the same class.
        present: Who annotated; None for all.
        statistic: ``v``: means over all pairs, each mask with itself included; in [0, 2], but above 0 even where
            samples and annotations come from one distribution. ``u``: without these pairs, which makes it
            unbiased; in [-2, 2]; NaN with fewer than two samples or annotations.

    Raises:
        AnnotationError: No sample, no annotator present, or the arrays do not fit.
        ConfigError: ``statistic`` is unknown.

    Reference: S. Kohl et al., "A Probabilistic U-Net for Segmentation of Ambiguous Images", NeurIPS 2018.
        DOI 10.48550/arXiv.1806.05034
        G. J. Székely, M. L. Rizzo, "Energy Statistics: A Class of Statistics Based on Distances", Journal of
        Statistical Planning and Inference 143, 2013. DOI 10.1016/j.jspi.2013.03.018
    """
    require_known("statistic", statistic, STATISTICS)
    _, iou, number = _overlaps(samples, annotations, present)
    return _energy_distance(iou, number, statistic)


def dice_max(
    samples: Bool[Any, "M *spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    *,
    direction: str = "annotations",
) -> float:
    """Mean over the masks of one set of the Dice with the best mask of the other, in [0, 1]; print both directions.

    Args:
        samples: Drawn from the prediction.
        annotations: Of the same class.
        present: Who annotated; None for all.
        direction: ``annotations``: ``mean_r max_i dice(s_i, y_r)``, is every annotation among the samples?
            It never falls with more samples. ``samples``: ``mean_i max_r dice(s_i, y_r)``, is every sample like an
            annotation? It says nothing of annotations that no sample resembles.

    Raises:
        AnnotationError: No sample, no annotator present, or the arrays do not fit.
        ConfigError: ``direction`` is unknown.

    Reference: Y. Wu et al., "Diversified and Personalized Multi-rater Medical Image Segmentation", CVPR 2024.
        DOI 10.48550/arXiv.2403.13417
    """
    require_known("direction", direction, DIRECTIONS)
    dice, _, number = _overlaps(samples, annotations, present)
    return _dice_max(dice[:number, number:], direction)


def dice_match(
    samples: Bool[Any, "M *spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
) -> float:
    """Mean Dice of the best one-to-one matching of samples and annotations, in [0, 1].

    The ``min(M, R)`` pairs with the greatest sum, by linear assignment. Masks left over in the larger set do not
    count: with ``M > R`` it never falls with more samples, as ``dice_max``.

    Raises:
        AnnotationError: No sample, no annotator present, or the arrays do not fit.

    Reference: Y. Wu et al., "Diversified and Personalized Multi-rater Medical Image Segmentation", CVPR 2024.
        DOI 10.48550/arXiv.2403.13417
    """
    dice, _, number = _overlaps(samples, annotations, present)
    return _best_matching(dice[:number, number:])


def hungarian_matched_iou(
    samples: Bool[Any, "M *spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
) -> float:
    """Mean IoU of the best matching after both sets are repeated to ``lcm(M, R)`` masks, in [0, 1].

    Every sample and every annotation weighs as much as the others of its set, and none is left over. Only numbers
    are repeated, not masks.

    Raises:
        AnnotationError: No sample, no annotator present, or the arrays do not fit.

    Reference: S. Kohl et al., "A Hierarchical Probabilistic U-Net for Modeling Multi-Scale Ambiguities", 2019.
        DOI 10.48550/arXiv.1905.13077
    """
    _, iou, number = _overlaps(samples, annotations, present)
    return _best_matching(_repeated(iou[:number, number:]))


def distribution_scores(
    samples: Bool[Any, "M *spatial"],
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
) -> dict[str, float]:
    """All of this file at the price of one: ``ged`` and ``ged_u`` (V- and U-statistic), ``dice_max_annotations``,
    ``dice_max_samples``, ``dice_match``, ``hm_iou``.

    Formulas as for ``generalized_energy_distance`` (``statistic`` "v" and "u"), ``dice_max`` (``direction``
    "annotations" and "samples"), ``dice_match`` and ``hungarian_matched_iou``.

    Raises:
        AnnotationError: No sample, no annotator present, or the arrays do not fit.

    Reference: those of these functions.
    """
    dice, iou, number = _overlaps(samples, annotations, present)
    crossed = dice[:number, number:]
    return {
        "ged": _energy_distance(iou, number, "v"),
        "ged_u": _energy_distance(iou, number, "u"),
        "dice_max_annotations": _dice_max(crossed, "annotations"),
        "dice_max_samples": _dice_max(crossed, "samples"),
        "dice_match": _best_matching(crossed),
        "hm_iou": _best_matching(_repeated(iou[:number, number:])),
    }


def _overlaps(
    samples: Any, annotations: Any, present: Any
) -> tuple[Float[np.ndarray, "N N"], Float[np.ndarray, "N N"], int]:
    """Dice and IoU of all masks with all, samples first, and the number of samples."""
    drawn = to_mask(samples)
    if drawn.ndim == 0 or len(drawn) == 0:
        raise AnnotationError(f"Samples of shape {drawn.shape} found, (samples, *spatial) with at least one expected.")
    shared = shared_voxels(drawn, annotations_present(annotations, present, drawn.shape[1:]))
    sizes = shared.diagonal()
    return dice_of_sizes(shared, sizes[:, None], sizes), iou_of_sizes(shared, sizes[:, None], sizes), len(drawn)


def _energy_distance(iou: Float[np.ndarray, "N N"], number: int, statistic: str) -> float:
    distance = 1 - iou
    crossed = distance[:number, number:].mean()
    within = [_mean_within(d, statistic) for d in (distance[:number, :number], distance[number:, number:])]
    result = 2 * crossed - sum(within)
    # The IoU is a positive definite kernel: below 0 the V-statistic is rounding.
    return float(max(result, 0.0) if statistic == "v" else result)


def _mean_within(distance: Float[np.ndarray, "N N"], statistic: str) -> float:
    number = len(distance)
    pairs = number**2 if statistic == "v" else number * (number - 1)
    return float(distance.sum() / pairs) if pairs else float("nan")


def _dice_max(dice: Float[np.ndarray, "M R"], direction: str) -> float:
    return float(dice.max(axis=0 if direction == "annotations" else 1).mean())


def _best_matching(overlap: Float[np.ndarray, "N P"]) -> float:
    return float(overlap[linear_sum_assignment(overlap, maximize=True)].mean())


def _repeated(overlap: Float[np.ndarray, "M R"]) -> Float[np.ndarray, "L L"]:
    both = lcm(*overlap.shape)
    return overlap.repeat(both // len(overlap), axis=0).repeat(both // overlap.shape[1], axis=1)
