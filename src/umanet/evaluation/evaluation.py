"""How good predictions are: per case, class and metric, with intervals over patients.

Files are read one case at a time and scored on their own grid.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from umanet.data.case_size import largest_case
from umanet.data.index import DatasetIndex
from umanet.data.result_files import to_csv, write_together
from umanet.errors import ConfigError, DatasetError, TaskError
from umanet.evaluation.prediction_folder import CaseFiles, LabelValues, PredictionFolder, counted, find_predictions
from umanet.evaluation.protocol import DISTRIBUTION, Against, Protocol, choose_protocol
from umanet.evaluation.scores import MEAN, OUTCOMES, CaseScores, Row, score_case
from umanet.evaluation.summary import summarise, summarise_annotators
from umanet.executor import INLINE, Executor
from umanet.metrics.interval import RESAMPLES, require_seed
from umanet.types import Case

FORMAT, VERSION = "umanet-evaluation", 1
FILE = "evaluation.json"


@dataclass(frozen=True)
class Evaluation:
    """Scores, ready to be written; None where a value is undefined.

    Attributes:
        summary: Metric to ``mean``, ``ci95`` (two numbers) and counts, over cases; of several foreground
            classes, the mean in each case. ``both_empty``, ``missed``, ``false`` count cases of every class.
        classes: The same for every foreground class.
        cases: One row per case and foreground class, and one for their mean where there are several.
            ``outcome_truth``, ``outcome_annotations``, ``outcome_majority`` and ``outcome_staple`` are ``found``,
            ``both_empty``, ``missed`` (there but not predicted) or ``false`` (predicted but not there). To be there by
            the annotations, one of them suffices.
        protocol: What was compared with what, and how.
        annotators: Annotator to class (of several, their mean first) to ``dice``: as in ``summary``, of the
            predicted labels with the annotations of this annotator. Empty where annotators are anonymous.
        annotator_cases: What ``annotators`` is the mean of: a row per case, annotator and class, with ``dice`` and
            ``outcome``.
    """

    summary: dict[str, Row]
    classes: dict[str, dict[str, Row]]
    cases: list[Row]
    protocol: Row
    annotators: dict[str, dict[str, dict[str, Row]]] = field(default_factory=dict)
    annotator_cases: list[Row] = field(default_factory=list)

    def to_json(self) -> str:
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json``, the rows of all cases to ``evaluation.csv``, and those of annotators, where they
        are scored, to ``annotators.csv``: all of them or none.

        Raises:
            OutputError: The disk is full, or the folder cannot be written to.
        """
        contents = {FILE: (self.to_json() + "\n").encode(), "evaluation.csv": to_csv(self.cases)}
        if self.annotator_cases:
            contents["annotators.csv"] = to_csv(self.annotator_cases)
        write_together(folder, contents)

    def summary_rows(self) -> list[Row]:
        """Rows of a table: class, metric, mean, low, high, counts; the mean of several classes first."""
        tables = {MEAN: self.summary, **self.classes} if len(self.classes) > 1 else self.classes
        return [
            {"class": name, "metric": metric, **_flat(entry)}
            for name, table in tables.items()
            for metric, entry in table.items()
        ]

    def annotator_rows(self) -> list[Row]:
        """The same of annotators: annotator, class, metric and so on."""
        return [
            {"annotator": who, "class": name, "metric": metric, **_flat(entry)}
            for who, classes in self.annotators.items()
            for name, table in classes.items()
            for metric, entry in table.items()
        ]


