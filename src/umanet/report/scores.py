"""Predictions of the run, made for the report: scores, reliability, and the worst cases as pictures."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from umanet.data.case_size import largest_case
from umanet.data.images import read_case, read_labels, read_map
from umanet.data.index import DatasetIndex
from umanet.evaluation import MARGIN, MEAN, Evaluation, evaluate
from umanet.evaluation.table import metric_title
from umanet.executor import INLINE, Executor
from umanet.fusion import majority_vote
from umanet.inference.model_file import Model
from umanet.inference.predict import predict
from umanet.inference.prediction_files import MANIFEST
from umanet.inference.unread import samples_of_index
from umanet.metrics.calibration import ReliabilityCurve, neighbourhood, reliability_curve
from umanet.report.pictures import Picture, any_of, displayed, picture
from umanet.report.view import find_view
from umanet.types import IGNORE, Case, Sample

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


def find_scores(
    model: Model,
    index: DatasetIndex,
    split: str | None,
    most: int,
    stage: Stage,
    executor: Executor = INLINE,
    run: Path | None = None,
) -> Scores | None:
    """Predict a split into a folder that goes again, and score it; None where there is nothing to compare with.

    Raises:
        TaskError: The data set is of another task than the model.
        ConfigError: Other processes are to load the model, and ``run`` is not given.
    """
    chosen = index.select(split)
    cases = tuple(case for case in chosen if case.truth is not None or case.annotations)
    if not cases:
        return None
    known = index.model_copy(update={"cases": cases})
    with tempfile.TemporaryDirectory(prefix="umanet-report-") as folder:
        output = Path(folder) / "predictions"
        _, samples = samples_of_index(model, known, None)
        predict(model, samples, output, total=len(cases), executor=executor, run=run, progress=stage("predicting"))
        evaluation = evaluate(output, known, executor=executor, progress=stage("scoring"))
        metric = "dice" if "truth" in evaluation.protocol["against"] else "soft_dice"
        names = [row["case"] for row in _ordered(evaluation, metric)[: min(most, MOST_WORST)]]
        files = json.loads((output / MANIFEST).read_text(encoding="utf-8"))["cases"]
        rows = {name: [row for row in evaluation.cases if row["case"] == name] for name in names}
        items = [(case, files[case.id], rows.get(case.id)) for case in cases]
        look = partial(_look, index=known.without_cases(), output=output)
        seen: list[_Seen] = []
        report = stage("drawing")
        with executor.map(look, items, [case.id for case in cases], partial(largest_case, cases)) as results:
            for one in results:
                seen.append(one)
                report(len(seen), len(cases))
    drawn = {one.worst.case: one.worst for one in seen if one.worst}
    uncertainty = {case.id: one.uncertainty for case, one in zip(cases, seen, strict=True)}
    worst = [drawn[name] for name in names]
    left_out = len(chosen) - len(cases)
    return Scores(split, left_out, evaluation, metric, _summed(seen, index), uncertainty, worst)


def _ordered(evaluation: Evaluation, metric: str) -> list[dict[str, Any]]:
    several = len(evaluation.classes) > 1
    rows = [row for row in evaluation.cases if (row["class"] == MEAN) == several and row[metric] is not None]
    return sorted(rows, key=lambda row: (row[metric], row["case"]))


@dataclass(frozen=True)
class _Seen:
    """What is gathered from the prediction of a case: the fields of ``Scores`` of the same names, of it alone."""

    curves: dict[str, dict[str, ReliabilityCurve]]
    uncertainty: float
    worst: WorstCase | None


def _look(item: tuple[Case, dict[str, Any], list[dict[str, Any]] | None], index: DatasetIndex, output: Path) -> _Seen:
    """Look at a case, its files as the manifest names them, and where it is to be drawn, its rows of scores."""
    case, files, rows = item
    sample, dims, classes = read_case(case, index), index.spatial_dims, index.task.classes
    labels = read_labels(output / files["labels"], index, sample.geometry)
    maps = {name: read_map(output / files["probabilities"][name], dims) for name in classes}
    foreground = 1 - maps[classes[0]] > NOTICED
    noticed = neighbourhood(foreground, margin=MARGIN) if foreground.any() else ~foreground
    uncertainty = float(read_map(output / files["entropy"], dims)[noticed].mean())
    drawn = None if rows is None else _draw(sample, labels, rows, index)
    return _Seen(_curves(sample, labels, maps, index), uncertainty, drawn)


def _curves(
    sample: Sample,
    labels: UInt8[np.ndarray, "*spatial"],
    maps: dict[str, Float[np.ndarray, "*spatial"]],
    index: DatasetIndex,
) -> dict[str, dict[str, ReliabilityCurve]]:
    found: dict[str, dict[str, ReliabilityCurve]] = {}
    for k, name in enumerate(index.task.classes[1:], start=1):
        for target, (mean, union, known) in _targets(sample, k, index).items():
            region = neighbourhood(labels == k, union, margin=MARGIN) & known
            if region.any():
                found.setdefault(name, {})[target] = reliability_curve(maps[name], mean, region=region)
    return found


def _summed(seen: list[_Seen], index: DatasetIndex) -> dict[str, dict[str, ReliabilityCurve]]:
    """Class to target to the curve of all cases."""
    curves: dict[str, dict[str, ReliabilityCurve]] = {name: {} for name in index.task.classes[1:]}
    for one in seen:
        for name, targets in one.curves.items():
            for target, new in targets.items():
                curves[name][target] = curves[name][target] + new if target in curves[name] else new
    return curves


def _draw(
    sample: Sample, labels: UInt8[np.ndarray, "*spatial"], rows: list[dict[str, Any]], index: DatasetIndex
) -> WorstCase:
    reference = _reference(sample, index)
    silent = reference == IGNORE
    differs = ((labels != reference) & ~silent).astype(np.float32)
    view = find_view(sample.geometry, any_of(labels, reference), differs)
    lines = (("reference", reference), ("predicted", labels))
    alt = f"{sample.case} with the outlines of the prediction and of what it is compared with"
    shown = displayed(sample.image.numpy(), index)
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
