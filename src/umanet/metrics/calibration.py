"""Does a probability mean what it says? Reliability of the probability of one class against its annotations.

The target is the truth, the mean of the annotations, or the annotations themselves. The background, easy and
large, dominates numbers over the whole image: ``neighbourhood`` gives the region where they mean something.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage

from umanet.metrics.arrays import require_shape, to_mask, to_numpy, to_probability


def expected_calibration_error(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    *,
    bins: int = 15,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """``sum_b (n_b / n) |mean of p in b - mean of target in b|``, in [0, 1]; 0 is perfect.

    Bins have equal width and hold their lower edge, the last one both edges.

    Args:
        probability: Of one class, in [0, 1].
        target: ``(*S)``: a mask, or the mean of the annotations present, in [0, 1]. ``(R, *S)``: single
            annotations, all present, every one an observation; for this metric the same as their mean.
        bins: Number of bins.
        region: Voxels that count; None for the whole image. Nothing in it: NaN.

    Reference: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
        DOI 10.48550/arXiv.1706.04599
        M. P. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
        DOI 10.1609/aaai.v29i1.9602
    """
    p, y = _observations(probability, target, region)
    if p.size == 0:
        return float("nan")
    cell = np.minimum((p * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(cell, weights=p - y.mean(axis=0), minlength=bins)
    return float(np.abs(gaps).sum() / p.size)


def brier_score(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """Mean of ``(p - target)^2`` of one class, in [0, 1]; 0 is perfect.

    Against single annotations the least that can be reached is their disagreement, the mean of ``m (1 - m)``;
    against their mean ``m`` it is 0. Arguments as for ``expected_calibration_error``. Empty region: NaN.

    Reference: G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
        Review 78, 1950. DOI 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2
    """
    p, y = _observations(probability, target, region)
    return float(np.square(p - y).mean()) if p.size else float("nan")


def neighbourhood(*masks: Bool[Any, "*spatial"], margin: int) -> Bool[np.ndarray, "*spatial"]:
    """Voxels at most ``margin`` voxels along every axis from any of the masks."""
    union = np.logical_or.reduce([to_mask(mask) for mask in masks])
    return ndimage.maximum_filter(union, size=2 * margin + 1, mode="constant")


def _observations(probability: Any, target: Any, region: Any) -> tuple[np.ndarray, np.ndarray]:
    """``p (N)`` and ``target (R or 1, N)`` of the voxels that count, in double precision."""
    p, y = to_probability(probability), to_probability(to_numpy(target))
    y = y[None] if y.ndim == p.ndim else y
    require_shape(y, (len(y), *p.shape), "A target")
    if region is not None:
        inside = to_mask(region)
        require_shape(inside, p.shape, "A region")
        p, y = p[inside], y[:, inside]
    return p.ravel().astype(np.float64), y.reshape(len(y), -1).astype(np.float64)
