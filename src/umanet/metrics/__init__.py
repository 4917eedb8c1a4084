"""Metrics, each with one definition. Undefined values are NaN; both masks empty is an overlap of 1."""

from umanet.metrics.calibration import (
    adaptive_calibration_error,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from umanet.metrics.detection import auroc, average_precision, error_detection
from umanet.metrics.interval import bootstrap_interval, paired_difference
from umanet.metrics.overlap import (
    dice,
    dice_per_class,
    iou,
    iou_per_class,
    mean_dice_over_annotators,
    soft_dice,
    soft_iou,
)
from umanet.metrics.surface import assd_mm, hd95_mm, surface_dice, surface_distances
from umanet.metrics.uncertainty import area_under_risk_coverage, normalised_cross_correlation, risk_coverage

__all__ = [
    "adaptive_calibration_error",
    "area_under_risk_coverage",
    "assd_mm",
    "auroc",
    "average_precision",
    "bootstrap_interval",
    "brier_score",
    "dice",
    "dice_per_class",
    "error_detection",
    "expected_calibration_error",
    "hd95_mm",
    "iou",
    "iou_per_class",
    "mean_dice_over_annotators",
    "negative_log_likelihood",
    "normalised_cross_correlation",
    "paired_difference",
    "reliability_curve",
    "risk_coverage",
    "soft_dice",
    "soft_iou",
    "surface_dice",
    "surface_distances",
]
