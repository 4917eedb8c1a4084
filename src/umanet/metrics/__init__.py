"""Metrics, each with one definition. Undefined values are NaN; both masks empty is an overlap of 1."""

from umanet.metrics.calibration import brier_score, expected_calibration_error
from umanet.metrics.detection import auroc
from umanet.metrics.distribution import (
    dice_match,
    dice_max,
    distribution_scores,
    generalized_energy_distance,
    hungarian_matched_iou,
)
from umanet.metrics.interval import bootstrap_interval
from umanet.metrics.overlap import (
    dice,
    dice_per_class,
    iou,
    iou_per_class,
    mean_dice_over_annotators,
    personalised_dice,
    qubiq_score,
    soft_dice,
    soft_iou,
)

__all__ = [
    "auroc",
    "bootstrap_interval",
    "brier_score",
    "dice",
    "dice_match",
    "dice_max",
    "dice_per_class",
    "distribution_scores",
    "expected_calibration_error",
    "generalized_energy_distance",
    "hungarian_matched_iou",
    "iou",
    "iou_per_class",
    "mean_dice_over_annotators",
    "personalised_dice",
    "qubiq_score",
    "soft_dice",
    "soft_iou",
]
