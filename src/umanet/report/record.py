"""What a run says of itself: data, settings and curve, and what is needed to do it again."""

import csv
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from umanet.agreement import Agreement
from umanet.config import RunConfig, format_config
from umanet.data.index import SPLITS, DatasetIndex, fingerprint
from umanet.errors import DatasetError
from umanet.inference.model_file import DESCRIPTION, GRADING, WEIGHTS, Model

CURVE, DATASET, DATA = "metrics.csv", "dataset.json", "data.sha256"
PACKAGES = ("umanet", "torch", "monai", "numpy", "scipy", "nibabel", "pillow", "matplotlib")


@dataclass(frozen=True)
class Learned:
    """What the network learned from.

    Attributes:
        splits: A row per split: cases, patients, annotations.
        annotators: A row per annotator: annotations in every split.
        settings: Those that a reader asks for first.
        curve: A row per epoch, without empty cells; empty where the run has no ``metrics.csv``.
        same_data: Whether the data set is the one of the training; None where the run does not know.
    """

    splits: list[dict[str, Any]]
    annotators: list[dict[str, Any]]
    settings: dict[str, str]
    curve: list[dict[str, float]]
    same_data: bool | None

    @property
    def columns(self) -> dict[str, str]:
        """Of the table of annotators."""
        return {name: name for name in (self.annotators or [{}])[0]}


def find_dataset(run: Path, dataset: Path | None) -> Path:
    """The data set that is named, else the one that the run keeps.

    Raises:
        DatasetError: None is named, and the run keeps none.
    """
    if dataset is None and not (run / DATASET).is_file():
        raise DatasetError(
            f"No {DATASET} found in {run}, the data set of the training expected there. Name it with --dataset."
        )
    return dataset or run / DATASET


def find_learned(model: Model, index: DatasetIndex, run: Path) -> Learned:
    """From the run's files and the data set."""
    return Learned(_splits(index), _annotators(index), _settings(model.config), read_curve(run), _same_data(run, index))


def read_curve(run: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.csv``; those of the same step are one."""
    path = run / CURVE
    if not path.is_file():
        return []
    rows: dict[int, dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            step = int(float(row["step"]))
            rows.setdefault(step, {}).update({name: float(value) for name, value in row.items() if value})
    return [rows[step] for step in sorted(rows)]


def find_record(model: Model, index: DatasetIndex, run: Path, command: str) -> dict[str, Mapping[str, str]]:
    """Heading to name to value: everything that is needed to make the numbers again."""
    config = model.config
    return {
        "This report": {
            "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "command": command or "umanet.report.build_report",
            "seed of the intervals": "0",
            "computed on": str(model.device),
        },
        "The run": {
            "folder": run.resolve().name,
            "method": config.method,
            "seed": str(config.seed),
            "trained on": config.device,
            "umanet that wrote it": _written_by(run),
        },
        "SHA-256": _digests(run, index),
        "Versions here": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def find_agreement_record(index: DatasetIndex, agreement: Agreement, command: str) -> dict[str, Mapping[str, str]]:
    """The same for a measurement of agreement, which needs no run."""
    protocol = agreement.protocol
    return {
        "This page": {
            "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "command": command or "umanet.report.write_agreement",
            "split": protocol["split"] or "all cases",
            "seed of the intervals": str(protocol["interval"]["seed"]),
        },
        "How it was measured": {
            "Dice": "mean over cases; both empty 1, one empty 0",
            "other numbers": "voxels of all cases together, a class against all else",
            "near annotations": protocol["regions"]["union"],
            "consensus of the others": protocol["consensus"],
            "intervals": f"95 %, over patients, {protocol['interval']['resamples']:,} bootstrap resamples",
        },
        "SHA-256": {"data set": fingerprint(index)},
        "Versions here": {"python": platform.python_version()}
        | {name: version(name) for name in ("umanet", "numpy", "nibabel", "pillow", "matplotlib")},
    }


def settings_text(config: RunConfig) -> str:
    """Every setting, as ``run.toml`` has it."""
    return format_config(config)


def _written_by(run: Path) -> str:
    return str(json.loads((run / DESCRIPTION).read_text(encoding="utf-8")).get("umanet", "unknown"))


def _digests(run: Path, index: DatasetIndex) -> dict[str, str]:
    files = [run / name for name in (DESCRIPTION, WEIGHTS, GRADING) if (run / name).is_file()]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    found["data set"] = fingerprint(index)
    if (run / DATA).is_file():
        found["data set of the training"] = (run / DATA).read_text(encoding="utf-8").strip()
    return found


def _same_data(run: Path, index: DatasetIndex) -> bool | None:
    if not (run / DATA).is_file():
        return None
    return (run / DATA).read_text(encoding="utf-8").strip() == fingerprint(index)


def _splits(index: DatasetIndex) -> list[dict[str, Any]]:
    rows = []
    for name in (*SPLITS, None):
        cases = [case for case in index.cases if case.split == name]
        if cases:
            rows.append(
                {
                    "split": name or "none",
                    "cases": len(cases),
                    "patients": len({case.patient or case.id for case in cases}),
                    "annotations": sum(len(case.annotations) for case in cases),
                    "with truth": sum(case.truth is not None for case in cases),
                }
            )
    return rows


def _annotators(index: DatasetIndex) -> list[dict[str, Any]]:
    counts = {name: Counter(case.split or "none" for case in index.cases if name in case.annotations)
              for name in index.annotators}  # fmt: skip
    splits = list(dict.fromkeys(case.split or "none" for case in index.cases))
    ordered = [name for name in (*SPLITS, "none") if name in splits]
    return [{"annotator": name} | {split: counts[name][split] for split in ordered} for name in index.annotators]


def _settings(config: RunConfig) -> dict[str, str]:
    trainer, backbone = config.trainer, config.backbone
    found = {
        "method": config.method,
        "preset": config.preset,
        "network": f"{backbone.architecture}, channels {_numbers(backbone.channels)}, {backbone.features} features",
        "working grid": config.data.working_grid,
        "training": f"{trainer.max_steps:,} steps of {trainer.batch_size}, learning rate {trainer.learning_rate:g}",
        "released": f"{trainer.release} weights",
    }
    if config.method == "uma-net":
        options = config.uma_net
        found["grading"] = f"by {options.grade}, {options.target} targets, weights {options.weights}"
    return found


def _numbers(values: Sequence[int]) -> str:
    return " × ".join(map(str, values)) if len(values) < 4 else ", ".join(map(str, values))