def evaluate(
    predictions: Path,
    index: DatasetIndex,
    *,
    against: Against | None = None,
    split: str | None = None,
    protocol: str | Protocol = "default",
    per_annotator: bool | None = None,
    label_values: LabelValues = "file",
    seed: int = 0,
    executor: Executor = INLINE,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Score a folder of predictions against the truth, the annotations, or both.

    Args:
        predictions: A folder with ``predictions.json``; or one of any tool, laid out as
            ``umanet.evaluation.prediction_folder`` says. A case without probabilities is scored as if its labels were
            probabilities of 0 and 1; the protocol counts the cases that had some.
        index: The data set. Predictions of other cases are not looked at.
        against: None for whatever there is.
        split: None for the split that was predicted, where ``predictions.json`` names one; else all cases.
        protocol: A name in ``PROTOCOLS``, or one of your own.
        per_annotator: Whether to score annotators across cases too; None where they are identified.
        label_values: What label maps of other tools hold: file values, or indices of classes.
        seed: Of the bootstrap.
        executor: Where cases are scored. The scores are the same everywhere.
        progress: Called after every case with how many are done, and of how many.
        options: Fields of the protocol that are to differ, as ``region="image"`` or ``tolerance_mm=2``.

    Raises:
        ConfigError: A negative seed, no such protocol or option, or one that has nothing to say about what is asked
            for.
        DatasetError: The split is empty, a case has no prediction or nothing to compare it with, or the folder
            is unreadable.
        TaskError: The predictions are of other classes than the data set, or annotators asked for are anonymous.
        ImageError, GeometryError, AnnotationError: A file does not hold what it must.
        ExecutorError: The workers or their scheduler are gone.
    """
    require_seed(seed)
    chosen = choose_protocol(protocol, **options)
    found = find_predictions(predictions, index, label_values)
    split = split or found.split
    cases = index.select(split)
    if not cases:
        raise DatasetError(f"No case found in split {split!r} of {index.name!r}. Evaluate another split.")
    kinds = _kinds(cases, against, chosen, index.name)
    personal = _scores_annotators(index, chosen, kinds, asked=per_annotator)
    found.require(cases)
    number = found.samples_of(cases)
    taken = (name for kind in kinds for name in chosen.metrics_against(kind))
    used = replace(chosen, metrics=tuple(name for name in taken if number or name not in DISTRIBUTION))
    scored: list[CaseScores] = []
    score = partial(_score, index=index.without_cases(), kinds=kinds, protocol=used, personal=personal)
    items = [(case, found.cases[case.id]) for case in cases]
    with executor.map(score, items, [case.id for case in cases], partial(largest_case, cases)) as results:
        for one in results:
            scored.append(one)
            if progress:
                progress(len(scored), len(cases))
    rows = [row for one in scored for row in one.rows]
    classes = index.task.classes[1:]
    summary, by_class = summarise(rows, classes, kinds, used, seed)
    own = [row for one in scored for row in one.annotators]
    return Evaluation(
        summary=summary,
        classes=by_class,
        cases=rows,
        protocol=_described(used, index, cases, found, split=split, seed=seed)
        | {"against": list(kinds), "metrics": list(summary), "targets_sha256": _digest(cases, scored)}
        | _samples(chosen, number)
        | _spacing(used, scored)
        | _partial(scored, index),
        annotators=summarise_annotators(own, classes, seed),
        annotator_cases=own,
    )


def _score(item: tuple[Case, CaseFiles], **given: Any) -> CaseScores:
    """``score_case`` of one argument, as other processes are sent it."""
    return score_case(*item, **given)


def _kinds(cases: list[Case], against: Against | None, protocol: Protocol, name: str) -> tuple[Against, ...]:
    """What to compare with; every case must have it, or with None, at least something."""
    wanted = _wanted(against, protocol)
    has: dict[Against, list[bool]] = {
        "truth": [case.truth is not None for case in cases],
        "annotations": [bool(case.annotations) for case in cases],
    }
    kinds: tuple[Against, ...] = tuple(kind for kind in wanted if any(has[kind]))
    lacking = [case.id for number, case in enumerate(cases) if not any(has[kind][number] for kind in kinds)]
    if lacking:
        raise DatasetError(
            f"No {' and no '.join(wanted)} of {counted(lacking, cases)} found in {name!r}. "
            "Add what is missing, or evaluate against something else or another split."
        )
    if protocol.several and max(len(case.annotations) for case in cases) < 2:
        raise DatasetError(
            f"No case with two annotations found in {name!r}, at least one expected by the protocol {protocol.name!r}: "
            "it scores how annotators differ. Take the default protocol."
        )
    return kinds


def _wanted(against: Against | None, protocol: Protocol) -> tuple[Against, ...]:
    if against is None:
        return protocol.kinds
    if not protocol.metrics_against(against):
        raise ConfigError(
            f"--against {against} found with the protocol {protocol.name!r}, which scores against "
            f"{' and '.join(protocol.kinds)} only. Choose another protocol."
        )
    return (against,)


def _scores_annotators(
    index: DatasetIndex, protocol: Protocol, kinds: tuple[Against, ...], *, asked: bool | None
) -> bool:
    """Whether an annotator's name may be followed across cases."""
    possible = index.annotators_are_identified and protocol.personal
    if asked and not possible:
        reason = f"the protocol {protocol.name!r}" if index.annotators_are_identified else f"{index.name!r}"
        raise TaskError(
            f"Scores per annotator asked for, but annotators are anonymous in {reason}: a name is not one person "
            "across cases, so its mean would say nothing. Leave them out, or see mean_dice."
        )
    if asked and "annotations" not in kinds:
        raise ConfigError("Scores per annotator asked for, but nothing is compared with annotations. Leave one out.")
    return possible if asked is None else asked


def _described(
    protocol: Protocol, index: DatasetIndex, cases: list[Case], found: PredictionFolder, *, split: str | None, seed: int
) -> Row:
    return {
        "name": protocol.name,
        "data": index.name,
        "split": split,
        "cases": len(cases),
        "patients": len({case.patient or case.id for case in cases}),
        "cases_with_probabilities": sum(found.cases[case.id].has_probabilities for case in cases),
        "annotators_are_identified": index.annotators_are_identified,
        "averaging": "classes of a case, then cases",
        **protocol.described(),
        "interval": {"percent": 95, "over": "patients", "resamples": RESAMPLES, "seed": seed},
    }


def _samples(protocol: Protocol, number: int) -> Row:
    """Empty for a protocol that takes no samples."""
    wanted = [name for name in protocol.metrics if name in DISTRIBUTION]
    return {"samples": {"number": number, "left_out": [] if number else wanted}} if wanted else {}


def _spacing(protocol: Protocol, scored: list[CaseScores]) -> Row:
    """Whether millimetres are millimetres; empty for a protocol without distances."""
    described = protocol.described().get("distances")
    if described is None:
        return {}
    without = sum(not one.has_spacing for one in scored)
    return {
        "distances": {"unit": "voxels" if without == len(scored) else "mm", "cases_without_spacing": without}
        | described
    }


def _partial(scored: list[CaseScores], index: DatasetIndex) -> Row:
    """Class to the number of cases in which no annotator draws it; empty where all annotators draw all classes."""
    if not index.annotator_classes:
        return {}
    return {"cases_drawn_by_nobody": dict(Counter(name for one in scored for name in one.drawn_by_nobody))}


def _digest(cases: list[Case], scored: list[CaseScores]) -> dict[str, str]:
    """SHA-256 of the truth, and of the annotations, of all cases, whatever their order."""
    found: dict[str, str] = {}
    kinds: dict[Against, None] = {kind: None for one in scored for kind in one.digests}
    for kind in kinds:
        parts = sorted((case.id, one.digests.get(kind, b"")) for case, one in zip(cases, scored, strict=True))
        found[kind] = hashlib.sha256(b"".join(name.encode() + digest for name, digest in parts)).hexdigest()
    return found


def _flat(entry: Row) -> Row:
    bounds = dict(zip(("low", "high"), entry["ci95"], strict=True))
    return {"mean": entry["mean"], **bounds} | {key: entry[key] for key in ("cases", *OUTCOMES)}
