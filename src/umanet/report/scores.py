"""Predictions of the run, made for the report: scores, reliability, and the worst cases as pictures."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from umanet.data.images import read_case, read_labels, read_map
from umanet.data.index import DatasetIndex
from umanet.evaluation import MARGIN, MEAN, Evaluation, evaluate
from umanet.evaluation.table import metric_title
from umanet.fusion import majority_vote
from umanet.inference.model_file import Model
from umanet.inference.predict import predict
from umanet.inference.prediction_files import MANIFEST
from umanet.inference.unread import samples_of_index
from umanet.metrics.calibration import ReliabilityCurve, neighbourhood, reliability_curve
from umanet.report.pictures import Picture, any_of, displayed, picture
from umanet.report.view import find_view
from umanet.types import IGNORE, Sample

MOST_WORST = 12
NOTICED = 0.1
"""Probability of any foreground from which a voxel counts as predicted, where a case's uncertainty is measured."""
TARGETS = {"truth": "truth", "annotations": "mean of the annotations"}
Stage = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class WorstCase:
    """A case with one of the lowest scores."""

    case: str
    rows: list[dict[str, Any]]
    place: str
    picture: Picture


@dataclass(frozen=True)
class Scores:
    """How good, and how sure.

    Attributes:
        split: That was predicted; None for all cases.
        left_out: Cases of the split that have nothing to compare with.
        evaluation: Of all others.
        metric: That the cases are ordered by.
        curves: Class to target to reliability curve, over all cases, within ``margin`` voxels of prediction and target.
        uncertainty: Case to mean entropy about what is predicted.
        worst: Worst first.
    """

    split: str | None
    left_out: int
    evaluation: Evaluation
    metric: str
    curves: dict[str, dict[str, ReliabilityCurve]]
    uncertainty: dict[str, float]
    worst: list[WorstCase]
    margin: int = MARGIN

    @property
    def reference(self) -> str:
        return "truth" if self.metric == "dice" else "majority of the annotations"

    @property
    def remarks(self) -> list[str]:
        """What the table of scores does not say of itself."""
        said, lines = self.evaluation.protocol, []
        without = said.get("distances", {}).get("cases_without_spacing", 0)
        if without == said["cases"]:
            lines.append("No image says how large a voxel is: distances are in voxels.")
        elif without:
            lines.append(f"{without} of {said['cases']} images do not say how large a voxel is: there it is 1 mm.")
        nothing = [metric_title(name, said) for name, entry in self.evaluation.summary.items() if not entry["cases"]]
        if nothing:
            lines.append(f"Undefined in every case, as with one annotator: {', '.join(nothing)}.")
        return lines

    @property
    def ordered(self) -> list[dict[str, Any]]:
        """One row per case (the mean of several classes), worst first."""
        return _ordered(self.evaluation, self.metric)

    @property
    def all_rows(self) -> list[dict[str, Any]]:
        """A row per case and class, those of the worst case first; cases without a score last."""
        rank = {row["case"]: number for number, row in enumerate(self.ordered)}
        return sorted(self.evaluation.cases, key=lambda row: rank.get(row["case"], len(rank)))


def scored_split(index: DatasetIndex, split: str | None) -> str | None:
    """What to predict: the split that is asked for, else ``test``, else ``validation``, else all cases."""
    return split or next((name for name in ("test", "validation") if index.select(name)), None)


def find_scores(model: Model, index: DatasetIndex, split: str | None, most: int, stage: Stage) -> Scores | None:
    """Predict a split into a folder that goes again, and score it; None where there is nothing to compare with.

    Raises:
        TaskError: The data set is of another task than the model.
    """
    chosen = index.select(split)
    cases = tuple(case for case in chosen if case.truth is not None or case.annotations)
    if not cases:
        return None
    known = index.model_copy(update={"cases": cases})
    with tempfile.TemporaryDirectory(prefix="umanet-report-") as folder:
        output = Path(folder) / "predictions"
        _, samples = samples_of_index(model, known, None)
        predict(model, samples, output, total=len(cases), progress=stage("predicting"))
        evaluation = evaluate(output, known, progress=stage("scoring"))
        metric = "dice" if "truth" in evaluation.protocol["against"] else "soft_dice"
        names = [row["case"] for row in _ordered(evaluation, metric)[: min(most, MOST_WORST)]]
        look = _Look(known, evaluation, names, output)
        report = stage("drawing")
        for done, case in enumerate(cases, start=1):
            look.at(read_case(case, known))
            report(done, len(cases))
    worst = [look.worst[name] for name in names]
    return Scores(split, len(chosen) - len(cases), evaluation, metric, look.curves, look.uncertainty, worst)


