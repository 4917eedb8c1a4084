"""Does the network know what it does not know? Reliability of its probabilities, and the risk of what is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

BINS = 15


@dataclass(frozen=True)
class ReliabilityCurve:
    """Sums per bin of the probability: those of several cases add up."""

    counts: Float[np.ndarray, " bins"]
    sum_probability: Float[np.ndarray, " bins"]
    sum_target: Float[np.ndarray, " bins"]

    def __add__(self, other: "ReliabilityCurve") -> "ReliabilityCurve":
        return ReliabilityCurve(
            self.counts + other.counts,
            self.sum_probability + other.sum_probability,
            self.sum_target + other.sum_target,
        )

    @property
    def mean_probability(self) -> Float[np.ndarray, " bins"]:
        return self._mean(self.sum_probability)

    @property
    def mean_target(self) -> Float[np.ndarray, " bins"]:
        return self._mean(self.sum_target)

    @property
    def expected_calibration_error(self) -> float:
        return float(np.abs(self.sum_probability - self.sum_target).sum() / max(self.counts.sum(), 1))

    def _mean(self, sums: Float[np.ndarray, " bins"]) -> Float[np.ndarray, " bins"]:
        return np.divide(sums, self.counts, out=np.full(len(sums), np.nan), where=self.counts > 0)


def reliability_curve(
    probability: Float[np.ndarray, "*spatial"],
    target: Float[np.ndarray, "*spatial"],
    *,
    region: Bool[np.ndarray, "*spatial"],
) -> ReliabilityCurve:
    """Of one class, in bins of equal width; ``target`` is a mask or the mean of annotations."""
    p, y = probability[region].astype(np.float64), target[region].astype(np.float64)
    cell = np.minimum((p * BINS).astype(np.intp), BINS - 1)
    sums = [np.bincount(cell, weights=weights, minlength=BINS).astype(float) for weights in (np.ones_like(p), p, y)]
    return ReliabilityCurve(*sums)


def risk_coverage(
    error: Sequence[float], uncertainty: Sequence[float]
) -> tuple[Float[np.ndarray, " cases"], Float[np.ndarray, " cases"]]:
    """Mean error of the most certain share of the cases, for every share: coverage and risk.

    Reference: R. El-Yaniv, Y. Wiener, "On the Foundations of Noise-free Selective Classification", Journal of
        Machine Learning Research 11, 2010.
    """
    order = np.argsort(np.asarray(uncertainty), kind="stable")
    kept = np.arange(1, len(order) + 1)
    return kept / len(order), np.cumsum(np.asarray(error, dtype=float)[order]) / kept
