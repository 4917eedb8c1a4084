"""Which scores are taken, and how: every metric and every protocol is defined here, once, as data."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from umanet.errors import ConfigError, did_you_mean
from umanet.metrics.calibration import BINS, CLIP
from umanet.metrics.overlap import QUBIQ_TENTHS, RIGA_TENTHS, Comparison
from umanet.metrics.surface import Missed

Against = Literal["truth", "annotations"]
Region = Literal["union", "image"]
Classes = Literal["apart", "nested"]
Uncertainty = Literal["probability", "written"]
Part = Literal[
    "overlap", "distances", "soft", "qubiq", "calibration", "calibration_truth", "uncertainty", "staple", "samples"
]
Counted = Literal["truth", "annotations", "majority", "staple"]
SCORED_LABELS: tuple[Part, ...] = ("soft", "qubiq", "calibration", "calibration_truth")
"""Parts whose metrics take labels for probabilities of 0 and 1 where there are no others."""

MARGIN = 3
"""Voxels around annotations and prediction, where calibration is measured."""
FEWEST_FOR_STAPLE = 3
"""Annotations of a case: nothing tells which of two that differ is the better one."""
TOLERANCE_MM = 1.0
"""Of the surface Dice. What annotators differ by depends on the structure: state another where it is known."""


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes:
        title: In words, for tables.
        against: What it compares a prediction with.
        part: The part of a protocol that decides it.
        better: Which direction is.
        undefined: When it has no value, in words.
        consensus: What says where a class is there, in the counts beside the mean, if not the truth or any annotation.
    """

    title: str
    against: Against
    part: Part
    better: Literal["higher", "lower"] = "higher"
    undefined: str = ""
    consensus: Literal["majority", "staple"] | None = None

    @property
    def counted(self) -> Counted:
        """What the counts beside its mean compare the prediction with."""
        return self.consensus or self.against


ONE_EMPTY = "a structure is missed or false"
NOTHING = "nothing is marked"
NO_DOUBT = "the uncertainty is the same everywhere, as without probabilities"

METRICS = {
    "dice": Metric("Dice", "truth", "overlap"),
    "iou": Metric("IoU", "truth", "overlap"),
    "hd95_mm": Metric("HD95 (mm)", "truth", "distances", "lower", ONE_EMPTY),
    "assd_mm": Metric("ASSD (mm)", "truth", "distances", "lower", ONE_EMPTY),
    "surface_dice": Metric("surface Dice", "truth", "distances"),
    "ece_truth": Metric("calibration error against the truth (ECE)", "truth", "calibration_truth", "lower", NOTHING),
    "uncertainty_auroc": Metric(
        "uncertainty finds wrong voxels (AUROC)", "truth", "uncertainty", undefined=f"no voxel is wrong, or {NO_DOUBT}"
    ),
    "soft_dice": Metric("soft Dice", "annotations", "soft"),
    "soft_iou": Metric("soft IoU", "annotations", "soft"),
    "qubiq_score": Metric("QUBIQ score", "annotations", "qubiq"),
    "mean_dice": Metric("mean Dice over annotators", "annotations", "overlap"),
    "majority_dice": Metric("Dice against the majority", "annotations", "overlap", consensus="majority"),
    "staple_dice": Metric(
        "Dice against STAPLE's consensus", "annotations", "staple",
        undefined="fewer than three annotated", consensus="staple",
    ),
    "ece": Metric("calibration error (ECE)", "annotations", "calibration", "lower", NOTHING),
    "ace": Metric("adaptive calibration error (ACE)", "annotations", "calibration", "lower", NOTHING),
    "brier": Metric("Brier score", "annotations", "calibration", "lower", NOTHING),
    "nll": Metric("negative log-likelihood (NLL)", "annotations", "calibration", "lower", NOTHING),
    "ncc": Metric(
        "uncertainty with disagreement (NCC)", "annotations", "uncertainty",
        undefined=f"annotators agree, as one does, or {NO_DOUBT}",
    ),
    "ged": Metric("energy distance (GED)", "annotations", "samples", "lower"),
    "ged_u": Metric(
        "energy distance, unbiased (GED)", "annotations", "samples", "lower", "there is one sample or annotation"
    ),
    "dice_max_annotations": Metric("best Dice of annotations", "annotations", "samples"),
    "dice_max_samples": Metric("best Dice of samples", "annotations", "samples"),
    "dice_match": Metric("matched Dice", "annotations", "samples"),
    "hm_iou": Metric("matched IoU (HM-IoU)", "annotations", "samples"),
}  # fmt: skip
"""In the order of tables. The functions of these names in ``umanet.metrics`` have the formulas."""

