"""How far annotators agree: with each other, beyond chance, and each with the consensus of the others.

No truth is needed. What several cases say together comes from counts, which add up over cases; a mean of one
number per case would weigh small and large cases alike, and leave out those where it is undefined.

Background that everybody leaves empty raises every number except the Dice of a foreground class. Name a
``region`` (``neighbourhood`` of the annotations, say), and state it.

A label may be ``IGNORE``: the annotator says nothing of this voxel, and is not one of those who annotated it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from umanet.errors import AnnotationError
from umanet.metrics.arrays import annotations_present, count_votes, require_shape, to_mask, to_numpy
from umanet.metrics.overlap import BLOCK, dice_of_sizes, require_labels, shared_voxels
from umanet.types import IGNORE


@dataclass(frozen=True)
class AgainstOthers:
    """Every annotator against the consensus of the others, per class; NaN where undefined.

    Attributes:
        dice: In [0, 1]; both empty 1.
        sensitivity: Share of the consensus that the annotator has. NaN where the consensus is empty.
        specificity: Share of all else that the annotator leaves out. NaN where the consensus is everything.
        bias: Volume of the annotator over that of the consensus: above 1 too large, below 1 too small. NaN where
            the consensus is empty.
    """

    dice: Float64[np.ndarray, "R K"]
    sensitivity: Float64[np.ndarray, "R K"]
    specificity: Float64[np.ndarray, "R K"]
    bias: Float64[np.ndarray, "R K"]


def pairwise_dice(
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    silent: Bool[Any, "R *spatial"] | None = None,
) -> Float64[np.ndarray, "R R"]:
    """``dice`` of every annotator with every other: symmetric, 1 on the diagonal, NaN for who is absent.

    Args:
        annotations: Masks.
        present: Who annotated; None for all.
        silent: Of which voxels each says nothing; None for none. A pair is compared where both say something, and is
            NaN where that is nowhere.

    Raises:
        AnnotationError: No annotator is present, or the masks are not boolean.

    Reference: K. H. Zou et al., "Statistical Validation of Image Segmentation Quality Based on a Spatial Overlap
        Index", Academic Radiology 11, 2004. DOI 10.1016/S1076-6332(03)00671-8
    """
    shared, own = pairwise_sizes(annotations, present, silent)
    return np.where(np.isnan(shared), np.nan, dice_of_sizes(shared, own, own.T))


def pairwise_sizes(
    annotations: Bool[Any, "R *spatial"],
    present: Bool[Any, " R"] | None = None,
    silent: Bool[Any, "R *spatial"] | None = None,
) -> tuple[Float64[np.ndarray, "R R"], Float64[np.ndarray, "R R"]]:
    """Voxels that two annotators share, and as ``[r, q]`` those of ``r`` of which ``q`` says something.

    Arguments and errors as for ``pairwise_dice``; NaN where that is NaN.
    """
    masks = to_mask(annotations)
    there = annotations_present(masks, present, masks.shape[1:])
    here = np.ix_(*[np.arange(len(masks)) if present is None else np.flatnonzero(to_mask(present))] * 2)
    number = len(there)
    shared, own = (np.full((len(masks), len(masks)), np.nan) for _ in range(2))
    if silent is None:
        shared[here] = shared_voxels(there)
        own[here] = np.broadcast_to(shared[here].diagonal()[:, None], (number, number))
        return shared, own
    speaks = ~annotations_present(silent, present, masks.shape[1:])
    both = shared_voxels(there & speaks, speaks).astype(np.float64)
    nowhere = both[number:, number:] == 0
    shared[here] = np.where(nowhere, np.nan, both[:number, :number])
    own[here] = np.where(nowhere, np.nan, both[:number, number:])
    return shared, own


def mean_over_pairs(matrix: Float[np.ndarray, "R R"]) -> float:
    """``2 / (R (R - 1)) sum_{r < q} a_rq``: mean over pairs of different annotators of a symmetric matrix ``a``.

    NaN is left out, as that of absent annotators, and their pairs do not count; NaN where there is no pair.

    Reference: of ``pairwise_dice``, as in K. H. Zou et al., "Statistical Validation of Image Segmentation Quality Based
        on a Spatial Overlap Index", Academic Radiology 11, 2004. DOI 10.1016/S1076-6332(03)00671-8
    """
    values = matrix[np.triu_indices(len(matrix), k=1)]
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def agreement_counts(
    annotations: Integer[Any, "R *spatial"],
    present: Bool[Any, " R"] | None,
    num_classes: int,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> Int64[np.ndarray, "R+1 K K"]:
    """``[m, c, k]``: how often, where ``m`` annotate, one says class ``c`` and another one ``k``. Whole numbers.

    All that kappa and alpha need. The counts of several cases add up, and so do those of patients drawn for a
    bootstrap, if the cases have the same axis of annotators (absent ones included). Zeros for a lone annotator, and
    ``m`` is of the voxel: who ignores it does not annotate it.

    Args:
        annotations: Labels ``(R, *S)``. Those of absent annotators may hold anything.
        present: Who annotated; None for all.
        num_classes: ``K``, background included.
        region: Voxels that count; None for all.

    Raises:
        AnnotationError: No annotator is present, a label has no class, or the shapes differ.
    """
    labels, here, number = _flat_labels(annotations, present, num_classes, region)
    counts = np.zeros((number + 1, num_classes, num_classes), np.int64)
    for alike, differing in _blocks(labels, num_classes):
        counts[len(here)] += np.diag(alike * len(here) ** 2)
        for speaking, votes in _by_number(_votes(differing, num_classes), len(here)):
            counts[speaking] += (votes @ votes.T).astype(np.int64)
    # A vote makes no pair with itself. Rows sum to the votes for a class times the annotators.
    for speaking in range(1, number + 1):
        counts[speaking] -= np.diag(counts[speaking].sum(axis=1) // speaking)
    return counts


def fleiss_kappa(
    annotations: Integer[Any, "R *spatial"],
    present: Bool[Any, " R"] | None,
    num_classes: int,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """``(P - P_e) / (1 - P_e)``: 1 for full agreement, 0 for that of chance, negative below it.

    ``P`` is the share of pairs of annotators that agree on a voxel, ``P_e = sum_k p_k^2`` with ``p_k`` the share
    of all votes for class ``k``. Undefined with one annotator, or where only one class was voted for: NaN.
    Arguments and errors as for ``agreement_counts``; for several cases, ``kappa_of_counts``.

    Reference: J. L. Fleiss, "Measuring Nominal Scale Agreement Among Many Raters", Psychological Bulletin 76,
        1971. DOI 10.1037/h0031619
    """
    return kappa_of_counts(agreement_counts(annotations, present, num_classes, region=region))


def kappa_of_counts(counts: Int64[np.ndarray, "numbers K K"]) -> float:
    """``fleiss_kappa`` of all voxels of the counts.

    Raises:
        AnnotationError: The number of annotators differs from voxel to voxel, for which it is not defined.
    """
    numbers = np.flatnonzero(counts.any(axis=(1, 2)))
    if len(numbers) > 1:
        raise AnnotationError(
            f"Voxels with {', '.join(map(str, numbers))} annotators found, one number of annotators expected by "
            "Fleiss' kappa. Use Krippendorff's alpha."
        )
    return _beyond_chance(counts.sum(axis=0).astype(np.float64), 1.0)


def krippendorff_alpha(
    annotations: Integer[Any, "R *spatial"],
    present: Bool[Any, " R"] | None,
    num_classes: int,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> float:
    """``1 - D_o / D_e`` for nominal classes: 1 for full agreement, 0 for that of chance, negative below it.

    ``D_o`` is the share of different pairs of votes on one voxel, where a voxel weighs as many as it has votes;
    ``D_e`` that of pairs drawn from all votes, without replacement. Voxels with one annotator do not count.
    Undefined with one annotator, or where only one class was voted for: NaN. Arguments and errors as for
    ``agreement_counts``; for several cases, ``alpha_of_counts``.

    Reference: A. F. Hayes, K. Krippendorff, "Answering the Call for a Standard Reliability Measure for Coding
        Data", Communication Methods and Measures 1, 2007. DOI 10.1080/19312450709336664
    """
    return alpha_of_counts(agreement_counts(annotations, present, num_classes, region=region))


def alpha_of_counts(counts: Int64[np.ndarray, "numbers K K"]) -> float:
    """``krippendorff_alpha`` of all voxels of the counts, whatever the number of their annotators."""
    weights = 1 / np.maximum(np.arange(len(counts)) - 1, 1)
    coincidences = np.tensordot(weights, counts, axes=1)
    votes = float(coincidences.sum())
    return _beyond_chance(coincidences, votes / (votes - 1) if votes else 1.0)


def confusion_with_others(
    annotations: Integer[Any, "R *spatial"],
    present: Bool[Any, " R"] | None,
    num_classes: int,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> Int64[np.ndarray, "R K K"]:
    """``[r, i, j]``: voxels where the others say class ``i`` and annotator ``r`` says ``j``; adds up over cases.

    The others say the class with most of their votes; of several, the lowest index (background, where it is one
    of them). Zeros for who is absent, and for an annotator without others; voxels of which the annotator, or all
    others, say nothing do not count. Arguments and errors as for ``agreement_counts``.
    """
    labels, here, number = _flat_labels(annotations, present, num_classes, region)
    counts = np.zeros((number, num_classes, num_classes), np.int64)
    if len(here) < 2:
        return counts
    for alike, differing in _blocks(labels, num_classes):
        votes = _votes(differing, num_classes)
        some = _some_silent(votes, len(here))
        for position, own in zip(here, differing, strict=True):
            heard = (own < num_classes) & (votes.sum(axis=0) > 1) if some else slice(None)
            leading = _leading_class(votes[:, heard], own[heard])
            cells = np.bincount(leading * num_classes + own[heard], minlength=num_classes**2)
            counts[position] += cells.reshape(num_classes, num_classes) + np.diag(alike)
    return counts


def against_others(
    annotations: Integer[Any, "R *spatial"],
    present: Bool[Any, " R"] | None,
    num_classes: int,
    *,
    region: Bool[Any, "*spatial"] | None = None,
) -> AgainstOthers:
    """Every annotator against the majority vote of the others in one case, ties to the lowest class.

    Of class k, with ``c`` the voxels of the others' consensus and ``a`` those of the annotator: dice
    ``2 |a & c| / (|a| + |c|)``, sensitivity ``|a & c| / |c|``, specificity ``|not a & not c| / |not c|`` and bias
    ``|a| / |c|``. NaN for who is absent, and for an annotator without others. Arguments and errors as for
    ``agreement_counts``; for several cases, ``scores_of_confusion`` of the sum of ``confusion_with_others``.

    Reference: A. A. Taha, A. Hanbury, "Metrics for Evaluating 3D Medical Image Segmentation", BMC Medical Imaging 15,
        2015. DOI 10.1186/s12880-015-0068-x
    """
    return scores_of_confusion(confusion_with_others(annotations, present, num_classes, region=region))


def scores_of_confusion(confusion: Int64[np.ndarray, "R K K"]) -> AgainstOthers:
    """Scores from ``[r, i, j]``: voxels of consensus ``i`` where annotator ``r`` says ``j``."""
    both = confusion.diagonal(axis1=1, axis2=2)
    consensus, own = confusion.sum(axis=2), confusion.sum(axis=1)
    everything = confusion.sum(axis=(1, 2))[:, None]
    return AgainstOthers(
        dice=np.where(everything > 0, dice_of_sizes(both, consensus, own), np.nan),
        sensitivity=_share(both, consensus),
        specificity=_share(everything - consensus - own + both, everything - consensus),
        bias=_share(own, consensus),
    )


def _share(part: Int64[np.ndarray, "R K"], whole: Int64[np.ndarray, "R K"]) -> Float64[np.ndarray, "R K"]:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _beyond_chance(pairs: Float64[np.ndarray, "K K"], correction: float) -> float:
    """1 minus the share of pairs that differ over the one that is expected of the marginals, times a correction.

    Differing pairs are summed, not agreeing ones taken from 1, which rounds where nearly all is background.
    """
    total = pairs.sum()
    if total == 0:
        return float("nan")
    share, differ = pairs.sum(axis=1) / total, ~np.eye(len(pairs), dtype=bool)
    expected = np.outer(share, share)[differ].sum() * correction
    return float(1 - pairs[differ].sum() / total / expected) if expected > 0 else float("nan")


def _flat_labels(
    annotations: Any, present: Any, num_classes: int, region: Any
) -> tuple[Integer[np.ndarray, "P N"], Int64[np.ndarray, " P"], int]:
    """Labels of the annotators present, who they are, and the length of the axis of annotators.

    ``IGNORE`` becomes ``num_classes``.
    """
    labels = to_numpy(annotations)
    number, shape = len(labels), labels.shape[1:]
    here = np.ones(number, bool) if present is None else to_mask(present)
    require_shape(here, (number,), "A list of present annotators")
    if not here.any():
        raise AnnotationError("No annotator is present, at least one expected. Leave this case out.")
    labels = labels if here.all() else labels[here]
    if region is not None:
        inside = to_mask(region)
        require_shape(inside, shape, "A region")
        labels = labels[:, inside]
    silent = labels == IGNORE
    some = num_classes <= IGNORE and bool(silent.any())
    labels = np.where(silent, labels.dtype.type(num_classes), labels) if some else labels
    require_labels(labels, num_classes + some)
    return labels.reshape(len(labels), -1), np.flatnonzero(here), number


def _blocks(
    labels: Integer[np.ndarray, "P N"], num_classes: int
) -> Iterator[tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, "P B"]]]:
    """Block by block: voxels of each class where all say the same, nearly all of them, and the labels of the rest.

    Voxels of which nobody says anything are left out.
    """
    for start in range(0, labels.shape[1], BLOCK):
        block = labels[:, start : start + BLOCK]
        differ = (block != block[0]).any(axis=0)
        alike = np.bincount(block[0, ~differ].astype(np.int64), minlength=num_classes)[:num_classes]
        yield alike, block[:, differ].astype(np.int64)


def _votes(labels: Integer[np.ndarray, "P N"], num_classes: int) -> Integer[np.ndarray, "K N"]:
    return np.stack([count_votes(labels == k) for k in range(num_classes)])


def _some_silent(votes: Integer[np.ndarray, "K N"], annotators: int) -> bool:
    return bool((votes.sum(axis=0) < annotators).any())


def _by_number(votes: Integer[np.ndarray, "K N"], annotators: int) -> Iterator[tuple[int, Float64[np.ndarray, "K n"]]]:
    """The votes of the voxels by how many say something."""
    if not _some_silent(votes, annotators):
        yield annotators, votes.astype(np.float64)
        return
    speaking = votes.sum(axis=0)
    for number in np.unique(speaking):
        yield int(number), votes[:, speaking == number].astype(np.float64)


def _leading_class(votes: Integer[np.ndarray, "K N"], own: Integer[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """The class with most votes but one's own, the lowest of several."""
    others = votes - (own == np.arange(len(votes))[:, None])
    return others.argmax(axis=0)
