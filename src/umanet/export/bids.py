"""BIDS: ``sub-PATIENT/anat/*_CHANNEL.nii.gz`` and ``derivatives/umanet/sub-PATIENT/anat/*_desc-ANNOTATOR_dseg.nii.gz``.

Names in BIDS are letters and digits: others are left out of patients, cases, annotators and channels, and the table
``derivatives/umanet/cases.tsv`` says which case became which file, and its split, for which BIDS has no place. Pictures
become NIfTI files without slices. The truth, where it is known, is a derivative of its own:
``derivatives/truth/sub-PATIENT/anat/*_desc-truth_dseg.nii.gz``.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from umanet.data.bids_names import VERSION, entities_of, folder_of, plain_names
from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError
from umanet.export.entry import VOLUME, Entry, class_names, write_image, write_labels

TRUTH = "truth"
"""Derivative, and annotator, of what is really there."""


def write_bids(index: DatasetIndex, entries: Sequence[Entry], place: Path, *, done: Callable[[], None]) -> Path:
    """Write a BIDS data set to ``place``.

    Args:
        index: Names, channels and classes.
        entries: What to write.
        place: The output.
        done: Called after every case.

    Raises:
        DatasetError: Names that differ only in what BIDS does not allow.
    """
    channels = plain_names(index.channels, "channel")
    truth_is_known = any(entry.truth for entry in entries)
    drawn_by = [name or entry.only for entry in entries for name in entry.labels]
    if truth_is_known and TRUTH in drawn_by:
        raise DatasetError(
            f"The annotator name {TRUTH!r} found, another one expected beside the truth. Rename it in dataset.json."
        )
    annotators = plain_names([*drawn_by, *([TRUTH] if truth_is_known else ())], "annotator")
    entities = entities_of([entry.case for entry in entries])
    pipeline = place / "derivatives" / "umanet"
    rows = [("case", "patient", "split", "file")]
    for entry in entries:
        start = entities[entry.case.id]
        folder = folder_of(start)
        written = write_image(entry.case, index, VOLUME, place / folder / start, split=True)
        for path, channel in zip(written, index.channels, strict=True):
            path.rename(path.with_name(f"{start}_{channels[channel]}{VOLUME}"))
        for annotator, path in entry.labels.items():
            name = f"{start}_desc-{annotators[annotator or entry.only]}_dseg{VOLUME}"
            write_labels(pipeline / folder / name, path, entry)
        if entry.truth:
            name = f"{start}_desc-{TRUTH}_dseg{VOLUME}"
            write_labels(pipeline.with_name(TRUTH) / folder / name, entry.truth, entry)
        rows.append((entry.case.id, entry.case.patient or entry.case.id, entry.case.split or "n/a", start))
        done()
    _write_table(pipeline / "cases.tsv", rows)
    _write_table(
        place / "participants.tsv",
        [("participant_id",), *dict.fromkeys((start.split("_")[0],) for start in entities.values())],
    )
    _write_json(place / "dataset_description.json", Name=index.name, BIDSVersion=VERSION, DatasetType="raw")
    _write_derivative(pipeline, index, "annotations")
    if truth_is_known:
        _write_derivative(pipeline.with_name(TRUTH), index, "truth")
    return place


def _write_derivative(folder: Path, index: DatasetIndex, what: str) -> None:
    """What a derivative says of itself, and the names of its labels."""
    _write_table(folder / "dseg.tsv", [("index", "name"), *((v, n) for n, v in class_names(index).items())])
    made_by = [{"Name": "umanet", "Description": "umanet export-dataset"}]
    _write_json(
        folder / "dataset_description.json",
        Name=f"{index.name}: {what}", BIDSVersion=VERSION, DatasetType="derivative", GeneratedBy=made_by,
    )  # fmt: skip


def _write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)


def _write_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
