"""Metrics, each with one definition. Undefined values are NaN; both masks empty is an overlap of 1."""

from umanet.metrics.agreement import (
    AgainstOthers,
    against_others,
    agreement_counts,
    alpha_of_counts,
    confusion_with_others,
    fleiss_kappa,
    kappa_of_counts,
    krippendorff_alpha,
    mean_over_pairs,
    pairwise_dice,
    scores_of_confusion,
)
from umanet.metrics.calibration import (
    adaptive_calibration_error,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from umanet.metrics.detection import auroc, average_precision, error_detection
from umanet.metrics.distribution import (
    dice_match,
    dice_max,
    distribution_scores,
    generalized_energy_distance,
    hungarian_matched_iou,
)
from umanet.metrics.interval import bootstrap_interval, paired_difference
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
from umanet.metrics.surface import assd_mm, hd95_mm, surface_dice, surface_distances
from umanet.metrics.uncertainty import area_under_risk_coverage, normalised_cross_correlation, risk_coverage

__all__ = [
    "AgainstOthers",
    "adaptive_calibration_error",
    "against_others",
    "agreement_counts",
    "alpha_of_counts",
    "area_under_risk_coverage",
    "assd_mm",
    "auroc",
    "average_precision",
    "bootstrap_interval",
    "brier_score",
    "confusion_with_others",
    "dice",
    "dice_match",
    "dice_max",
    "dice_per_class",
    "distribution_scores",
    "error_detection",
    "expected_calibration_error",
    "fleiss_kappa",
    "generalized_energy_distance",
    "hd95_mm",
    "hungarian_matched_iou",
    "iou",
    "iou_per_class",
    "kappa_of_counts",
    "krippendorff_alpha",
    "mean_dice_over_annotators",
    "mean_over_pairs",
    "negative_log_likelihood",
    "normalised_cross_correlation",
    "paired_difference",
    "pairwise_dice",
    "personalised_dice",
    "qubiq_score",
    "reliability_curve",
    "risk_coverage",
    "scores_of_confusion",
    "soft_dice",
    "soft_iou",
    "surface_dice",
    "surface_distances",
]
