"""How good predictions are: per case, class and metric, with intervals over patients.

Files are read one case at a time and scored on their own grid.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import BaseModel, ValidationError

from umanet.data.files import replace_file
from umanet.data.formats import SUFFIXES, stem_of
from umanet.data.images import read_case, read_labels, read_map
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import DatasetError, TaskError
from umanet.metrics import (
    brier_score,
    dice,
    expected_calibration_error,
    iou,
    mean_dice_over_annotators,
    soft_dice,
    soft_iou,
)
from umanet.metrics.arrays import require_shape, to_probability
from umanet.metrics.calibration import neighbourhood
from umanet.metrics.interval import RESAMPLES, bootstrap_interval
from umanet.metrics.overlap import RIGA_TENTHS
from umanet.types import Case, Sample

Against = Literal["truth", "annotations"]
Region = Literal["union", "image"]
Row = dict[str, Any]

METRICS: dict[Against, tuple[str, ...]] = {
    "truth": ("dice", "iou"),
    "annotations": ("soft_dice", "soft_iou", "mean_dice", "ece", "brier"),
}
OUTCOMES = ("both_empty", "missed", "false")
MEAN = "(mean)"
"""In place of a class name: the mean over several foreground classes. Class names have no parentheses."""
BINS = 15
MARGIN = 3
"""Voxels around annotations and prediction, where calibration is measured."""
NAMED = 8
"""Cases that an error message names."""


@dataclass(frozen=True)
class Evaluation:
    """Scores, ready to be written; None where a value is undefined.

    Attributes:
        summary: Metric to ``mean``, ``ci95`` (two numbers) and counts, over cases; of several foreground
            classes, the mean in each case. ``both_empty``, ``missed``, ``false`` count cases of every class.
        classes: The same for every foreground class.
        cases: One row per case and foreground class, and one for their mean where there are several.
            ``outcome_truth`` and ``outcome_annotations`` are ``found``, ``both_empty``, ``missed`` (there but
            not predicted) or ``false`` (predicted but not there). One annotation suffices to be there.
        protocol: What was compared with what, and how.
    """

    summary: dict[str, Row]
    classes: dict[str, dict[str, Row]]
    cases: list[Row]
    protocol: Row

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json``, and the rows of all cases to ``evaluation.csv``, each whole or not.

        Raises:
            OutputError: The disk is full, or the folder cannot be written to.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, list(self.cases[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(self.cases)
        replace_file(folder / "evaluation.csv", text.getvalue().encode())
        replace_file(folder / "evaluation.json", (self.to_json() + "\n").encode())

    def summary_rows(self) -> list[Row]:
        """Rows of a table: class, metric, mean, low, high, counts; the mean of several classes first."""
        tables = {MEAN: self.summary, **self.classes} if len(self.classes) > 1 else self.classes
        return [
            {"class": name, "metric": metric, "mean": entry["mean"]}
            | dict(zip(("low", "high"), entry["ci95"], strict=True))
            | {key: entry[key] for key in ("cases", *OUTCOMES)}
            for name, table in tables.items()
            for metric, entry in table.items()
        ]


def evaluate(
    predictions: Path,
    index: DatasetIndex,
    *,
    against: Against | None = None,
    split: str | None = None,
    region: Region = "union",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a folder of predictions against the truth, the annotations, or both.

    Args:
        predictions: A folder with ``predictions.json``; or one with label maps of any tool, each named as its
            case. A case without probabilities is scored as if its labels were probabilities of 0 and 1; the
            protocol counts the cases that had some.
        index: The data set. Predictions of other cases are not looked at.
        against: None for whatever there is.
        split: None for the split that was predicted, where ``predictions.json`` names one; else all cases.
        region: Where calibration is measured: the ``union`` of all annotations and the prediction with
            ``MARGIN`` voxels around, or the whole ``image``.
        seed: Of the bootstrap.
        progress: Called after every case with how many are done, and of how many.

    Raises:
        DatasetError: The split is empty, a case has no prediction or nothing to compare it with, or the folder
            is unreadable.
        TaskError: The predictions are of other classes than the data set.
        ImageError, GeometryError, AnnotationError: A file does not hold what it must.
    """
    found, predicted_split = _find_predictions(predictions, index)
    split = split or predicted_split
    cases = index.select(split)
    if not cases:
        raise DatasetError(f"No case found in split {split!r} of {index.name!r}. Evaluate another split.")
    kinds = _kinds(cases, against, index.name)
    lacking = [case.id for case in cases if case.id not in found]
    if lacking:
        raise DatasetError(
            f"No prediction of {_some(lacking, cases)} found in {predictions}. Predict them, or evaluate another split."
        )
    rows: list[Row] = []
    for number, case in enumerate(cases, start=1):
        rows += _score_case(case, found[case.id], index, kinds, region)
        if progress:
            progress(number, len(cases))
    protocol = {
        "data": index.name,
        "split": split,
        "against": list(kinds),
        "cases": len(cases),
        "patients": len({row["patient"] for row in rows}),
        "cases_with_probabilities": sum(bool(found[case.id].probabilities) for case in cases),
        "overlap": {"both_empty": 1, "one_empty": 0},
        "soft": {"thresholds": [tenths / 10 for tenths in RIGA_TENTHS], "comparison": ">"},
        "calibration": {"bins": BINS, "target": "mean of annotations", "region": region, "margin": MARGIN},
        "interval": {"percent": 95, "over": "patients", "resamples": RESAMPLES, "seed": seed},
    }
    by_class = {name: [row for row in rows if row["class"] == name] for name in index.task.classes[1:]}
    single = [row for own in by_class.values() for row in own]
    means = [row for row in rows if row["class"] == MEAN] or single
    return Evaluation(
        summary=_table(means, single, kinds, seed),
        classes={name: _table(own, own, kinds, seed) for name, own in by_class.items()},
        cases=rows,
        protocol=protocol,
    )


