"""The distinct vote patterns of a case: what every fusion works on.

A label is a definite vote for its class, but for two: ``IGNORE`` abstains, and the 0 of an annotator who draws some
classes only (``drawn``) is a *rest vote*, for a set: background and all that they do not draw. A rest vote is spread
over its set in proportion to the definite votes of the others there. Where these have none in it, it is for the class
that most rest sets of the voxel contain, which is the background: all contain it.

A voxel's vote pattern is what each present annotator says there. A fusion that does not see the image gives
equal patterns equal results, so it decides once per pattern (a few dozen) and not once per voxel (millions).
Axis letters besides the usual ones: ``P`` distinct patterns, ``S`` present annotators, ``N`` voxels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Integer
from numpy.typing import ArrayLike

from umanet.data.codes import Coded, encode, parts_of
from umanet.errors import AnnotationError
from umanet.types import IGNORE

Drawn = Sequence[tuple[int, ...]]
"""Per annotator of the axis ``R`` the foreground classes that they draw; empty: all draw all. As ``Task.drawn``."""

Fused = tuple[Float32[np.ndarray, "K *spatial"], Float64[np.ndarray, "R K K"]]
"""Class probabilities, and ``confusion[r, i, j]``: P(annotator r says class j | the result is class i)."""


@dataclass(frozen=True)
class VotePatterns:
    """The votes of the present annotators, by distinct pattern.

    Attributes:
        annotators: Positions of the present annotators on the axis ``R``.
        num_annotators: ``R``, absent annotators included.
        shape: Spatial shape.
        ballots: Votes of each pattern, each of sum 1, or 0 of who abstains; rest votes are spread.
        said: The same as written, one-hot: a rest vote is a 0. The very ``ballots`` where there are none.
        counts: Voxels that show each pattern; at least 1.
        coded: Which pattern each voxel shows.
    """

    annotators: Int64[np.ndarray, " S"]
    num_annotators: int
    shape: tuple[int, ...]
    ballots: Float64[np.ndarray, "P S K"]
    said: Float64[np.ndarray, "P S K"]
    counts: Float64[np.ndarray, " P"]
    coded: Coded

    @property
    def votes(self) -> Float64[np.ndarray, "P K"]:
        """How many annotators say each class: whole numbers, but for rest votes that are spread."""
        votes = self.ballots.sum(axis=1)
        # Thirds of a vote must tie with a third one.
        return votes if self.ballots is self.said else np.round(votes, 9)

    @property
    def speaking(self) -> Float64[np.ndarray, " P"]:
        """How many annotators do not abstain."""
        return self.said.sum(axis=(1, 2))

    def confusion(self, probabilities: Float[np.ndarray, "P K"]) -> Float64[np.ndarray, "S K K"]:
        """Row i: what each present annotator says where the result is class i. Zeros where it never is.

        Rest votes are in column 0; who abstains says nothing.
        """
        weights = (probabilities * self.counts[:, None]).T
        num_patterns, num_present, num_classes = self.said.shape
        joint = weights @ self.said.reshape(num_patterns, -1)
        joint = joint.reshape(num_classes, num_present, num_classes).transpose(1, 0, 2)
        totals = joint.sum(axis=2, keepdims=True)
        return np.divide(joint, totals, out=np.zeros_like(joint), where=totals > 0)

    def fused(self, probabilities: Float[np.ndarray, "P K"]) -> Fused:
        """The result of a fusion from its probabilities for each pattern; zeros where all abstain."""
        probabilities = np.where(self.speaking[:, None] > 0, probabilities, 0)
        maps = self.coded.look_up(probabilities.astype(np.float32))
        num_classes = probabilities.shape[1]
        confusion = np.zeros((self.num_annotators, num_classes, num_classes))
        confusion[self.annotators] = self.confusion(probabilities)
        return maps.reshape(num_classes, *self.shape), confusion


def count_patterns(annotations: ArrayLike, present: ArrayLike, num_classes: int, drawn: Drawn = ()) -> VotePatterns:
    """Check the annotations of a case and count their vote patterns.

    Args:
        annotations: Labels ``(R, *spatial)``, integers. Where an annotator is absent they may hold anything.
        present: Booleans ``(R,)``.
        num_classes: ``K``, background included; labels lie in 0..K-1, or are ``IGNORE``.
        drawn: Per annotator the foreground classes that they draw; empty: all of them.

    Raises:
        AnnotationError: A wrong shape or type, no annotator present, no voxel, a label outside 0..K-1, or ``drawn`` of
            another number of annotators.
    """
    labels, here = _checked(np.asarray(annotations), np.asarray(present), num_classes)
    if drawn and len(drawn) != len(here):
        raise AnnotationError(
            f"Classes drawn by {len(drawn)} annotators found, by {len(here)} expected: name them for every annotator."
        )
    annotators = np.flatnonzero(here)
    votes = [labels[annotator] for annotator in annotators]
    abstains = [_check_labels(int(r), vote, num_classes) for r, vote in zip(annotators, votes, strict=True)]
    coded = encode(votes, num_classes, abstains)
    said = np.eye(num_classes + 1, num_classes)[coded.patterns]
    return VotePatterns(
        annotators=annotators,
        num_annotators=len(here),
        shape=labels.shape[1:],
        ballots=_spread(said, [drawn[int(r)] for r in annotators]) if drawn else said,
        said=said,
        counts=coded.counts.astype(np.float64),
        coded=coded,
    )


def _spread(said: Float64[np.ndarray, "P S K"], drawn: Drawn) -> Float64[np.ndarray, "P S K"]:
    """Rest votes over their sets; the very ``said`` where all draw all."""
    possible = ~np.array([[k in classes for k in range(said.shape[2])] for classes in drawn])
    partial = possible[:, 1:].any(axis=1)
    if not partial.any():
        return said
    rest = said[:, :, 0] * partial
    definite = said.copy()
    definite[:, :, 0] -= rest
    inside = definite.sum(axis=1)[:, None] * possible
    total = inside.sum(axis=2, keepdims=True)
    share = np.divide(inside, total, out=np.zeros_like(inside), where=total > 0)
    share[:, :, 0] += total[:, :, 0] == 0
    return definite + rest[:, :, None] * share


def _checked(labels: np.ndarray, present: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    if labels.ndim < 2 or labels.size == 0:
        raise AnnotationError(
            f"Annotations of shape {labels.shape} found, (annotators, *spatial) with at least one "
            "voxel expected: stack the annotations of a case along a first axis."
        )
    if labels.dtype.kind not in "iu":
        raise AnnotationError(
            f"Annotations of type {labels.dtype} found, integer class indices expected: convert them, "
            "and threshold soft maps first."
        )
    if present.shape != labels.shape[:1] or present.dtype != np.bool_:
        raise AnnotationError(
            f"present of type {present.dtype} and shape {present.shape} found, one boolean for each of the "
            f"{len(labels)} annotators expected."
        )
    if not present.any():
        raise AnnotationError(
            f"None of the {len(labels)} annotators is present, at least one expected: leave this case out."
        )
    if num_classes < 2:
        raise AnnotationError(f"num_classes = {num_classes} found, at least 2 expected: background counts.")
    return labels, present


def _check_labels(annotator: int, vote: Integer[np.ndarray, "*spatial"], num_classes: int) -> bool:
    """Whether any label is ``IGNORE``."""
    lowest, highest = 0 if vote.dtype.kind == "u" else int(vote.min()), int(vote.max())
    abstains = highest == IGNORE >= num_classes
    if abstains:
        highest = max(int(vote[p].max(initial=0, where=vote[p] != IGNORE)) for p in parts_of(vote.shape))
    if lowest < 0 or highest >= num_classes:
        value = lowest if lowest < 0 else highest
        raise AnnotationError(
            f"The value {value} found in the annotation of annotator {annotator}, "
            f"0 to {num_classes - 1} expected: map the values of the file to classes."
        )
    return abstains
