"""Which metric is compared with what: the loop that one would write, and other packages where they have the same."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import metrics_rivals as rivals
import numpy as np
import torch
from metrics_rivals import BINS, CLASSES, Example
from scipy.stats import pearsonr
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    jaccard_score,
    log_loss,
    roc_auc_score,
)
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_f1_score,
    binary_jaccard_index,
)
from torchmetrics.functional.nominal import fleiss_kappa as torch_kappa

from umanet import metrics as m
from umanet.metrics.overlap import QUBIQ_TENTHS, RIGA_TENTHS

ANNOTATORS = 6
TOLERANCE_MM = 1.5
EXACT, SINGLE = 1e-9, 1e-4
"""Absolute difference of numbers computed in double, and in single precision or in bins of it."""
KAPPA = 1e-3
"""TorchMetrics adds up the agreement of all voxels in single precision."""
THRESHOLDS, PAIRS = 5.0, 10.0
"""Targets: of one pass per threshold, and of the double loop over pairs of masks."""
CLIP = float(np.finfo(np.float32).eps)
"""What scikit-learn clips at."""


@dataclass(frozen=True)
class Comparison:
    """One metric, ours and theirs; a target where one was set, as a ratio of times."""

    metric: str
    rival: str
    ours: Callable[[Example], Any]
    theirs: Callable[[Example], Any]
    tolerance: float = EXACT
    slow: bool = False
    target: float | None = None


def overlap() -> list[Comparison]:
    p, q = "predicted", "majority"
    one_dice: Callable[[Example], Any] = lambda x: m.dice(x.predicted, x.majority)  # noqa: E731  # a cell of a table
    one_iou: Callable[[Example], Any] = lambda x: m.iou(x.predicted, x.majority)  # noqa: E731  # a cell of a table
    both = {"dice": (one_dice, rivals.dice), "iou": (one_iou, rivals.iou)}
    scores = {"dice": (f1_score, binary_f1_score), "iou": (jaccard_score, binary_jaccard_index)}
    itk = {"dice": "GetDiceCoefficient", "iou": "GetJaccardCoefficient"}
    listed = []
    for name, (ours, loop) in both.items():
        learn, light = scores[name]
        listed += [
            Comparison(name, "NumPy", ours, lambda x, f=loop: f(x.predicted, x.majority)),
            Comparison(
                name, "MONAI", ours, lambda x, n=name: rivals.monai_overlap(n, x.tensor(p), x.tensor(q)), SINGLE
            ),
            Comparison(name, "TorchMetrics", ours, lambda x, f=light: f(x.tensor(p).int(), x.tensor(q).int()), SINGLE),
            Comparison(
                name, "SimpleITK", ours, lambda x, g=itk[name]: getattr(rivals.simpleitk_overlap(x), g)(), slow=True
            ),
            Comparison(
                name, "scikit-learn", ours, lambda x, f=learn: f(x.majority.ravel(), x.predicted.ravel()), slow=True
            ),
        ]
    for name, classes, loop in (
        ("dice_per_class", m.dice_per_class, rivals.dice),
        ("iou_per_class", m.iou_per_class, rivals.iou),
    ):
        listed.append(
            Comparison(
                name,
                "loop over classes",
                lambda x, f=classes: f(*x.labels[:2], CLASSES),
                partial(rivals.per_class, loop),
            )
        )
    return listed


def thresholds() -> list[Comparison]:
    listed = []
    for name, ours, kind, tenths, passes in (
        ("soft_dice", m.soft_dice, "dice", RIGA_TENTHS, np.greater),
        ("soft_iou", m.soft_iou, "iou", RIGA_TENTHS, np.greater),
        ("qubiq_score", m.qubiq_score, "dice", QUBIQ_TENTHS, np.greater_equal),
    ):
        mine = lambda x, f=ours: f(x.probability, x.annotations)  # noqa: E731  # a cell of a table
        loops = {
            "a pass per threshold": getattr(rivals, kind),
            "the same, count_nonzero": getattr(rivals, f"counted_{kind}"),
            "the same, MONAI": partial(rivals.monai_overlap, kind),
        }
        for rival, loop in loops.items():
            theirs = partial(rivals.per_threshold, loop, tenths, passes)
            tolerance, slow = (SINGLE, True) if "MONAI" in rival else (EXACT, False)
            target = THRESHOLDS if rival == "a pass per threshold" else None
            listed.append(Comparison(name, rival, mine, theirs, tolerance, slow, target))
    return listed


def annotators() -> list[Comparison]:
    each, labels = "loop over annotators", lambda f: lambda x: f(x.labels, None, CLASSES)
    return [
        Comparison(
            "mean_dice_over_annotators",
            each,
            lambda x: m.mean_dice_over_annotators(x.predicted, x.annotations),
            partial(rivals.per_annotator, rivals.dice),
        ),
        Comparison(
            "personalised_dice",
            each,
            lambda x: m.personalised_dice(x.samples[:ANNOTATORS], x.annotations),
            rivals.personalised,
        ),
        Comparison(
            "pairwise_dice", "double loop", lambda x: m.pairwise_dice(x.annotations), rivals.per_pair_of_annotators
        ),
        Comparison("fleiss_kappa", "table of votes", labels(m.fleiss_kappa), rivals.kappa),
        Comparison(
            "fleiss_kappa",
            "TorchMetrics",
            labels(m.fleiss_kappa),
            lambda x: torch_kappa(torch.from_numpy(rivals.votes(x.labels))),
            KAPPA,
            slow=True,
        ),
        Comparison("krippendorff_alpha", "loop over pairs", labels(m.krippendorff_alpha), rivals.alpha),
        Comparison(
            "against_others",
            each,
            lambda x: m.against_others(x.labels, None, CLASSES).dice,
            rivals.with_the_others,
            slow=True,
        ),
    ]


def distribution() -> list[Comparison]:
    def ours(metric: Callable[..., float]) -> Callable[[Example], float]:
        return lambda x: metric(x.samples, x.annotations)

    ged, loop = ours(m.generalized_energy_distance), "double loop"
    return [
        Comparison("generalized_energy_distance", loop, ged, partial(rivals.energy_distance, rivals.iou), target=PAIRS),
        Comparison(
            "generalized_energy_distance",
            "the same, count_nonzero",
            ged,
            partial(rivals.energy_distance, rivals.counted_iou),
            slow=True,
        ),
        Comparison("generalized_energy_distance", "SciPy cdist", ged, rivals.scipy_energy_distance, slow=True),
        Comparison("dice_max", loop, ours(m.dice_max), rivals.best, slow=True),
        Comparison("dice_match", loop, ours(m.dice_match), rivals.matched, slow=True),
        Comparison("hungarian_matched_iou", loop, ours(m.hungarian_matched_iou), rivals.matched_iou, slow=True),
    ]


def calibration() -> list[Comparison]:
    def ours(metric: Callable[..., float], target: str = "majority", **options: Any) -> Callable[[Example], float]:
        return lambda x: metric(x.probability, getattr(x, target), **options)

    ece, likelihood = ours(m.expected_calibration_error), m.negative_log_likelihood
    return [
        Comparison("expected_calibration_error", "loop over bins", ece, rivals.per_bin, SINGLE),
        Comparison(
            "expected_calibration_error", "scikit-learn", ece, rivals.scikit_learn_calibration, SINGLE, slow=True
        ),
        Comparison(
            "expected_calibration_error",
            "TorchMetrics",
            ece,
            lambda x: binary_calibration_error(x.tensor("probability"), x.tensor("majority").int(), n_bins=BINS),
            SINGLE,
            slow=True,
        ),
        # Sixteen bins divide the voxels without remainder, which the loop does not share between bins.
        Comparison(
            "adaptive_calibration_error",
            "loop over bins",
            ours(m.adaptive_calibration_error, bins=16),
            partial(rivals.equal_mass, 16),
            SINGLE,
        ),
        Comparison("brier_score", "loop over annotators", ours(m.brier_score, "annotations"), rivals.brier, SINGLE),
        Comparison(
            "brier_score",
            "scikit-learn, one mask",
            ours(m.brier_score),
            lambda x: brier_score_loss(x.majority.ravel(), x.probability.ravel()),
            SINGLE,
            slow=True,
        ),
        Comparison(
            "negative_log_likelihood",
            "loop over annotators",
            ours(likelihood, "annotations", clip=CLIP),
            partial(rivals.log_likelihood, CLIP),
            SINGLE,
        ),
        Comparison(
            "negative_log_likelihood",
            "scikit-learn, one mask",
            ours(likelihood, clip=CLIP),
            lambda x: log_loss(x.majority.ravel(), x.probability.ravel()),
            SINGLE,
            slow=True,
        ),
    ]


def uncertainty() -> list[Comparison]:
    doubt, wrong = "uncertainty", "wrong"

    def ours(metric: Callable[..., float], against: str = wrong) -> Callable[[Example], float]:
        return lambda x: metric(x.uncertainty, getattr(x, against))

    ncc = ours(m.normalised_cross_correlation, "annotations")
    listed = [
        Comparison("normalised_cross_correlation", "NumPy corrcoef", ncc, rivals.correlation),
        Comparison(
            "normalised_cross_correlation",
            "SciPy",
            ncc,
            lambda x: pearsonr(x.uncertainty.ravel(), x.annotations.var(axis=0).ravel()).statistic,
            slow=True,
        ),
        Comparison(
            "normalised_cross_correlation",
            "TorchMetrics",
            ncc,
            lambda x: pearson_corrcoef(
                x.tensor(doubt).ravel(), torch.from_numpy(x.annotations.var(axis=0)).float().ravel()
            ),
            SINGLE,
            slow=True,
        ),
    ]
    for name, metric, learn, light in (
        ("auroc", m.auroc, roc_auc_score, binary_auroc),
        ("average_precision", m.average_precision, average_precision_score, binary_average_precision),
    ):
        listed += [
            Comparison(
                name,
                "scikit-learn",
                ours(metric),
                lambda x, f=learn: f(x.wrong.ravel(), x.uncertainty.ravel()),
                SINGLE,
                slow=True,
            ),
            Comparison(
                name,
                "TorchMetrics",
                ours(metric),
                lambda x, f=light: f(x.tensor(doubt).ravel(), x.tensor(wrong).int().ravel()),
                SINGLE,
                slow=True,
            ),
        ]
    return listed


def surface() -> list[Comparison]:
    ours: dict[str, Callable[[Example], Any]] = {
        "hd95_mm": lambda x: m.hd95_mm(x.predicted, x.majority, x.spacing),
        "assd_mm": lambda x: m.assd_mm(x.predicted, x.majority, x.spacing),
        "surface_dice": lambda x: m.surface_dice(x.predicted, x.majority, x.spacing, TOLERANCE_MM),
    }
    scores = {"hd95_mm": rivals.hd95, "assd_mm": rivals.assd, "surface_dice": partial(rivals.near, t=TOLERANCE_MM)}
    listed = []
    for name, score in scores.items():
        for rival, find in (("distance transforms", rivals.surfaces), ("SimpleITK", rivals.simpleitk_surfaces)):
            theirs = lambda x, s=score, f=find: s(f(x))  # noqa: E731  # a cell of a table
            listed.append(Comparison(name, rival, ours[name], theirs, SINGLE, slow=True))
        theirs = partial(rivals.monai_surface, name, TOLERANCE_MM)
        listed.append(Comparison(name, "MONAI", ours[name], theirs, SINGLE, slow=True))
    return listed


def all_comparisons() -> list[Comparison]:
    return [*overlap(), *thresholds(), *annotators(), *distribution(), *calibration(), *uncertainty(), *surface()]
