"""Annotations that fit only once they are mirrored, or their axes swapped: written in another program's axis order."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from jaxtyping import Bool, UInt8

from umanet.data.check.problems import Place, Problem
from umanet.data.index import DatasetIndex
from umanet.types import IGNORE, Case

BETTER_BY, GOOD = 0.3, 0.7
"""Dice: how much better than as it is, and how good, an annotation must be after a flip. Annotators who mark other
things on the other side by chance hardly reach both."""
Mask = Bool[np.ndarray, "*spatial"]


def mirrored(
    case: Case,
    index: DatasetIndex,
    annotations: Mapping[str, UInt8[np.ndarray, "*spatial"]],
    truth: UInt8[np.ndarray, "*spatial"] | None,
) -> Iterator[Problem]:
    """Compares each annotation with the truth, or with what most others drew where none is known.

    Of two annotations alone nobody knows which one is wrong: the second is named.
    """
    names = list(annotations)
    for annotator in names[1:] if truth is None and len(names) == 2 else names:
        labels = annotations[annotator]
        drawn = index.drawn_by(annotator) if index.annotator_classes else ()
        others = [
            other
            for name, other in annotations.items()
            if name != annotator and other.shape == labels.shape and set(drawn) <= set(index.drawn_by(name))
        ]
        if truth is not None and truth.shape == labels.shape:
            expected, against = _drawn(truth, drawn), "the truth"
        elif others:
            votes = np.zeros_like(labels, np.uint16)
            for other in others:
                votes += _drawn(other, drawn)
            expected, against = np.asarray(2 * votes >= len(others)), "the others"
        else:
            continue
        found = _best_move(_drawn(labels, drawn), expected)
        if found is not None:
            move, before, after = found
            what = f"A Dice of {before:.2f} with {against}, but of {after:.2f} after {move}, found for"
            remedy = "Look at it over the image, and mend the axes of the file (or of theirs)."
            place = Place(case.id, annotator, case.annotations[annotator])
            yield place.problem(
                "warning", "mirrored-annotation", f"{what} {place.file}, a good one as it is expected.", remedy
            )


def _best_move(mask: Mask, expected: Mask) -> tuple[str, float, float] | None:
    before = _dice(mask, expected)
    if before > 1 - BETTER_BY or not mask.any() or not expected.any():
        return None
    moves = {f"a flip along axis {axis}": np.flip(mask, axis) for axis in range(mask.ndim)}
    for a, b in combinations(range(mask.ndim), 2):
        if mask.shape[a] == mask.shape[b]:
            moves[f"a swap of axes {a} and {b}"] = np.swapaxes(mask, a, b)
    move, after = max(((name, _dice(moved, expected)) for name, moved in moves.items()), key=lambda each: each[1])
    return (move, before, after) if after >= max(GOOD, before + BETTER_BY) else None


def _drawn(labels: UInt8[np.ndarray, "*spatial"], classes: tuple[int, ...]) -> Mask:
    # Label 0 wraps around to 255 = IGNORE, and IGNORE to 254: one comparison for both.
    return np.isin(labels, classes) if classes else labels - np.uint8(1) < IGNORE - 1


def _dice(a: Mask, b: Mask) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0