class _Files(BaseModel):
    """Of one predicted case. The probabilities of the background are not read."""

    labels: Path
    probabilities: dict[str, Path] = {}
    classes: tuple[ClassDefinition, ...] = ()
    """How the labels are written; empty: as the annotations."""


class _Manifest(BaseModel):
    """What evaluation reads of ``predictions.json``."""

    format: Literal["umanet-predictions"]
    version: Literal[1]
    classes: tuple[ClassDefinition, ...]
    split: str | None = None
    cases: dict[str, _Files]


def _kinds(cases: list[Case], against: Against | None, name: str) -> tuple[Against, ...]:
    """What to compare with; every case must have it, or with None, at least something."""
    has: dict[Against, list[bool]] = {
        "truth": [case.truth is not None for case in cases],
        "annotations": [bool(case.annotations) for case in cases],
    }
    kinds: tuple[Against, ...] = (against,) if against else tuple(kind for kind in METRICS if any(has[kind]))
    lacking = [case.id for number, case in enumerate(cases) if not any(has[kind][number] for kind in kinds)]
    if lacking:
        raise DatasetError(
            f"No {against or 'truth and no annotations'} of {_some(lacking, cases)} found in {name!r}. "
            "Add what is missing, or evaluate against something else or another split."
        )
    return kinds


def _find_predictions(folder: Path, index: DatasetIndex) -> tuple[dict[str, _Files], str | None]:
    """Files by case, and the split that was predicted as a whole, if that is known."""
    manifest = folder / "predictions.json"
    try:
        return _read_manifest(manifest, index) if manifest.is_file() else (_bare_labels(folder), None)
    except OSError as error:
        raise DatasetError(f"No predictions could be read from {folder}: {error.strerror}. Check the path.") from None


def _read_manifest(path: Path, index: DatasetIndex) -> tuple[dict[str, _Files], str | None]:
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise DatasetError(f"{where} in {path}: {problem['msg']}. Run the prediction again.") from None
    names = tuple(definition.name for definition in manifest.classes)
    if names != index.task.classes:
        raise TaskError(
            f"Classes {', '.join(names)} found, {', '.join(index.task.classes)} expected, in "
            f"{path}. Evaluate with a data set like the one that the model was trained on."
        )
    folder = path.parent
    files = {
        case: _Files(
            labels=folder / files.labels,
            probabilities={name: folder / file for name, file in files.probabilities.items()},
            classes=manifest.classes,
        )
        for case, files in manifest.cases.items()
    }
    return files, manifest.split


def _bare_labels(folder: Path) -> dict[str, _Files]:
    found: dict[str, _Files] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(SUFFIXES):
            continue
        case = stem_of(path)
        if case in found:
            raise DatasetError(
                f"{found[case].labels.name} and {path.name} found, one expected, in {folder}. Remove one."
            )
        found[case] = _Files(labels=path)
    return found


