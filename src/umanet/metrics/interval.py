"""How far a mean over cases can be trusted, when cases of one patient resemble each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int64, UInt

from umanet.errors import AnnotationError, ConfigError

RESAMPLES = 1000
FEWEST_PATIENTS = 6
"""With five that differ, the least two-sided Wilcoxon p is 2 / 2^5 = 0.06: no result could be significant."""
AT_ONCE = 2**24
"""Draws (resamples times patients) that are handled at a time: 128 MiB in double precision."""
DECIMALS = 12
"""Of a difference: scores that are equal on paper may differ in the last bit, and would get ranks of their own."""


@dataclass(frozen=True)
class PairedDifference:
    """Of the scores of two methods on the same cases, first minus second.

    Attributes:
        mean: Over cases; NaN without cases.
        low: Of the 95 % bootstrap interval of the mean over patients; NaN with fewer than two patients.
        high: Likewise.
        p_value: Of Wilcoxon's signed-rank test over patients, two-sided; NaN where fewer than
            ``FEWEST_PATIENTS`` differ.
        cases: How many there are.
        patients: How many there are.
        differing: Patients whose mean difference is not 0; the test is over these.
    """

    mean: float
    low: float
    high: float
    p_value: float
    cases: int
    patients: int
    differing: int


def bootstrap_interval(
    values: Sequence[float] | Float[np.ndarray, " cases"],
    patients: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % percentile interval of the mean when patients, with all their cases, are drawn with replacement.

    The order of the cases does not matter. NaN where there are fewer than two patients, or a value is NaN: leave
    undefined values out, with their patients, and count them.

    Raises:
        AnnotationError: Another number of values than of patients.

    Reference: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", 1993. DOI 10.1201/9780429246593
    """
    if len(values) != len(patients):
        raise AnnotationError(
            f"{len(values)} values of {len(patients)} cases found, one of each expected. Leave the same cases out."
        )
    drawn, owner = draw_patients(patients, seed=seed, resamples=resamples)
    if drawn.shape[1] < 2:
        return float("nan"), float("nan")
    sums = sums_of_draws(drawn, np.bincount(owner, weights=values))
    return percentile_interval(sums / sums_of_draws(drawn, np.bincount(owner)))


def require_seed(seed: int) -> None:
    """Refuse a seed before there is anything to draw.

    Raises:
        ConfigError: It is negative.
    """
    if seed < 0:
        raise ConfigError(f"A seed of {seed} found, 0 or more expected. Take another number.")


def draw_patients(
    patients: Sequence[str], *, seed: int, resamples: int = RESAMPLES
) -> tuple[UInt[np.ndarray, "resamples patients"], Int64[np.ndarray, " cases"]]:
    """How often each patient is drawn when as many are drawn with replacement as there are, and whose each case is.

    The first is read-only, and in the smallest integers that hold it: convert it before computing with it.

    Args:
        patients: The patient of every case.
        seed: Of the draws.
        resamples: How many times all are drawn.

    Raises:
        ConfigError: A negative seed.
    """
    require_seed(seed)
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if not len(names):
        return np.zeros((resamples, 0), np.uint8), np.zeros(0, np.int64)
    return _draws(len(names), seed, resamples), owner


@lru_cache(maxsize=4)
def _draws(patients: int, seed: int, resamples: int) -> UInt[np.ndarray, "resamples patients"]:
    """Kept, as every metric of the same cases needs the same: of 100,000 patients they take seconds."""
    rng, share = np.random.default_rng(seed), np.full(patients, 1 / patients)
    parts = []
    for start, stop in _blocks(resamples, patients):
        drawn = rng.multinomial(patients, share, size=stop - start)
        parts.append(drawn.astype(np.min_scalar_type(int(drawn.max(initial=0)))))
    every = np.concatenate(parts) if parts else np.zeros((0, patients), np.uint8)
    every.flags.writeable = False
    return every


def sums_of_draws(
    drawn: UInt[np.ndarray, "resamples patients"],
    values: Float[np.ndarray, "patients *counts"] | Int[np.ndarray, "patients *counts"],
) -> Float64[np.ndarray, "resamples *counts"]:
    """The sum over the patients of each resample, in double precision: whole numbers below 2^53 stay exact."""
    given = values.astype(np.float64)
    parts = [np.tensordot(drawn[start:stop].astype(np.float64), given, 1) for start, stop in _blocks(*drawn.shape)]
    return np.concatenate(parts) if parts else np.zeros((0, *values.shape[1:]))


def _blocks(resamples: int, patients: int) -> list[tuple[int, int]]:
    """First and end of what is handled at a time; all, unless there are many patients."""
    step = max(1, AT_ONCE // max(1, patients))
    return [(start, min(start + step, resamples)) for start in range(0, resamples, step)]


def percentile_interval(values: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """From the 2.5th to the 97.5th percentile of what resamples say; NaN among them count as not drawn."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def paired_difference(
    a: Sequence[float] | Float[np.ndarray, " cases"],
    b: Sequence[float] | Float[np.ndarray, " cases"],
    patients: Sequence[str],
    seed: int,
    *,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Compare two methods on the same cases; positive where ``a`` is larger.

    The interval draws patients with all their cases, and with them the scores of both methods. The test takes the
    mean difference of every patient as one observation. Patients without a difference are left out of it, as
    Wilcoxon did; ties have their mean rank. The p-value is exact without ties for up to 50 patients that differ, and
    with ties for up to 13 (SciPy's ``method="auto"``); else it is the normal approximation.

    Raises:
        AnnotationError: NaN or infinity in a score, or scores of another number of cases.

    Reference: F. Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1, 1945.
        DOI 10.2307/3001968
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(first) == len(second) == len(patients):
        raise AnnotationError(
            f"{len(first)} and {len(second)} scores of {len(patients)} cases found, one of each per case expected. "
            "Leave the same cases out of both."
        )
    if not np.isfinite(first).all() or not np.isfinite(second).all():
        raise AnnotationError(
            "A score that is NaN or infinite found, finite numbers expected. Leave the case out of both, and count it."
        )
    difference = first - second
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    of_patients = np.round(np.bincount(owner, weights=difference) / np.bincount(owner), DECIMALS)
    low, high = bootstrap_interval(difference, patients, seed=seed, resamples=resamples)
    return PairedDifference(
        mean=float(difference.mean()) if len(difference) else float("nan"),
        low=low,
        high=high,
        p_value=_signed_rank(of_patients[of_patients != 0]),
        cases=len(difference),
        patients=len(names),
        differing=int(np.count_nonzero(of_patients)),
    )


def _signed_rank(differences: Float[np.ndarray, " patients"]) -> float:
    if len(differences) < FEWEST_PATIENTS:
        return float("nan")
    from scipy.stats import wilcoxon  # here, as it takes longer to import than the rest of the metrics

    result: Any = wilcoxon(differences)
    return float(result.pvalue)