def _ordered(evaluation: Evaluation, metric: str) -> list[dict[str, Any]]:
    several = len(evaluation.classes) > 1
    rows = [row for row in evaluation.cases if (row["class"] == MEAN) == several and row[metric] is not None]
    return sorted(rows, key=lambda row: (row[metric], row["case"]))


class _Look:
    """What is gathered from the predictions, case after case."""

    def __init__(self, index: DatasetIndex, evaluation: Evaluation, names: list[str], output: Path):
        self.index, self.evaluation, self.names, self.output = index, evaluation, set(names), output
        self.files = json.loads((output / MANIFEST).read_text(encoding="utf-8"))["cases"]
        self.curves: dict[str, dict[str, ReliabilityCurve]] = {name: {} for name in index.task.classes[1:]}
        self.uncertainty: dict[str, float] = {}
        self.worst: dict[str, WorstCase] = {}

    def at(self, sample: Sample) -> None:
        files, dims = self.files[sample.case], self.index.spatial_dims
        labels = read_labels(self.output / files["labels"], self.index, sample.geometry)
        maps = {name: read_map(self.output / files["probabilities"][name], dims) for name in self.index.task.classes}
        self._add_curves(sample, labels, maps)
        foreground = 1 - maps[self.index.task.classes[0]] > NOTICED
        noticed = neighbourhood(foreground, margin=MARGIN) if foreground.any() else ~foreground
        self.uncertainty[sample.case] = float(read_map(self.output / files["entropy"], dims)[noticed].mean())
        if sample.case in self.names:
            self.worst[sample.case] = self._draw(sample, labels)

    def _add_curves(
        self,
        sample: Sample,
        labels: UInt8[np.ndarray, "*spatial"],
        maps: dict[str, Float[np.ndarray, "*spatial"]],
    ) -> None:
        for k, (name, curves) in enumerate(self.curves.items(), start=1):
            for target, (mean, union, known) in _targets(sample, k, self.index).items():
                region = neighbourhood(labels == k, union, margin=MARGIN) & known
                if region.any():
                    new = reliability_curve(maps[name], mean, region=region)
                    curves[target] = curves[target] + new if target in curves else new

    def _draw(self, sample: Sample, labels: UInt8[np.ndarray, "*spatial"]) -> WorstCase:
        reference = _reference(sample, self.index)
        silent = reference == IGNORE
        differs = ((labels != reference) & ~silent).astype(np.float32)
        view = find_view(sample.geometry, any_of(labels, reference), differs)
        lines = (("reference", reference), ("predicted", labels))
        alt = f"{sample.case} with the outlines of the prediction and of what it is compared with"
        rows = [row for row in self.evaluation.cases if row["case"] == sample.case]
        shown = displayed(sample.image.numpy(), self.index)
        return WorstCase(sample.case, rows, view.place, picture(shown, view, lines, alt, silent=silent))


def _targets(sample: Sample, k: int, index: DatasetIndex) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What a probability of class k is compared with, where that is, and where it is known."""
    found = {}
    if sample.truth is not None:
        truth = sample.truth.numpy()
        found[TARGETS["truth"]] = (truth == k).astype(np.float32), truth == k, truth != IGNORE
    labels = sample.annotations.numpy()[sample.present.numpy() & index.task.who_draws(k)]
    if len(labels):
        drawn = labels == k
        found[TARGETS["annotations"]] = drawn.mean(axis=0, dtype=np.float32), drawn.any(axis=0), heard(labels)
    return found


def heard(labels: UInt8[np.ndarray, "P *spatial"]) -> Bool[np.ndarray, "*spatial"]:
    """Where all annotations say something."""
    return np.logical_not((labels == IGNORE).any(axis=0))


def _reference(sample: Sample, index: DatasetIndex) -> UInt8[np.ndarray, "*spatial"]:
    """The truth, else the majority; ``IGNORE`` where nothing is said."""
    if sample.truth is not None:
        return sample.truth.numpy()
    given = sample.annotations.numpy(), sample.present.numpy(), index.task.num_classes
    voted, _ = majority_vote(*given, drawn=index.task.drawn)
    return np.where(voted.any(axis=0), voted.argmax(axis=0), IGNORE).astype(np.uint8)
