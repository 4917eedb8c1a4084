"""Does a probability mean what it says? Reliability of the probability of one class against its annotations.

The target is the truth, the mean of the annotations, or the annotations themselves. The background, easy and
large, dominates numbers over the whole image: ``neighbourhood`` gives the region where they mean something.
Of several classes one is measured at a time, its probability against its own masks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from scipy import ndimage

from umanet.errors import AnnotationError, ConfigError
from umanet.metrics.arrays import count_votes, require_shape, to_mask, to_numpy, to_probability

BINS = 15
CLIP = 1e-7
"""About what 32-bit floats resolve below 1: a softmax reaches 1 without being that sure."""


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What a reliability diagram shows, as sums: curves of several cases add up to that of all their voxels.

    Attributes:
        edges: Of the bins, from 0 to 1.
        counts: Voxels in every bin, each once, however many annotations it has.
        sum_probability: Of the voxels in every bin.
        sum_target: Likewise; of several annotations their mean.
    """

    edges: Float[np.ndarray, " edges"]
    counts: Integer[np.ndarray, " bins"]
    sum_probability: Float[np.ndarray, " bins"]
    sum_target: Float[np.ndarray, " bins"]

    @property
    def mean_probability(self) -> Float[np.ndarray, " bins"]:
        """The horizontal axis; NaN in an empty bin."""
        return self._mean(self.sum_probability)

    @property
    def mean_target(self) -> Float[np.ndarray, " bins"]:
        """The vertical axis; NaN in an empty bin."""
        return self._mean(self.sum_target)

    @property
    def expected_calibration_error(self) -> float:
        """NaN where there are no voxels."""
        size = self.counts.sum()
        return float(np.abs(self.sum_probability - self.sum_target).sum() / size) if size else float("nan")

    def __add__(self, other: "ReliabilityCurve") -> "ReliabilityCurve":
        if not np.array_equal(self.edges, other.edges):
            raise ConfigError(
                f"Curves of {len(self.counts)} and {len(other.counts)} bins found, the same bins expected. "
                "Compute both with the same bins."
            )
        return ReliabilityCurve(
            self.edges,
            self.counts + other.counts,
            self.sum_probability + other.sum_probability,
            self.sum_target + other.sum_target,
        )

    def _mean(self, sums: Float[np.ndarray, " bins"]) -> Float[np.ndarray, " bins"]:
        return np.divide(sums, self.counts, out=np.full(len(sums), np.nan), where=self.counts > 0)


def reliability_curve(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    present: Bool[Any, " R"] | None = None,
    *,
    bins: int = BINS,
    region: Bool[Any, "*spatial"] | None = None,
) -> ReliabilityCurve:
    """Counts, mean probability and mean target in bins of the probability; add the curves of several cases.

    Bins have equal width and hold their lower edge, the last one both edges. Edges are rounded to the type of the
    probability: 0.7 in 32 bits lies in the bin above the edge 0.7.

    Args:
        probability: Of one class, in [0, 1].
        target: ``(*S)``: a mask, or the mean of the annotations present, in [0, 1]. ``(R, *S)``: single
            annotations, every one an observation; for this curve the same as their mean.
        present: Who annotated; None for all. Only with single annotations.
        bins: Number of bins.
        region: Voxels that count; None for the whole image.

    Raises:
        ConfigError: No bins.
        ImageError: A probability, or a target, is NaN or outside [0, 1].
        AnnotationError: Shapes differ, nobody is present, or ``present`` is given without single annotations.

    Reference: A. Niculescu-Mizil, R. Caruana, "Predicting Good Probabilities with Supervised Learning", ICML 2005.
        DOI 10.1145/1102351.1102430
    """
    _require_bins(bins)
    p, y = _observations(probability, target, present, region)
    edges = np.arange(bins + 1) / bins
    cell = np.searchsorted(edges[1:-1].astype(p.dtype), p, side="right")
    return ReliabilityCurve(
        edges,
        np.bincount(cell, minlength=bins),
        # Without voxels, bincount answers in integers.
        np.bincount(cell, weights=p, minlength=bins).astype(np.float64),
        np.bincount(cell, weights=_mean(y), minlength=bins).astype(np.float64),
    )


