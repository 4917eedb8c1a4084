"""One page on a run that people act on: what was learned, how good, how sure, and which annotations to look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from umanet.agreement import ALL, ANONYMOUS, MARGIN, NOTHING, Agreement
from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError
from umanet.evaluation import METRICS
from umanet.evaluation.table import metric_title, p_value
from umanet.executor import INLINE, Executor
from umanet.grading import blindness
from umanet.inference.model_file import Model
from umanet.methods import GradesAnnotations
from umanet.metrics.uncertainty import risk_coverage
from umanet.report.annotators import MOST_WORST, classes_of, find_agreement, habit, matrices, worst_cases
from umanet.report.charts import (
    curve_chart,
    drift_chart,
    lines_chart,
    ratio_chart,
    reliability_chart,
    risk_chart,
    strip_chart,
)
from umanet.report.doubts import Doubts, find_doubts
from umanet.report.drift import NEAREST, Drift, find_drift
from umanet.report.page import refuse_existing, write_page
from umanet.report.pictures import styles_of
from umanet.report.record import Learned, find_agreement_record, find_learned, find_record, settings_text
from umanet.report.scores import Scores, find_scores, scored_split

MOST_CASES = 60
SECTIONS = {
    "learned": "What was learned",
    "good": "How good",
    "sure": "How sure",
    "doubtful": "Which annotations are doubtful",
    "annotators": "Who annotates how",
    "hard": "Which images are hard",
    "record": "Method record",
}
AGREEMENT_SECTIONS = {
    "agreement": "How far the annotators agree",
    "annotators": "Who annotates how",
    "disputed": "Where they differ most",
    "record": "Method record",
}
MOST_PANELS = 4
"""Classes that have a reliability diagram of their own."""


def build_report(
    model: Model,
    index: DatasetIndex,
    run: Path,
    output: Path,
    *,
    split: str | None = None,
    most_cases: int = MOST_CASES,
    command: str = "",
    executor: Executor = INLINE,
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Predict, score and grade, and write what was found as one HTML file that needs nothing else.

    Args:
        model: From ``load_model``; with ``grading=True`` where the method can grade.
        index: The data set of the run, or another one of its task.
        run: The run folder: settings, curve and hashes.
        output: A new file.
        split: Only this one. By default the annotations of all splits are graded, and the test split (validation
            where there is none) is predicted.
        most_cases: Annotations that are shown with pictures; all are in the table.
        command: As typed, for the record.
        executor: Where cases are graded, predicted, scored and compared: here or in processes of this machine.
        progress: Called with what is done, of how much, and what it is.

    Raises:
        OutputError: ``output`` exists, or cannot be written.
        TaskError: The data set is of another task than the model.
        DatasetError: The split is empty.
        ExecutorError: A case cannot be done, as its worker dies each time.
    """
    refuse_existing(output)
    if not index.select(split):
        raise DatasetError(f"No case found in split {split!r} of {index.name!r}. Report on another split.")
    stages = _Stages(index, split, progress, grades=isinstance(model.method, GradesAnnotations))
    doubts = None
    if isinstance(model.method, GradesAnnotations):
        doubts = find_doubts(model, index, split, most_cases, stages("grading"), executor, run)
    scores = find_scores(model, index, scored_split(index, split), most_cases, stages, executor, run)
    agreement = find_agreement(index, split, stages("comparing annotators"), executor)
    learned = find_learned(model, index, run)
    values = {
        "title": index.name,
        "subtitle": f"{model.config.method} · {run.resolve().name}",
        "sections": SECTIONS,
        "index": index,
        "task": index.task,
        "split": split,
        "most_cases": most_cases,
        "bare": sum(not case.annotations for case in index.select(split)),
        "config": model.config,
        "can_grade": isinstance(model.method, GradesAnnotations),
        "blind": blindness(model.method),
        **_learned(learned, index),
        **_scores(scores),
        **_doubts(doubts, index),
        **annotator_values(*agreement, index, most_cases),
        "record": find_record(model, index, run, command),
        "settings_text": settings_text(model.config),
    }
    write_page("report.html", output, values)


def write_agreement(agreement: Agreement, index: DatasetIndex, path: Path, *, command: str = "") -> None:
    """The agreement of the annotators alone as a page that needs nothing else.

    Args:
        agreement: From ``umanet.agreement.measure_agreement``.
        index: The data set that was measured.
        path: Where to write; a file there is replaced.
        command: As typed, for the record.

    Raises:
        OutputError: The file cannot be written.
    """
    values = {
        "title": index.name,
        "subtitle": "agreement of the annotators",
        "sections": AGREEMENT_SECTIONS,
        "index": index,
        "task": index.task,
        "styles": styles_of(index.annotators),
        **annotator_values(agreement, "", index, MOST_WORST),
        "record": find_agreement_record(index, agreement, command),
    }
    write_page("agreement.html", path, values)


class _Stages:
    """Progress of several stages as one."""

    def __init__(
        self,
        index: DatasetIndex,
        split: str | None,
        progress: Callable[[int, int, str], None] | None,
        *,
        grades: bool,
    ):
        annotated = sum(bool(case.annotations) for case in index.select(split))
        self.total = (1 + grades) * annotated + 3 * len(index.select(scored_split(index, split)))
        self.before, self.progress = 0, progress

    def __call__(self, name: str) -> Callable[[int, int], None]:
        start = self.before

        def report(done: int, total: int) -> None:
            self.before = start + done
            if self.progress:
                self.progress(min(self.before, self.total), self.total, name)

        return report


