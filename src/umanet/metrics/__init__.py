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
    "AgainstOthers",
    "against_others",
    "agreement_counts",
    "alpha_of_counts",
    "auroc",
    "bootstrap_interval",
    "brier_score",
    "confusion_with_others",
    "dice",
    "dice_match",
    "dice_max",
    "dice_per_class",
    "distribution_scores",
    "expected_calibration_error",
    "fleiss_kappa",
    "generalized_energy_distance",
    "hungarian_matched_iou",
    "iou",
    "iou_per_class",
    "kappa_of_counts",
    "krippendorff_alpha",
    "mean_dice_over_annotators",
    "mean_over_pairs",
    "pairwise_dice",
    "personalised_dice",
    "qubiq_score",
    "scores_of_confusion",
    "soft_dice",
    "soft_iou",
]