def _score_case(
    case: Case, files: _Files, index: DatasetIndex, kinds: tuple[Against, ...], region: Region
) -> list[Row]:
    wanted = replace(
        case,
        truth=case.truth if "truth" in kinds else None,
        annotations=case.annotations if "annotations" in kinds else {},
    )
    sample = read_case(wanted, index)
    written = index.model_copy(update={"classes": files.classes or index.classes})
    labels = read_labels(files.labels, written, sample.geometry)
    rows = []
    for k, name in enumerate(index.task.classes[1:], start=1):
        row: Row = {"case": case.id, "patient": case.patient or case.id, "class": name}
        if "truth" in kinds:
            row |= _against_truth(labels == k, sample, k)
        if "annotations" in kinds:
            row |= _against_annotations(labels == k, _probability(files, name, labels == k), sample, k, region)
        rows.append(row)
    return rows if len(rows) == 1 else [_mean_row(rows), *rows]


def _against_truth(predicted: Bool[np.ndarray, "*spatial"], sample: Sample, k: int) -> Row:
    if sample.truth is None:
        return _nothing("truth")
    truth = sample.truth.numpy() == k
    return {
        "dice": dice(predicted, truth),
        "iou": iou(predicted, truth),
        "outcome_truth": _outcome(predicted, truth),
    }


def _against_annotations(
    predicted: Bool[np.ndarray, "*spatial"],
    probability: Float[np.ndarray, "*spatial"],
    sample: Sample,
    k: int,
    region: Region,
) -> Row:
    present = sample.present.numpy()
    if not present.any():
        return _nothing("annotations")
    annotations = sample.annotations.numpy()[present] == k
    union, mean = annotations.any(axis=0), annotations.mean(axis=0, dtype=np.float32)
    where = neighbourhood(predicted, union, margin=MARGIN) if region == "union" else None
    return {
        "soft_dice": soft_dice(probability, annotations),
        "soft_iou": soft_iou(probability, annotations),
        "mean_dice": mean_dice_over_annotators(predicted, annotations),
        "ece": _defined(expected_calibration_error(probability, mean, bins=BINS, region=where)),
        "brier": _defined(brier_score(probability, mean, region=where)),
        "outcome_annotations": _outcome(predicted, union),
    }


def _probability(files: _Files, name: str, predicted: Bool[np.ndarray, "*spatial"]) -> Float[np.ndarray, "*spatial"]:
    """As read, checked; where there are only labels, zeros and ones."""
    if not files.probabilities:
        return predicted.astype(np.float32)
    if name not in files.probabilities:
        raise DatasetError(
            f"Probabilities of {', '.join(files.probabilities)} found, of {name} expected, for {files.labels}. "
            "Run the prediction again."
        )
    path = files.probabilities[name]
    probability = to_probability(read_map(path, predicted.ndim), str(path))
    require_shape(probability, predicted.shape, f"A probability map ({path})")
    return probability


def _outcome(predicted: Bool[np.ndarray, "*spatial"], there: Bool[np.ndarray, "*spatial"]) -> str:
    if predicted.any():
        return "found" if there.any() else "false"
    return "missed" if there.any() else "both_empty"


def _nothing(kind: Against) -> Row:
    return dict.fromkeys((*METRICS[kind], f"outcome_{kind}"))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean_row(rows: list[Row]) -> Row:
    row = dict.fromkeys(rows[0]) | {"case": rows[0]["case"], "patient": rows[0]["patient"], "class": MEAN}
    for metric in (metric for metrics in METRICS.values() for metric in metrics if metric in row):
        values = [own[metric] for own in rows if own[metric] is not None]
        row[metric] = float(np.mean(values)) if values else None
    return row


def _table(scored: list[Row], counted: list[Row], kinds: tuple[Against, ...], seed: int) -> dict[str, Row]:
    """Metric to mean, interval and counts. Means over classes are scored, but single classes counted."""
    table = {}
    for kind in kinds:
        outcomes = Counter(row[f"outcome_{kind}"] for row in counted)
        for metric in METRICS[kind]:
            defined = [row for row in scored if row[metric] is not None]
            values = [row[metric] for row in defined]
            interval = bootstrap_interval(values, [row["patient"] for row in defined], seed=seed)
            table[metric] = {
                "mean": float(np.mean(values)) if values else None,
                "ci95": [_defined(bound) for bound in interval],
                "cases": len(values),
                **{outcome: outcomes[outcome] for outcome in OUTCOMES},
            }
    return table


def _some(ids: list[str], cases: list[Case]) -> str:
    named = ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
    return f"{len(ids)} of {len(cases)} cases ({named})"
