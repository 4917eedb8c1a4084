"""How far a mean over cases can be trusted, when cases of one patient resemble each other."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

RESAMPLES = 1000


def bootstrap_interval(
    values: Sequence[float] | Float[np.ndarray, " cases"],
    patients: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % percentile interval of the mean when patients, with all their cases, are drawn with replacement.

    The order of the cases does not matter. NaN where there are fewer than two patients.

    Reference: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", 1993. DOI 10.1201/9780429246593
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    share = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), share, size=resamples)
    means = (drawn @ np.bincount(owner, weights=values)) / (drawn @ np.bincount(owner))
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