def _learned(learned: Learned, index: DatasetIndex) -> dict[str, Any]:
    title = "How often annotators are right where they disagree, as learned"
    # Of anonymous annotators old runs have columns too.
    shown = learned.curve if index.annotators_are_identified else []
    return {
        "learned": learned,
        "curve_chart": Markup(curve_chart(learned.curve) if learned.curve else ""),
        "reliability_lines": Markup(lines_chart(shown, "reliability/", title)),
    }


def _scores(scores: Scores | None) -> dict[str, Any]:
    values: dict[str, Any] = {"scores": scores, "strips": [], "sure": None}
    if scores is None:
        return values
    evaluation, metric = scores.evaluation, scores.metric
    title = metric_title(metric, evaluation.protocol)
    groups = {name: [row[metric] for row in evaluation.cases if row["class"] == name and row[metric] is not None]
              for name in evaluation.classes}  # fmt: skip
    label = f"{title} of each case against the {scores.reference if metric == 'dice' else 'annotations'}"
    means = {name: table[metric] for name, table in evaluation.classes.items()}
    alt = f"{title} of every case, by class"
    return values | {
        "metric_names": {name: metric_title(name, evaluation.protocol) for name in METRICS},
        "strips": [Markup(strip_chart(groups, label, alt, means=means))],
        "sure": _sure(scores, title),
    }


def _sure(scores: Scores, title: str) -> dict[str, Any]:
    ordered = scores.ordered
    error = np.array([1 - row[scores.metric] for row in ordered])
    coverage, risk = risk_coverage(np.array([scores.uncertainty[row["case"]] for row in ordered]), error)
    _, ideal = risk_coverage(error, error)
    label = f"mean of 1 − {title}"
    curves = {name: targets for name, targets in scores.curves.items() if targets}
    shown = dict(list(curves.items())[:MOST_PANELS])
    half = max(len(risk) // 2 - 1, 0)
    return {
        "reliability": Markup(reliability_chart(shown) if shown else ""),
        "risk": Markup(risk_chart(list(coverage), list(risk), list(ideal), label)) if len(risk) > 1 else "",
        "area": float(np.mean(risk)) if len(risk) else None,
        "ideal_area": float(np.mean(ideal)) if len(ideal) else None,
        "half": float(risk[half]) if len(risk) else None,
        "all": float(risk[-1]) if len(risk) else None,
        "errors": {name: {target: curve.expected_calibration_error for target, curve in targets.items()}
                   for name, targets in curves.items()},
        "left_out": len(curves) - len(shown),
        "label": label,
        "margin": scores.margin,
    }  # fmt: skip


def _doubts(doubts: Doubts | None, index: DatasetIndex) -> dict[str, Any]:
    chart, drifts = "", list[Drift]()
    if doubts is not None:
        table, identified = doubts.table, index.annotators_are_identified
        groups = {name: table[table.annotator == name].quality.dropna().tolist() for name in index.annotators}
        ordered = {entry["annotator"]: groups[entry["annotator"]] for entry in doubts.ranking}
        shown = ordered if identified else {"all annotations": table.quality.dropna().tolist()}
        alt = "Quality of every annotation" + (", by annotator" if identified else "")
        chart = strip_chart({name: values for name, values in shown.items() if values}, "quality", alt, means={})
        drifts = find_drift(table, index)
    over_time = drift_chart(drifts, "quality", "Quality of every dated annotation over time") if drifts else ""
    return {
        "doubts": doubts, "quality_chart": Markup(chart), "styles": styles_of(index.annotators),
        "drifts": drifts, "drift_chart": Markup(over_time), "nearest": NEAREST, "p_value": p_value,
    }  # fmt: skip


def annotator_values(agreement: Agreement | None, why_not: str, index: DatasetIndex, most_cases: int) -> dict[str, Any]:
    """What the templates of the annotators need."""
    only = {name: f"draws only {' and '.join(names)}" for name, names in index.annotator_classes.items()}
    values = {"agreement": agreement, "why_no_agreement": why_not, "identified": index.annotators_are_identified,
              "anonymous": ANONYMOUS, "only": only, "ignored": index.ignore}  # fmt: skip
    if agreement is None:
        return values
    known = [row for row in agreement.cases if row["mean_pairwise_dice"] is not None]
    groups = {name: [row["mean_pairwise_dice"] for row in known if row["class"] == name]
              for name in classes_of(agreement)}  # fmt: skip
    means = {name: row["mean_pairwise_dice"] | {"mean": row["mean_pairwise_dice"]["value"]}
             for name, row in agreement.statistics.items()}  # fmt: skip
    ratios: dict[str, dict[str, Any]] = {}
    for row in agreement.per_annotator:
        ratios.setdefault(row["annotator"], dict.fromkeys(classes_of(agreement), NOTHING))[row["class"]] = row[
            "volume_ratio"
        ]
    dice, ratio = "mean Dice of the pairs of annotations of a case", "volume over that of the consensus of the others"
    return values | {
        "all_classes": ALL,
        "margin": MARGIN,
        "habit": habit,
        "matrices": matrices(agreement),
        "disputed": worst_cases(agreement, index, min(MOST_WORST, most_cases)),
        "agreement_chart": Markup(strip_chart(groups, dice, "Agreement in every case, by class", means=means)),
        "ratio_chart": Markup(ratio_chart(ratios, ratio, "Volume ratio of every annotator") if ratios else ""),
    }