DISTRIBUTION = tuple(name for name, metric in METRICS.items() if metric.part == "samples")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A set of metrics, and every choice that their numbers depend on.

    Attributes:
        name: For messages and files.
        metrics: Names in ``METRICS``. Those of samples are left out where predictions hold no samples.
        tenths: Thresholds of ``soft_dice`` and ``soft_iou``; those of ``qubiq_score`` are its own.
        comparison: Of probabilities, and of the mean of the annotations (in integers), with these thresholds.
        classes: ``apart``: a class is what is labelled so. ``nested``: it includes all classes listed after it, as
            an optic disc includes its cup; probabilities add up.
        bins: Of ECE and ACE.
        region: Where calibration and uncertainty are measured: the ``union`` of all annotations (or of the truth)
            and the prediction with ``margin`` voxels around, or the whole ``image``.
        margin: In voxels.
        uncertainty: Of ``ncc`` and ``uncertainty_auroc``: the entropy of the ``probability`` of the class, or
            the map ``written`` beside the predictions, the same for all classes.
        tolerance_mm: Of ``surface_dice``.
        missed: What a distance is where one mask is empty: undefined (``nan``) and counted beside the mean, or the
            ``diagonal`` of the image.
        several: Whether at least one case must have two annotations.
        personal: Whether an annotator may be scored across cases, where annotators are identified.
    """

    name: str
    metrics: tuple[str, ...]
    tenths: tuple[int, ...] = RIGA_TENTHS
    comparison: Comparison = ">"
    classes: Classes = "apart"
    bins: int = BINS
    region: Region = "union"
    margin: int = MARGIN
    uncertainty: Uncertainty = "probability"
    tolerance_mm: float = TOLERANCE_MM
    missed: Missed = "nan"
    several: bool = True
    personal: bool = True

    def metrics_against(self, kind: Against) -> tuple[str, ...]:
        return tuple(name for name in self.metrics if METRICS[name].against == kind)

    @property
    def kinds(self) -> tuple[Against, ...]:
        """What it compares predictions with."""
        return tuple(kind for kind in get_args(Against) if self.metrics_against(kind))

    def described(self) -> dict[str, Any]:
        """What decides its numbers, part by part, for those who read them later. No part without a metric."""
        parts = {
            "overlap": {"both_empty": 1, "one_empty": 0},
            "distances": {"tolerance_mm": self.tolerance_mm, "missed": self.missed},
            "soft": {"thresholds": [tenths / 10 for tenths in self.tenths], "comparison": self.comparison},
            "qubiq": {"thresholds": [tenths / 10 for tenths in QUBIQ_TENTHS], "comparison": ">="},
            "calibration": {"bins": self.bins, "target": "mean of annotations", **self._where, "clip": CLIP},
            "calibration_truth": {"bins": self.bins, "target": "truth", **self._where},
            "uncertainty": {"map": self.uncertainty, **self._where},
            "staple": {"classes": "all together, in the whole image", "fewest_annotations": FEWEST_FOR_STAPLE},
        }
        used = {METRICS[name].part for name in self.metrics}
        return {"classes": self.classes} | {part: values for part, values in parts.items() if part in used}

    @property
    def _where(self) -> dict[str, Any]:
        return {"region": self.region, "margin": self.margin}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="default",
            metrics=tuple(name for name in METRICS if name != "qubiq_score"),
            several=False,
        ),
        Protocol(name="riga", metrics=("soft_dice", "soft_iou"), classes="nested"),
        Protocol(name="qubiq", metrics=("qubiq_score",), tenths=QUBIQ_TENTHS, comparison=">="),
        Protocol(
            name="lidc",
            metrics=("soft_dice", "mean_dice", "majority_dice", "ece", "brier", "ncc", *DISTRIBUTION),
            personal=False,
        ),
    )
}

CHOICES: dict[str, Any] = {
    "comparison": Comparison,
    "classes": Classes,
    "region": Region,
    "uncertainty": Uncertainty,
    "missed": Missed,
}


def choose_protocol(protocol: str | Protocol, **options: Any) -> Protocol:
    """A protocol by its name, with some of its fields changed.

    Raises:
        ConfigError: No such protocol, field, metric or choice, or a number that is out of range.
    """
    if isinstance(protocol, str):
        _require_known("protocol", protocol, PROTOCOLS)
        protocol = PROTOCOLS[protocol]
    known = [field.name for field in fields(Protocol)]
    for name in options:
        _require_known("option of a protocol", name, known)
    values: dict[str, Any] = {name: getattr(protocol, name) for name in known} | options
    values["tolerance_mm"] = float(values["tolerance_mm"])
    for name, choices in CHOICES.items():
        _require_known(name, values[name], get_args(choices))
    if not values["metrics"]:
        raise ConfigError(f"No metric found, one or more of {', '.join(METRICS)} expected. Name some, or none for all.")
    if values["bins"] < 1:
        raise ConfigError(f"{values['bins']} bins found, 1 or more expected. The usual number is {BINS}.")
    for name in values["metrics"]:
        _require_known("metric", name, METRICS)
    if not values["tolerance_mm"] >= 0:
        raise ConfigError(f"A tolerance of {values['tolerance_mm']} mm found, 0 or more expected. State it in mm.")
    return Protocol(**values)


def _require_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ConfigError(f"The {kind} {name!r} found, one of {', '.join(known)} expected.{did_you_mean(name, known)}")