def expected_calibration_error(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    present: Bool[Any, " R"] | None = None,
    *,
    bins: int = BINS,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """``sum_b (n_b / n) |mean of p in b - mean of target in b|``, in [0, 1]; 0 is perfect.

    Of the bins of ``reliability_curve``, with its arguments and errors. Nothing in the region: NaN.

    Reference: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
        DOI 10.48550/arXiv.1706.04599
        M. P. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
        DOI 10.1609/aaai.v29i1.9602
    """
    return reliability_curve(probability, target, present, bins=bins, region=region).expected_calibration_error


def adaptive_calibration_error(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    present: Bool[Any, " R"] | None = None,
    *,
    bins: int = BINS,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """``(1 / B) sum_b |mean of p in b - mean of target in b|`` over bins of equal mass, in [0, 1]; 0 is perfect.

    The voxels, sorted by probability, are cut into B parts of exactly ``n / B``: a voxel, or a group of voxels of
    the same probability, across a cut is shared between the bins in proportion, each part with the mean target of
    the group. So neither the order of the voxels nor a remainder of ``n / B`` matters, but a probability of few
    values (a mask) is measured in bins that are all alike.

    Arguments and errors as for ``reliability_curve``. Nothing in the region: NaN.

    Reference: J. Nixon et al., "Measuring Calibration in Deep Learning", CVPR Workshops 2019.
        DOI 10.48550/arXiv.1904.01685
    """
    _require_bins(bins)
    p, y = _observations(probability, target, present, region)
    if p.size == 0:
        return float("nan")
    # Stable for its speed only: it takes a third of the time where runs of p are sorted already.
    order = np.argsort(p, kind="stable")
    p, gap = p[order], (p - _mean(y))[order]
    # Between the ends of groups of the same probability the cumulative gap is a straight line: ties are shared.
    ends = np.append(np.flatnonzero(p[1:] != p[:-1]) + 1, p.size)
    gathered = np.concatenate([[0.0], np.cumsum(gap)[ends - 1]])
    at_cuts = np.interp(np.linspace(0, p.size, bins + 1), np.concatenate([[0], ends]), gathered)
    return float(np.abs(np.diff(at_cuts)).sum() / p.size)


def brier_score(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    present: Bool[Any, " R"] | None = None,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """Mean of ``(p - target)^2`` of one class, in [0, 1]; 0 is perfect.

    Against single annotations the least that can be reached is their disagreement, the mean of ``m (1 - m)``;
    against their mean ``m`` it is 0. Arguments and errors as for ``reliability_curve``. Empty region: NaN.

    Reference: G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
        Review 78, 1950. DOI 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2
    """
    p, y = _observations(probability, target, present, region)
    if p.size == 0:
        return float("nan")
    m = _mean(y)
    disagreement = m * (1 - m) if y.dtype == np.bool_ else y.var(axis=0)
    return float((np.square(p - m) + disagreement).mean())


def negative_log_likelihood(
    probability: Float[Any, "*spatial"] | Bool[Any, "*spatial"],
    target: Shaped[Any, "*target"],
    present: Bool[Any, " R"] | None = None,
    *,
    region: Bool[Any, "*spatial"] | None = None,
    clip: float = CLIP,
) -> float:
    """Mean of ``-(target ln p + (1 - target) ln(1 - p))`` of one class, in nats, 0 or more.

    ``p`` is clipped to [clip, 1 - clip]: certain and wrong costs ``-ln clip``, 16.1 by default, and certain and right
    ``clip``. Single annotations give the same as their mean ``m``; the least that can be reached is the entropy of
    ``m``, 0 only where all agree. Arguments and errors as for ``reliability_curve``. Empty region: NaN.

    Reference: T. Gneiting, A. E. Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", Journal of
        the American Statistical Association 102, 2007. DOI 10.1198/016214506000001437
    """
    if not 0 < clip < 0.5:
        raise ConfigError(f"A clip of {clip} found, a number between 0 and 0.5 expected. The usual one is {CLIP}.")
    p, y = _observations(probability, target, present, region)
    if p.size == 0:
        return float("nan")
    m = _mean(y)
    p = np.clip(p.astype(np.float64), clip, 1 - clip)
    return float(-(m * np.log(p) + (1 - m) * np.log1p(-p)).mean())


def neighbourhood(*masks: Bool[Any, "*spatial"], margin: int) -> Bool[np.ndarray, "*spatial"]:
    """Voxels at most ``margin`` voxels along every axis from any of the masks.

    Raises:
        ConfigError: A negative margin.
        AnnotationError: A mask is not boolean.
    """
    if margin < 0:
        raise ConfigError(f"A margin of {margin} voxels found, 0 or more expected.")
    union = np.logical_or.reduce([to_mask(mask) for mask in masks])
    return ndimage.maximum_filter(union, size=2 * margin + 1, mode="constant")


def _require_bins(bins: int) -> None:
    if bins < 1:
        raise ConfigError(f"{bins} bins found, 1 or more expected. The usual number is {BINS}.")


def _observations(probability: Any, target: Any, present: Any, region: Any) -> tuple[np.ndarray, np.ndarray]:
    """``p (N)`` in its own type, and ``target (R or 1, N)``, boolean or in double precision, where it counts."""
    p = to_probability(probability)
    y = _targets(target, present, p.shape)
    if region is not None:
        inside = to_mask(region)
        require_shape(inside, p.shape, "A region")
        p, y = p[inside], y[:, inside]
    return p.ravel(), y.reshape(len(y), -1)


def _targets(target: Any, present: Any, shape: tuple[int, ...]) -> np.ndarray:
    y = to_numpy(target)
    if y.dtype != np.bool_:
        y = to_probability(y, "the target of a metric").astype(np.float64)
    one = y.ndim == len(shape)
    y = y[None] if one else y
    require_shape(y, (len(y), *shape), "A target")
    if present is not None:
        if one:
            raise AnnotationError(
                "A list of present annotators found beside a single target, single annotations expected. "
                "Pass the annotations, or leave out the list."
            )
        keep = to_mask(present)
        require_shape(keep, (len(y),), "A list of present annotators")
        y = y[keep]
    if len(y) == 0:
        raise AnnotationError("No annotator is present, at least one expected. Leave this case out.")
    return y


def _mean(targets: Shaped[np.ndarray, "R N"]) -> Float[np.ndarray, " N"]:
    return count_votes(targets) / len(targets) if targets.dtype == np.bool_ else targets.mean(axis=0)
