"""What a demo has measured: networks, consensus and annotators against the truth, and every annotation's grade."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.evaluation import Evaluation
from umanet.metrics import auroc, bootstrap_interval, dice

GROSS = 0.6
"""An annotation with a smaller Dice against the truth is a gross error."""
FAULTS = {
    "good": "nearly right",
    "over": "outlines too large",
    "under": "outlines too small",
    "sloppy": "careless, shifted",
    "wrong": "gross errors",
}
"""What the simulated annotators' names (without a number) stand for."""
BAD_DAY = "everybody's bad day"
Score = tuple[float, float, float]
"""Mean, and the bounds of its 95 % interval over patients."""


@dataclass(frozen=True)
class Findings:
    """All that the tables and the picture show.

    Attributes:
        networks: Method to its scores on the test images.
        consensus: Method to the scores of its consensus of the training images' annotations.
        annotations: A row per annotation, most doubtful first: ``case, annotator, split, quality, low, dice, fault``.
        ranking: As ``umanet.grading.rank_annotators``: best first.
        seed: Of the bootstrap.
    """

    networks: Mapping[str, Evaluation]
    consensus: Mapping[str, Evaluation]
    annotations: pd.DataFrame
    ranking: list[dict[str, Any]]
    seed: int

    def of_annotator(self, name: str, split: str | None = None) -> Score:
        """Dice of an annotator's annotations against the truth."""
        rows = self.annotations.query("annotator == @name" + (" and split == @split" if split else ""))
        return _score(rows["dice"].to_numpy(), list(rows["case"]), self.seed)

    def gain(self, first: str, second: str) -> Score:
        """By how much Dice the first network is above the second, image by image."""
        ours, theirs = (self.networks[method].cases for method in (first, second))
        gains = [one["dice"] - other["dice"] for one, other in zip(ours, theirs, strict=True)]
        return _score(np.array(gains), [row["patient"] for row in ours], self.seed)

    def finds_gross_errors(self) -> float:
        """AUROC of low quality against a Dice below ``GROSS``; NaN where there is no such annotation."""
        return auroc(-self.annotations.quality.to_numpy(), (self.annotations.dice < GROSS).to_numpy())


def annotated(grades: pd.DataFrame, index: DatasetIndex, record: Path) -> pd.DataFrame:
    """The rows of ``grades`` with what is known of a simulated data set: Dice against the truth, and the fault.

    Args:
        grades: As ``umanet.grading.grade`` returns them.
        index: The data set; every case has a truth.
        record: ``simulation.json``.
    """
    bad_days = set(json.loads(record.read_text(encoding="utf-8"))["bad_day_cases"])
    true_dice = {}
    for case in index.cases:
        sample = read_case(case, index)
        assert sample.truth is not None  # simulated
        for name, labels in zip(index.annotators, sample.annotations, strict=True):
            true_dice[case.id, name] = dice(labels.numpy() > 0, sample.truth.numpy() > 0)
    keys = list(zip(grades.case, grades.annotator, strict=True))
    return grades.assign(
        dice=[true_dice[key] for key in keys],
        fault=[BAD_DAY if case in bad_days else fault_of(name) for case, name in keys],
    )


def fault_of(annotator: str) -> str:
    """What is known to be wrong with a simulated annotator, in words."""
    return FAULTS[annotator.rstrip("0123456789")]


def score_of(evaluation: Evaluation) -> Score:
    """Dice of an evaluation, with its interval."""
    entry = evaluation.summary["dice"]
    return entry["mean"], *entry["ci95"]


def _score(values: np.ndarray, patients: list[str], seed: int) -> Score:
    return float(values.mean()), *bootstrap_interval(values, patients, seed=seed)
