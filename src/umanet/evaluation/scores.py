"""The scores of one case: a row per foreground class, and one per annotator and class."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from umanet import metrics
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.evaluation.consensus import Consensus
from umanet.evaluation.predicted_case import PredictedCase, of_class
from umanet.evaluation.prediction_folder import CaseFiles
from umanet.evaluation.protocol import FEWEST_FOR_STAPLE, METRICS, Against, Counted, Protocol
from umanet.metrics.arrays import count_votes
from umanet.metrics.calibration import neighbourhood
from umanet.metrics.surface import SurfaceDistances
from umanet.types import IGNORE, Case, Sample

Row = dict[str, Any]

OUTCOMES = ("both_empty", "missed", "false")
MEAN = "(mean)"
"""In place of a class name: the mean over several foreground classes. Class names have no parentheses."""


@dataclass(frozen=True)
class CaseScores:
    """Of one case.

    Attributes:
        rows: One per foreground class, after one for their mean where there are several.
        annotators: The same for every annotator present, named in ``annotator``; only Dice.
        digests: Of what the case was compared with.
        drawn_by_nobody: Classes that no annotator of the case draws: they have no score against annotations.
        has_spacing: Whether the image says how large its voxels are.
    """

    rows: list[Row]
    annotators: list[Row]
    digests: Mapping[Against, bytes]
    has_spacing: bool
    drawn_by_nobody: tuple[str, ...] = ()


def score_case(
    case: Case,
    files: CaseFiles,
    index: DatasetIndex,
    kinds: tuple[Against, ...],
    protocol: Protocol,
    *,
    personal: bool,
) -> CaseScores:
    """Read a case and its prediction, and score every class, and with ``personal`` every annotator.

    Raises:
        ImageError, GeometryError, AnnotationError, DatasetError: A file does not hold what it must.
    """
    wanted = replace(
        case,
        truth=case.truth if "truth" in kinds else None,
        annotations=case.annotations if "annotations" in kinds else {},
    )
    sample = read_case(wanted, index)
    predicted = PredictedCase(files, sample.geometry, nested=protocol.classes == "nested")
    consensus = Consensus(sample, index.task.num_classes, index.task.drawn)
    nobody = [
        name for k, name in enumerate(index.task.classes) if k and case.annotations and not consensus.draw(k).any()
    ]
    rows, annotators = [], []
    for k, name in enumerate(index.task.classes[1:], start=1):
        row: Row = {"case": case.id, "patient": case.patient or case.id, "class": name}
        view = ClassOfCase(predicted, sample, consensus, k, protocol)
        if personal:
            annotators += [row | {"annotator": index.annotators[r]} | scores for r, scores in view.of_annotators()]
        rows.append(row | {key: value for kind in kinds for key, value in view.scores(kind).items()})
    if len(rows) > 1:
        named = {row["annotator"]: [own for own in annotators if own["annotator"] == row["annotator"]]
                 for row in annotators}  # fmt: skip
        annotators += [_mean_row(own, ("dice",)) for own in named.values()]
        rows.insert(0, _mean_row(rows, protocol.metrics))
    if "annotations" not in kinds:
        nobody = []
    return CaseScores(rows, annotators, _digests(sample, kinds), sample.geometry.spacing_is_known, tuple(nobody))


@dataclass(frozen=True, eq=False)
class ClassOfCase:
    """One class of one case, and what several metrics share: each is computed when a metric first asks for it.

    Only annotators who draw the class count. What the truth or an annotation ignores is left out where it is compared;
    where several annotations are compared at once, so is what any of them ignores. To leave out is to clear both masks.
    """

    prediction: PredictedCase
    sample: Sample
    consensus: Consensus
    k: int
    protocol: Protocol

    def scores(self, kind: Against) -> Row:
        """Of all metrics against the truth, or the annotations; None where undefined, or nothing to compare with."""
        names = self.protocol.metrics_against(kind)
        several: list[Counted] = [kind, *(METRICS[name].counted for name in names)]
        counted = dict.fromkeys(several)
        if not self._has(kind):
            return dict.fromkeys((*names, *(f"outcome_{what}" for what in counted)))
        return {name: defined(SCORES[name](self)) for name in names} | {
            f"outcome_{what}": self._outcome(what) for what in counted
        }

    def of_annotators(self) -> list[tuple[int, Row]]:
        """Dice of the labels with every annotation: the number of the annotator, and the scores."""
        present = np.flatnonzero(self.sample.present.numpy())[self.consensus.draw(self.k)]
        return [
            (int(r), {"dice": metrics.dice(predicted, drawn), "outcome": _outcome(predicted, drawn)})
            for r, predicted, drawn in zip(present, self._for_each(), self.annotations, strict=True)
        ]

    @property
    def mean_dice(self) -> float:
        if self.silent is None:
            return metrics.mean_dice_over_annotators(self.predicted, self.annotations)
        pairs = zip(self._for_each(), self.annotations, strict=True)
        return float(np.mean([metrics.dice(predicted, drawn) for predicted, drawn in pairs]))

    @cached_property
    def predicted(self) -> Bool[np.ndarray, "*spatial"]:
        return self.prediction.mask(self.k)

    @cached_property
    def probability(self) -> Float[np.ndarray, "*spatial"]:
        return self.prediction.probability(self.k)

    @cached_property
    def truth(self) -> Bool[np.ndarray, "*spatial"]:
        assert self.sample.truth is not None  # scores() looks first
        return self._of_class(self.sample.truth.numpy())

    @cached_property
    def truth_known(self) -> Bool[np.ndarray, "*spatial"] | None:
        """Where it says something; None for everywhere."""
        assert self.sample.truth is not None  # scores() looks first
        known = self.sample.truth.numpy() != IGNORE
        return None if known.all() else known

    @cached_property
    def predicted_for_truth(self) -> Bool[np.ndarray, "*spatial"]:
        return _within(self.predicted, self.truth_known)

    @cached_property
    def annotations(self) -> Bool[np.ndarray, "P *spatial"]:
        """Of the annotators present who draw the class."""
        drawn = self._of_class(self.sample.annotations.numpy()[self.sample.present.numpy()])
        draw = self.consensus.draw(self.k)
        return drawn if draw.all() else drawn[draw]

    @cached_property
    def silent(self) -> Bool[np.ndarray, "P *spatial"] | None:
        """What each of them ignores; None where that is nothing."""
        silent = None if self.consensus.silent is None else self.consensus.silent[self.consensus.draw(self.k)]
        return None if silent is None or not silent.any() else silent

    @cached_property
    def heard(self) -> Bool[np.ndarray, "*spatial"] | None:
        """Where all of them say something; None for everywhere."""
        return None if self.silent is None else np.logical_not(np.asarray(self.silent.any(axis=0)))

    @cached_property
    def speaking(self) -> Integer[np.ndarray, "*spatial"] | int:
        """How many of them say something."""
        number = len(self.annotations)
        return number if self.silent is None else number - count_votes(self.silent).astype(np.int32)

    @cached_property
    def compared(self) -> Bool[np.ndarray, "P *spatial"]:
        """The annotations where all of them say something."""
        return _within(self.annotations, self.heard)

    @cached_property
    def compared_probability(self) -> Float[np.ndarray, "*spatial"]:
        return self.probability if self.heard is None else np.where(self.heard, self.probability, 0)

    @cached_property
    def votes(self) -> Integer[np.ndarray, "*spatial"]:
        return count_votes(self.annotations)

    @cached_property
    def majority(self) -> Bool[np.ndarray, "*spatial"]:
        """More than half of those who say something: where votes tie, the class is not there."""
        return 2 * self.votes.astype(np.int32) > self.speaking

    @cached_property
    def staple(self) -> Bool[np.ndarray, "*spatial"] | None:
        """None where too few annotated."""
        few = len(self.annotations) < FEWEST_FOR_STAPLE
        return None if few else self._of_class(self.consensus.staple)

    @cached_property
    def region(self) -> Bool[np.ndarray, "*spatial"]:
        """Where calibration and uncertainty are measured. What follows is cut to it, once for all metrics."""
        return _within(self._near(self.votes > 0), self.heard)

    @cached_property
    def truth_region(self) -> Bool[np.ndarray, "*spatial"]:
        """Likewise, against the truth."""
        return _within(self._near(self.truth), self.truth_known)

    @cached_property
    def near_probability(self) -> Float[np.ndarray, " N"]:
        return self.probability[self.region]

    @cached_property
    def near_mean(self) -> Float[np.ndarray, " N"]:
        return self.votes[self.region] / len(self.annotations)

    @cached_property
    def near_variance(self) -> Float[np.ndarray, " N"]:
        """Of the votes; from integers, so that one vote of three differs as much as two."""
        votes, number = self.votes[self.region].astype(np.int64), len(self.annotations)
        return votes * (number - votes) / number**2

    def uncertainty(self, region: Bool[np.ndarray, "*spatial"]) -> Float[np.ndarray, " N"]:
        """Of the voxels in a region."""
        if self.protocol.uncertainty == "written":
            return self.prediction.written_uncertainty[region]
        p = self.probability[region]
        q = 1 - p
        return -(p * np.log2(np.where(p > 0, p, 1)) + q * np.log2(np.where(q > 0, q, 1)))

    @cached_property
    def uncertainty_auroc(self) -> float:
        """NaN where no voxel is wrong, or all are, or the uncertainty is the same everywhere."""
        doubt = self.uncertainty(self.truth_region)
        if not doubt.size or doubt.min() == doubt.max():
            return math.nan
        return metrics.auroc(doubt, (self.predicted ^ self.truth)[self.truth_region])

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        return metrics.surface_distances(self.predicted_for_truth, self.truth, self.sample.geometry.spacing)

    @cached_property
    def distribution(self) -> dict[str, float]:
        return metrics.distribution_scores(_within(self.prediction.samples(self.k), self.heard), self.compared)

    @property
    def predicted_for_majority(self) -> Bool[np.ndarray, "*spatial"]:
        """Where somebody says something."""
        return self.predicted if self.silent is None else self.predicted & (self.speaking > 0)

    @property
    def predicted_for_staple(self) -> Bool[np.ndarray, "*spatial"]:
        return self.predicted if self.consensus.silent is None else self.predicted & (self.consensus.staple != IGNORE)

    def _for_each(self) -> Iterator[Bool[np.ndarray, "*spatial"]]:
        """The prediction, for each annotation without what it ignores."""
        for r in range(len(self.annotations)):
            yield self.predicted if self.silent is None else self.predicted & ~self.silent[r]

    def _of_class(self, labels: Integer[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        return of_class(labels, self.k, nested=self.prediction.nested)

    def _near(self, there: Bool[np.ndarray, "*spatial"]) -> Bool[np.ndarray, "*spatial"]:
        if self.protocol.region == "image":
            return np.ones(there.shape, bool)
        return neighbourhood(self.predicted, there, margin=self.protocol.margin)

    def _has(self, kind: Against) -> bool:
        return self.sample.truth is not None if kind == "truth" else len(self.annotations) > 0

    def _outcome(self, what: Counted) -> str | None:
        """By the truth, any annotation, or a consensus; None without it."""
        if what == "truth":
            return _outcome(self.predicted_for_truth, self.truth)
        if what == "staple":
            return None if self.staple is None else _outcome(self.predicted_for_staple, self.staple)
        there = self.votes > 0 if what == "annotations" else self.majority
        return _outcome(self.predicted_for_majority, there)


def _soft(score: Callable[..., float]) -> Callable[[ClassOfCase], float]:
    def at_thresholds(c: ClassOfCase) -> float:
        return score(c.compared_probability, c.compared, tenths=c.protocol.tenths, comparison=c.protocol.comparison)

    return at_thresholds


SCORES: dict[str, Callable[[ClassOfCase], float]] = {
    "dice": lambda c: metrics.dice(c.predicted_for_truth, c.truth),
    "iou": lambda c: metrics.iou(c.predicted_for_truth, c.truth),
    "hd95_mm": lambda c: c.surfaces.hd95_mm(c.protocol.missed),
    "assd_mm": lambda c: c.surfaces.assd_mm(c.protocol.missed),
    "surface_dice": lambda c: c.surfaces.surface_dice(c.protocol.tolerance_mm),
    "ece_truth": lambda c: metrics.expected_calibration_error(
        c.probability, c.truth, bins=c.protocol.bins, region=c.truth_region
    ),
    "uncertainty_auroc": lambda c: c.uncertainty_auroc,
    "soft_dice": _soft(metrics.soft_dice),
    "soft_iou": _soft(metrics.soft_iou),
    "qubiq_score": lambda c: metrics.qubiq_score(c.compared_probability, c.compared),
    "mean_dice": lambda c: c.mean_dice,
    "majority_dice": lambda c: metrics.dice(c.predicted_for_majority, c.majority),
    "staple_dice": lambda c: math.nan if c.staple is None else metrics.dice(c.predicted_for_staple, c.staple),
    "ece": lambda c: metrics.expected_calibration_error(c.near_probability, c.near_mean, bins=c.protocol.bins),
    "ace": lambda c: metrics.adaptive_calibration_error(c.near_probability, c.near_mean, bins=c.protocol.bins),
    "brier": lambda c: metrics.brier_score(c.near_probability, c.near_mean),
    "nll": lambda c: metrics.negative_log_likelihood(c.near_probability, c.near_mean),
    "ncc": lambda c: metrics.normalised_cross_correlation(c.uncertainty(c.region), c.near_variance),
    **{name: lambda c, name=name: c.distribution[name] for name, metric in METRICS.items() if metric.part == "samples"},
}
"""How every metric of a protocol is taken; its formula is in ``umanet.metrics``."""


def _within(masks: Bool[np.ndarray, "..."], where: Bool[np.ndarray, "*spatial"] | None) -> Bool[np.ndarray, "..."]:
    return masks if where is None else masks & where


def defined(value: float) -> float | None:
    """None for NaN."""
    return None if math.isnan(value) else value


def _outcome(predicted: Bool[np.ndarray, "*spatial"], there: Bool[np.ndarray, "*spatial"]) -> str:
    if predicted.any():
        return "found" if there.any() else "false"
    return "missed" if there.any() else "both_empty"


def _mean_row(rows: list[Row], names: tuple[str, ...]) -> Row:
    """Of the classes of one case, over those where a metric is defined.

    A distance has a mean only where all classes have one: to miss a class would otherwise shorten it.
    """
    kept = {key: rows[0][key] for key in ("case", "patient", "annotator") if key in rows[0]}
    row = dict.fromkeys(rows[0]) | kept | {"class": MEAN}
    for name in (name for name in names if name in row):
        values = [own[name] for own in rows if own[name] is not None]
        enough = len(values) == len(rows) if METRICS[name].part == "distances" else bool(values)
        row[name] = float(np.mean(values)) if enough else None
    return row


def _digests(sample: Sample, kinds: tuple[Against, ...]) -> dict[Against, bytes]:
    """SHA-256 of the labels that a case was compared with: two evaluations can be told to be of the same ones."""
    found: dict[Against, bytes] = {}
    if "truth" in kinds and sample.truth is not None:
        found["truth"] = hashlib.sha256(sample.truth.numpy().tobytes()).digest()
    if "annotations" in kinds:
        content = sample.present.numpy().tobytes() + sample.annotations.numpy()[sample.present.numpy()].tobytes()
        found["annotations"] = hashlib.sha256(content).digest()
    return found
