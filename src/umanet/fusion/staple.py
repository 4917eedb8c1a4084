"""STAPLE: a fusion that estimates how well each annotator performs and weights the votes accordingly."""

import logging
import warnings

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from umanet.fusion.patterns import Drawn, Fused, VotePatterns, count_patterns

LOG_OF_ZERO = -1e300
"""Stands for minus infinity: finite, so that its product with zero is zero and not NaN."""


class OneClassWarning(UserWarning):
    """All present annotations hold one class everywhere. Right, and rarely meant."""


_log = logging.getLogger(__name__)


def staple(
    annotations: ArrayLike,
    present: ArrayLike,
    num_classes: int,
    *,
    max_iterations: int = 1000,
    tolerance: float = 1e-7,
    drawn: Drawn = (),
) -> Fused:
    """Simultaneous truth and performance level estimation, binary and multi-class.

    Expectation maximisation over the counts of distinct vote patterns. It starts from the mean of the
    annotations; the prior of a class is its share of all votes and stays fixed, as in ITK, whose binary
    filter gives the same result. A class that nobody says has probability 0 everywhere. Random masks may
    never converge.

    With ``IGNORE`` or ``drawn`` it is the same with missing data. The likelihood of a set of classes is the sum over it
    in the row of the confusion matrix. An annotator who draws some classes never tells those of their rest set apart,
    so that sum is one number, kept in column 0; of all classes it is 1, so an ignored voxel drops out.

    Args:
        annotations: Labels ``(R, *spatial)``, integers 0..K-1; ignored where an annotator is absent.
        present: Booleans ``(R,)``.
        num_classes: ``K``, background included.
        max_iterations: Stop here at the latest.
        tolerance: Stop when no entry of the confusion matrices changes by more than this in an iteration.
        drawn: Per annotator the foreground classes that they draw; empty: all.

    Returns:
        Posterior class probabilities ``(K, *spatial)`` and the annotators' performance ``(R, K, K)``:
        P(annotator r says class j | the truth is class i), zeros for an absent annotator or a class without
        evidence. For K = 2, ``[r, 1, 1]`` is the sensitivity and ``[r, 0, 0]`` the specificity. Where all
        present annotations hold one class everywhere (all empty, say) the result is it, with certainty.

    Raises:
        AnnotationError: The annotations are unusable, or none is present.

    Warns:
        OneClassWarning: All present annotations hold one class everywhere (all empty, say); the result is it.

    Reference:
        Warfield, Zou, Wells: Simultaneous Truth and Performance Level Estimation (STAPLE): An Algorithm for
        the Validation of Image Segmentation. IEEE Transactions on Medical Imaging 23(7), 2004.
        DOI 10.1109/TMI.2004.828354
    """
    patterns = count_patterns(annotations, present, num_classes, drawn)
    votes = patterns.counts @ patterns.votes
    if np.count_nonzero(votes) == 1:
        warnings.warn(
            f"All present annotations hold class {votes.argmax()} everywhere: nothing for STAPLE to learn.",
            OneClassWarning,
            stacklevel=2,
        )
    log_prior = _log_of(votes / max(votes.sum(), 1))
    probabilities = patterns.votes / np.maximum(patterns.speaking, 1)[:, None]
    confusion = np.full(1, np.inf)
    for _ in range(max_iterations):
        previous, confusion = confusion, patterns.confusion(probabilities)
        probabilities = _posterior(patterns, log_prior, confusion)
        if np.abs(confusion - previous).max() <= tolerance:
            break
    else:
        _log.debug("STAPLE did not converge to %g in %d iterations.", tolerance, max_iterations)
    return patterns.fused(probabilities)


def _posterior(
    patterns: VotePatterns, log_prior: Float64[np.ndarray, " K"], confusion: Float64[np.ndarray, "S K K"]
) -> Float64[np.ndarray, "P K"]:
    """Probability of each true class given a vote pattern (the E step).

    In logarithms, because a product over many annotators underflows.
    """
    num_classes = len(log_prior)
    # (S, true, said) -> (S * said, true), to match the flattened ballots
    log_likelihoods = _log_of(confusion).transpose(0, 2, 1).reshape(-1, num_classes)
    scores = log_prior + patterns.said.reshape(len(patterns.counts), -1) @ log_likelihoods
    posterior = np.exp(scores - scores.max(axis=1, keepdims=True))
    return posterior / posterior.sum(axis=1, keepdims=True)


def _log_of(values: np.ndarray) -> np.ndarray:
    return np.log(values, out=np.full_like(values, LOG_OF_ZERO), where=values > 0)
