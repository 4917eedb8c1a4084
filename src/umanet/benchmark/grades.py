"""How well the grades of training annotations agree with a truth that the method never saw."""

from pathlib import Path

import numpy as np

from umanet.data.index import DatasetIndex
from umanet.grading import for_annotators, graded_cases
from umanet.inference.model_file import load_model
from umanet.metrics import auroc, dice

POOR = 0.6
"""Dice of an annotation below which it is bad."""


def grades_against_truth(run: Path, index: DatasetIndex) -> dict[str, float]:
    """Of the training cases.

    Returns:
        ``consensus_dice``: of the image-aware consensus. ``uncertainty_auroc``: of uncertainty for wrong voxels, mean
        over cases. ``quality_auroc``: of quality for annotations with a Dice below 0.6; NaN where there are none.
        ``annotations`` and ``poor_annotations``: how many.
    """
    model = for_annotators(load_model(run, grading=True), index)
    consensus, uncertain, quality, true = [], [], [], []
    classes = range(1, model.task.num_classes)
    for graded in graded_cases(model, index, "train"):
        sample, grades = graded.sample, graded.grades
        assert sample.truth is not None  # looked at before
        truth, present = sample.truth.numpy(), sample.present.numpy()
        fused = grades.consensus[0].max(0).indices.numpy()
        consensus.append(np.mean([dice(fused == k, truth == k) for k in classes]))
        shown = sample.annotations.numpy()[present]
        uncertain.append(auroc(grades.uncertainty[0].numpy()[present].ravel(), (shown != truth).ravel()))
        quality += grades.quality[0].numpy()[present].tolist()
        true += [float(np.mean([dice(one == k, truth == k) for k in classes])) for one in shown]
    poor = np.array(true) < POOR
    return {
        "consensus_dice": float(np.mean(consensus)),
        "uncertainty_auroc": float(np.nanmean(uncertain)),
        "quality_auroc": float(auroc(-np.array(quality), poor)),
        "annotations": len(true),
        "poor_annotations": int(poor.sum()),
    }
