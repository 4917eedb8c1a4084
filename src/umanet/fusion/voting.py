"""Fusions that count votes or pick an annotator.

All share one signature. ``annotations`` holds labels ``(R, *spatial)``, integers 0..K-1; ``present`` booleans
``(R,)``: absent annotators change nothing, whatever their slots hold. The result is a pair: class
probabilities ``(K, *spatial)`` and ``confusion[r, i, j]`` = P(annotator r says class j | the fused result is
class i), whose rows sum to 1, or are zeros where there is no evidence: an absent annotator, or a class that
the result never takes. Labels may be ``IGNORE``, and ``drawn`` may say who draws which classes: ``patterns`` has what
such votes count for. Where all abstain the result is zero for all classes: nothing is known there, and nothing may be
learned. Unusable annotations, or none present, raise ``AnnotationError``.
"""

import random

import numpy as np
from numpy.typing import ArrayLike

from umanet.errors import AnnotationError, ConfigError
from umanet.fusion.patterns import Drawn, Fused, VotePatterns, count_patterns

TIES = ("background", "lowest", "highest", "split")


def majority_vote(
    annotations: ArrayLike, present: ArrayLike, num_classes: int, *, ties: str = "lowest", drawn: Drawn = ()
) -> Fused:
    """The class with the most votes (plurality); one-hot, except under ``ties="split"``.

    Args:
        annotations: Labels ``(R, *spatial)``.
        present: Booleans ``(R,)``.
        num_classes: ``K``, background included.
        ties: What a voxel gets where several classes have the most votes. ``lowest`` or ``highest``: that
            index among them (so ``lowest`` is background wherever background is among them). ``background``:
            background, even where only other classes tie, which can leave a seam between two structures.
            ``split``: each of them, in equal shares.
        drawn: Per annotator the foreground classes that they draw; empty: all.

    Raises:
        AnnotationError: The annotations are unusable, or none is present.
        ConfigError: ``ties`` is unknown.
    """
    if ties not in TIES:
        raise ConfigError(f"ties = {ties!r} found, one of {', '.join(TIES)} expected.")
    patterns = count_patterns(annotations, present, num_classes, drawn)
    votes = patterns.votes
    leads = votes == votes.max(axis=1, keepdims=True)
    if ties == "split":
        return patterns.fused(leads / leads.sum(axis=1, keepdims=True))
    if ties == "highest":
        labels = num_classes - 1 - leads[:, ::-1].argmax(axis=1)
    else:
        labels = leads.argmax(axis=1)
    if ties == "background":
        labels[leads.sum(axis=1) > 1] = 0
    return _fused_labels(patterns, labels)


def mean(annotations: ArrayLike, present: ArrayLike, num_classes: int, *, drawn: Drawn = ()) -> Fused:
    """Share of the present annotators who do not abstain that say each class.

    Raises:
        AnnotationError: The annotations are unusable, or none is present.
    """
    patterns = count_patterns(annotations, present, num_classes, drawn)
    return patterns.fused(patterns.votes / np.maximum(patterns.speaking, 1)[:, None])


def union(annotations: ArrayLike, present: ArrayLike, num_classes: int, *, drawn: Drawn = ()) -> Fused:
    """Foreground wherever anybody says foreground.

    Where annotators name different foreground classes, the one with the most votes wins, and the lowest index
    among those that tie; votes for background do not count there.

    Raises:
        AnnotationError: The annotations are unusable, or none is present.
    """
    patterns = count_patterns(annotations, present, num_classes, drawn)
    foreground = patterns.votes[:, 1:]
    return _fused_labels(patterns, np.where(foreground.any(axis=1), 1 + foreground.argmax(axis=1), 0))


def intersection(annotations: ArrayLike, present: ArrayLike, num_classes: int, *, drawn: Drawn = ()) -> Fused:
    """A foreground class only where all present annotators who do not abstain say it; background elsewhere.

    Raises:
        AnnotationError: The annotations are unusable, or none is present.
    """
    patterns = count_patterns(annotations, present, num_classes, drawn)
    unanimous = patterns.votes == patterns.speaking[:, None]
    return _fused_labels(patterns, unanimous.argmax(axis=1))


def random_annotator(
    annotations: ArrayLike,
    present: ArrayLike,
    num_classes: int,
    *,
    seed: int,
    epoch: int,
    case: str,
    drawn: Drawn = (),
) -> Fused:
    """The annotation of one present annotator, drawn with equal probability.

    ``seed``, ``epoch`` and the case's id decide the draw, in every process and on every machine alike. Their rest
    votes are spread by what the others say; what they ignore is zero for all classes.

    Raises:
        AnnotationError: The annotations are unusable, or none is present.
    """
    patterns = count_patterns(annotations, present, num_classes, drawn)
    # A string is hashed with SHA-512 here; Python's own hash() of a string differs from process to process.
    chosen = random.Random(f"{seed} {epoch} {case}").randrange(len(patterns.annotators))
    return patterns.fused(patterns.ballots[:, chosen])


def single_annotator(
    annotations: ArrayLike, present: ArrayLike, num_classes: int, *, annotator: int, drawn: Drawn = ()
) -> Fused:
    """The annotation of the annotator at position ``annotator`` on the axis ``R``; nobody else is asked.

    Their rest votes are background, for they alone say nothing better; what they ignore is zero for all classes.

    Raises:
        AnnotationError: The annotator is absent, or the annotations are unusable.
    """
    patterns = count_patterns(annotations, present, num_classes, drawn)
    found = np.flatnonzero(patterns.annotators == annotator)
    if found.size == 0:
        names = ", ".join(map(str, patterns.annotators))
        raise AnnotationError(
            f"Annotator {annotator} is not present, one of {names} expected: leave this case out or take another."
        )
    return patterns.fused(patterns.said[:, found[0]])


def _fused_labels(patterns: VotePatterns, labels: np.ndarray) -> Fused:
    return patterns.fused(np.eye(patterns.ballots.shape[2])[labels])
