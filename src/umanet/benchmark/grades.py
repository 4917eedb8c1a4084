"""How well the grades of training annotations agree with a truth that the method never saw."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Shaped

from umanet.data.index import DatasetIndex
from umanet.grading import for_annotators, graded_cases
from umanet.inference.model_file import load_model
from umanet.metrics import auroc, dice_per_class, error_detection
from umanet.metrics.detection import GROSS_ERROR
from umanet.types import IGNORE, Sample

POOR = GROSS_ERROR
"""Dice of an annotation below which it is bad."""


@dataclass(frozen=True)
class CheckedCase:
    """What is said of the annotations of a case.

    Attributes:
        sample: With its truth.
        quality: In [0, 1], high is good; NaN for who is absent, and where nothing can be said.
        uncertainty: High where an annotation is wrong. None: nothing is said voxel by voxel.
        consensus: Labels. None: there is none.
    """

    sample: Sample
    quality: Float[np.ndarray, " R"]
    uncertainty: Float[np.ndarray, "R *spatial"] | None = None
    consensus: Integer[np.ndarray, "*spatial"] | None = None


def grades_against_truth(run: Path, index: DatasetIndex) -> dict[str, float | None]:
    """Of the training cases, by the run's method; as ``against_truth``."""
    model = for_annotators(load_model(run, grading=True), index)

    def checked() -> Iterator[CheckedCase]:
        for graded in graded_cases(model, index, "train"):
            grades = graded.grades
            consensus = grades.consensus[0].max(0).indices.numpy()
            yield CheckedCase(graded.sample, grades.quality[0].numpy(), grades.uncertainty[0].numpy(), consensus)

    return against_truth(checked(), model.task.num_classes)


def against_truth(cases: Iterable[CheckedCase], num_classes: int) -> dict[str, float | None]:
    """Voxels that the annotation or the truth ignores do not count.

    Args:
        cases: Each has a truth.
        num_classes: Background included.

    Returns:
        ``consensus_dice``: of the consensus. ``uncertainty_auroc``: of uncertainty for wrong voxels, mean over cases.
        Either is None where there is no consensus or uncertainty. And ``quality_against_dice``.
    """
    consensus, uncertain, quality, true = [], [], [], []
    for case in cases:
        assert case.sample.truth is not None  # looked at before
        truth, present = case.sample.truth.numpy(), case.sample.present.numpy()
        shown = case.sample.annotations.numpy()[present]
        if case.consensus is not None:
            consensus.append(_true_dice(case.consensus, truth, num_classes))
        if case.uncertainty is not None:
            known = (shown != IGNORE) & (truth != IGNORE)
            uncertain.append(auroc(case.uncertainty[present][known], (shown != truth)[known]))
        quality += case.quality[present].tolist()
        true += [_true_dice(one, truth, num_classes) for one in shown]
    return {
        "consensus_dice": float(np.mean(consensus)) if consensus else None,
        "uncertainty_auroc": _mean_of_known(uncertain) if uncertain else None,
        **quality_against_dice(np.array(quality, np.float64), np.array(true, np.float64)),
    }


def quality_against_dice(
    quality: Shaped[np.ndarray, " N"], true_dice: Float[np.ndarray, " N"]
) -> dict[str, float | None]:
    """How well quality finds annotations whose Dice with the truth is below 0.6. NaN where it cannot be said.

    Args:
        quality: High is good. NaN, where nothing is said of an annotation, leaves it out.
        true_dice: In [0, 1].

    Returns:
        ``quality_auroc`` and ``quality_average_precision``: of low quality for bad annotations; ``quality_spearman``:
        rank correlation with the Dice; ``annotations`` that have a quality and ``poor_annotations`` among them.
    """
    known = ~np.isnan(quality)
    found = error_detection(quality[known], true_dice[known], POOR)
    return {
        "quality_auroc": found.auroc,
        "quality_average_precision": found.average_precision,
        "quality_spearman": found.spearman,
        "annotations": found.items,
        "poor_annotations": found.positives,
    }


def _true_dice(
    labels: Integer[np.ndarray, "*spatial"], truth: Integer[np.ndarray, "*spatial"], num_classes: int
) -> float:
    """Mean over foreground classes."""
    known = (labels != IGNORE) & (truth != IGNORE)
    return float(dice_per_class(labels[known], truth[known], num_classes)[1:].mean())


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
