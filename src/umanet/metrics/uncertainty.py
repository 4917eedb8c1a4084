"""Does an uncertainty tell where annotators disagree, and which cases to refer?"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from umanet.errors import AnnotationError, ImageError
from umanet.metrics.arrays import annotations_present, count_votes, require_shape, to_mask, to_numpy


def normalised_cross_correlation(
    uncertainty: Shaped[Any, "*spatial"],
    disagreement: Shaped[Any, "*disagreement"],
    present: Bool[Any, " R"] | None = None,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """Pearson correlation over voxels of an uncertainty with the variance of the annotations, in [-1, 1].

    The variance of votes, ``m (1 - m)`` with ``m`` the mean of the annotations, of one class. The unit of the
    uncertainty does not matter. Undefined, so NaN, where either is the same in all voxels: annotators who agree
    everywhere, one annotator, one voxel. (PHiSeg's number of this name correlates cross entropies instead.)

    Args:
        uncertainty: High where annotators should disagree; any finite numbers.
        disagreement: ``(R, *S)``, boolean: the annotations. ``(*S)``, numbers: their variance.
        present: Who annotated; None for all. Only with annotations.
        region: Voxels that count; None for the whole image, which is mostly background that nobody doubts.

    Raises:
        ImageError: NaN or infinity in an array.
        AnnotationError: Shapes differ, nobody is present, or ``present`` is given with a variance.

    Reference: C. F. Baumgartner et al., "PHiSeg: Capturing Uncertainty in Medical Image Segmentation", MICCAI
        2019. DOI 10.1007/978-3-030-32245-8_14
    """
    predicted = to_numpy(uncertainty)
    variance = _variance(to_numpy(disagreement), present, predicted.shape)
    if region is not None:
        inside = to_mask(region)
        require_shape(inside, predicted.shape, "A region")
        predicted, variance = predicted[inside], variance[inside]
    for values, name in ((predicted, "an uncertainty"), (variance, "a variance of annotations")):
        if not np.isfinite(values).all():
            raise ImageError(f"NaN or infinity found in {name}, finite numbers expected. Leave such voxels out.")
    return pearson(predicted.ravel(), variance.ravel())


def risk_coverage(
    uncertainty: Shaped[Any, "*cases"], error: Shaped[Any, "*errors"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Coverage and risk, as the most uncertain of N cases are referred.

    Coverage is ``k / N`` for k = 1 .. N; risk is the mean error of the ``k`` least uncertain cases. Among cases of the
    same uncertainty chance decides: risk is its mean over all their orders.

    Args:
        uncertainty: One number per case, high for cases to refer.
        error: Of the prediction of the case, as ``1 - dice``, or whether it is wrong.

    Raises:
        AnnotationError: NaN, an infinite error, another number of errors than of uncertainties, or more than one of
            each per case.

    Reference: Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
        DOI 10.48550/arXiv.1705.08500
    """
    doubt, errors = to_numpy(uncertainty), to_numpy(error).astype(np.float64)
    if doubt.ndim != 1 or errors.ndim != 1:
        raise AnnotationError(
            f"Uncertainties of shape {doubt.shape} and errors of shape {errors.shape} found, one number per case "
            "expected. Take the mean over the voxels of each case."
        )
    if doubt.shape != errors.shape:
        raise AnnotationError(
            f"{errors.size} errors and {doubt.size} uncertainties found, one of each per case expected. "
            "Leave the same cases out of both."
        )
    if np.isnan(doubt).any() or not np.isfinite(errors).all():
        raise AnnotationError(
            "An uncertainty or an error that is not a number found, numbers expected. Leave such cases out, and count."
        )
    _, group, sizes = np.unique(doubt, return_inverse=True, return_counts=True)
    mean_of_group = np.bincount(group, weights=errors) / sizes
    kept = np.arange(1, len(errors) + 1)
    return kept / len(errors), np.cumsum(np.repeat(mean_of_group, sizes)) / kept


def area_under_risk_coverage(
    uncertainty: Shaped[Any, " N"], error: Shaped[Any, " N"], *, excess: bool = False
) -> float:
    """Mean of the risk over all N coverages (AURC), in the unit of the error; low is good, no case NaN.

    It depends on the mean error as much as on the uncertainty. ``excess`` takes off the AURC of the best possible
    uncertainty, the error itself: 0 is perfect, whatever the errors. Ties, arguments and errors as for
    ``risk_coverage``.

    Reference: Y. Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
        DOI 10.48550/arXiv.1805.08206
    """
    _, risk = risk_coverage(uncertainty, error)
    if risk.size == 0:
        return float("nan")
    _, least = risk_coverage(error, error)
    return float(risk.mean() - least.mean()) if excess else float(risk.mean())


def pearson(first: Shaped[np.ndarray, " N"], second: Shaped[np.ndarray, " N"]) -> float:
    """Correlation of finite numbers, in [-1, 1]; NaN where either is constant."""
    centred = []
    for values in (first.astype(np.float64), second.astype(np.float64)):
        if values.size == 0 or values.min() == values.max():
            return float("nan")
        values = values - values.mean()
        # Tiny numbers may not vanish when squared.
        centred.append(values / np.abs(values).max())
    a, b = centred
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def _variance(disagreement: np.ndarray, present: Any, shape: tuple[int, ...]) -> np.ndarray:
    if disagreement.dtype == np.bool_:
        masks = annotations_present(disagreement, present, shape)
        m = count_votes(masks) / len(masks)
        return m * (1 - m)
    if present is not None:
        raise AnnotationError(
            "A list of present annotators found beside a variance, boolean annotations expected. "
            "Pass the annotations, or leave out the list."
        )
    require_shape(disagreement, shape, "A variance of annotations")
    return disagreement
