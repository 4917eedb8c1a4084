"""Which method is better? Differences case by case, with intervals and a test over patients."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from umanet.data.result_files import to_csv, write_together
from umanet.errors import ConfigError, DatasetError, TaskError, did_you_mean
from umanet.evaluation.evaluation import Evaluation
from umanet.evaluation.prediction_folder import named
from umanet.evaluation.protocol import METRICS, SCORED_LABELS
from umanet.evaluation.scores import Row, defined
from umanet.metrics.interval import FEWEST_PATIENTS, RESAMPLES, paired_difference, require_seed

FORMAT, VERSION = "umanet-comparison", 1
Correction = Literal["holm", "none"]


@dataclass(frozen=True)
class Comparison:
    """Methods against one of them, ready to be written; None where a value is undefined.

    Attributes:
        rows: One per class (of several, their mean first), metric and other method: ``difference`` is its score minus
            that of the baseline, ``low`` and ``high`` its 95 % interval, ``p`` of Wilcoxon's signed-rank test and
            ``p_corrected`` as the protocol says; ``mean`` and ``baseline_mean`` over the same ``cases``, those where
            both are defined (``undefined`` counts the others); ``patients``, and those ``differing``; ``note`` says
            why there is no p.
        protocol: What was compared with what, and how.
    """

    rows: list[Row]
    protocol: Row

    def to_json(self) -> str:
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path) -> None:
        """Write ``comparison.json``, and the rows to ``comparison.csv``: both or none.

        Raises:
            OutputError: The disk is full, or the folder cannot be written to.
        """
        contents = {"comparison.json": (self.to_json() + "\n").encode(), "comparison.csv": to_csv(self.rows)}
        write_together(folder, contents)


def compare(
    evaluations: Mapping[str, Evaluation],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    correction: Correction = "holm",
    seed: int = 0,
) -> Comparison:
    """Differences of methods to one of them, on the same cases.

    Args:
        evaluations: By the name of the method, two or more, of the same cases by the same protocol.
        baseline: None for the first.
        metrics: None for all that every evaluation has.
        correction: Of the p-values of one metric and class, for the number of methods that are compared with the
            baseline. Metrics and classes are not corrected for: name the one that decides beforehand.
        seed: Of the bootstrap.

    Raises:
        ConfigError: A negative seed, fewer than two evaluations, no metric, or an unknown baseline or metric.
        DatasetError: Cases, patients, or what they were compared with differ; or the protocol of a metric.
        TaskError: The classes differ.

    Reference: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics
        6, 1979.
    """
    require_seed(seed)
    names = list(evaluations)
    if len(names) < 2:
        raise ConfigError(f"{len(names)} evaluation found, two or more expected. Name what to compare it with.")
    baseline = _known("baseline", baseline or names[0], names)
    first = evaluations[baseline]
    others = {name: one for name, one in evaluations.items() if name != baseline}
    for name, other in others.items():
        _require_same_cases(first, other, baseline, name)
    chosen, left_out = _common_metrics(evaluations, metrics)
    for name, other in others.items():
        _require_same_protocol(first, other, baseline, name, chosen)
    rows = []
    classes = list(dict.fromkeys(row["class"] for row in first.cases))
    for class_name in classes:
        for metric in chosen:
            own = [_difference(first, other, class_name, metric, seed) for other in others.values()]
            adjusted = holm([row["p"] for row in own]) if correction == "holm" else [row["p"] for row in own]
            rows += [
                {"class": class_name, "metric": metric, "better": METRICS[metric].better, "method": name,
                 "baseline": baseline, **row, "p_corrected": p, "note": row["note"]}
                for name, row, p in zip(others, own, adjusted, strict=True)
            ]  # fmt: skip
    protocol = {
        "baseline": baseline,
        "methods": list(others),
        "metrics": chosen,
        "left_out": left_out,
        "interval": {"percent": 95, "over": "patients", "resamples": RESAMPLES, "seed": seed},
        "test": {"name": "Wilcoxon signed-rank, two-sided", "over": "patients", "fewest": FEWEST_PATIENTS},
        "correction": {"name": correction, "over": "methods, for each metric and class"},
        "cases_with_probabilities": _with_probabilities(evaluations, chosen),
        "evaluation": first.protocol,
    }
    return Comparison(rows, protocol)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values of several tests: the least times their number, the next times one less, never falling.

    A test without a p-value (None) is none.
    """
    ascending = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(ascending):
        highest = max(highest, min(1.0, (len(ascending) - rank) * p))
        adjusted[place] = highest
    return adjusted


def _difference(first: Evaluation, other: Evaluation, class_name: str, metric: str, seed: int) -> Row:
    """Over the cases where both scores are defined."""
    theirs = {row["case"]: row[metric] for row in other.cases if row["class"] == class_name}
    own = [row for row in first.cases if row["class"] == class_name]
    pairs = [(theirs[row["case"]], row[metric], row["patient"]) for row in own]
    kept = [pair for pair in pairs if pair[0] is not None and pair[1] is not None]
    scores, baseline, patients = map(list, zip(*kept, strict=True)) if kept else ([], [], [])
    found = paired_difference(scores, baseline, patients, seed)
    return {
        "baseline_mean": float(np.mean(baseline)) if kept else None,
        "mean": float(np.mean(scores)) if kept else None,
        "difference": defined(found.mean),
        "low": defined(found.low),
        "high": defined(found.high),
        "p": defined(found.p_value),
        "p_corrected": None,
        "cases": found.cases,
        "undefined": len(pairs) - len(kept),
        "patients": found.patients,
        "differing": found.differing,
        "note": _note(found.cases, found.differing),
    }


def _note(cases: int, differing: int) -> str:
    if not cases:
        return "undefined in every case"
    if not differing:
        return "no patient differs"
    if differing < FEWEST_PATIENTS:
        return f"only {differing} differ"
    return ""


def _require_same_cases(first: Evaluation, other: Evaluation, baseline: str, name: str) -> None:
    """Raises: DatasetError, TaskError: Rows of one have no partner in the other."""
    mine, theirs = ({row["case"]: row["patient"] for row in one.cases} for one in (first, other))
    for lacking, where, there in (
        ([case for case in mine if case not in theirs], name, baseline),
        ([case for case in theirs if case not in mine], baseline, name),
    ):
        if lacking:
            names = [one.protocol["data"] for one in (first, other)]
            data = f" (of the data sets {names[0]!r} and {names[1]!r})"
            raise DatasetError(
                f"No scores of {named(lacking)} found in {where}, which {there} has"
                f"{data if names[0] != names[1] else ''}; the same cases expected. "
                "Evaluate both on the same split."
            )
    moved = [case for case in mine if mine[case] != theirs[case]]
    if moved:
        raise DatasetError(
            f"Other patients of {named(moved)} found in {name} than in {baseline}, the same expected. Evaluate "
            "both with the same data set."
        )
    if list(first.classes) != list(other.classes):
        raise TaskError(
            f"Classes {', '.join(other.classes)} found in {name}, {', '.join(first.classes)} expected, as in "
            f"{baseline}. Evaluate both with the same data set."
        )
    for kind, digest in first.protocol["targets_sha256"].items():
        if other.protocol["targets_sha256"].get(kind, digest) != digest:
            other_kind = "other annotations" if kind == "annotations" else f"another {kind}"
            raise DatasetError(
                f"{name} was compared with {other_kind} than {baseline} (SHA-256 of the labels), the same expected. "
                "Evaluate both with the same data set."
            )


def _common_metrics(
    evaluations: Mapping[str, Evaluation], wanted: Sequence[str] | None
) -> tuple[list[str], dict[str, list[str]]]:
    """Those that all have, in the order of tables; and for every method, which it has alone or with some."""
    common = [name for name in METRICS if all(name in one.summary for one in evaluations.values())]
    if not common:
        each = "; ".join(f"{name}: {', '.join(one.summary)}" for name, one in evaluations.items())
        raise DatasetError(f"No metric found that all have ({each}). Evaluate them by the same protocol.")
    if wanted is not None and not wanted:
        raise ConfigError(f"No metric found, one or more of {', '.join(common)} expected. Name some, or none for all.")
    if wanted is not None:
        common = [_known("metric", name, common) for name in wanted]
        return common, {}
    others = {name: [m for m in one.summary if m not in common] for name, one in evaluations.items()}
    return common, {name: own for name, own in others.items() if own}


def _with_probabilities(evaluations: Mapping[str, Evaluation], metrics: Sequence[str]) -> dict[str, int]:
    """By method, where a metric takes labels for probabilities of 0 and 1."""
    if not any(METRICS[name].part in SCORED_LABELS for name in metrics):
        return {}
    return {name: one.protocol["cases_with_probabilities"] for name, one in evaluations.items()}


def _require_same_protocol(
    first: Evaluation, other: Evaluation, baseline: str, name: str, metrics: Sequence[str]
) -> None:
    """Raises: DatasetError: Something that the metrics depend on is not the same."""
    parts = dict.fromkeys(["classes", *(METRICS[metric].part for metric in metrics)])
    for part in parts:
        mine, theirs = (_settings(part, one.protocol.get(part)) for one in (first, other))
        differ = [key for key in mine | theirs if mine.get(key) != theirs.get(key)]
        if differ:
            of_part = [metric for metric in metrics if METRICS[metric].part == part]
            without = f", or leave out {', '.join(of_part)} with --metrics" if of_part else ""
            said = "; ".join(f"{key} {theirs.get(key)} and {mine.get(key)}" for key in differ)
            raise DatasetError(
                f"{said} found in {name} and {baseline}, the same expected. Evaluate both by the same "
                f"protocol{without}."
            )


def _settings(part: str, values: Any) -> dict[str, Any]:
    return {f"{part}.{key}": value for key, value in values.items()} if isinstance(values, dict) else {part: values}


def _known(kind: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise ConfigError(f"The {kind} {name!r} found, one of {', '.join(known)} expected.{did_you_mean(name, known)}")
    return name
