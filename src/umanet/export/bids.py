"""BIDS: ``sub-PATIENT/anat/*_CHANNEL.nii.gz`` and ``derivatives/umanet/sub-PATIENT/anat/*_desc-ANNOTATOR_dseg.nii.gz``.

Names in BIDS are letters and digits: others are left out of patients, cases, annotators and channels, and the table
``derivatives/umanet/cases.tsv`` says which case became which file, and its split, for which BIDS has no place. Pictures
become NIfTI files without slices. The truth, where it is known, is a derivative of its own:
``derivatives/truth/sub-PATIENT/anat/*_desc-truth_dseg.nii.gz``.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError
from umanet.export.entry import VOLUME, Entry, class_names, write_image, write_labels

VERSION = "1.9.0"
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
    channels = _plain(index.channels, "channel")
    truth_is_known = any(entry.truth for entry in entries)
    drawn_by = [name or entry.only for entry in entries for name in entry.labels]
    if truth_is_known and TRUTH in drawn_by:
        raise DatasetError(
            f"The annotator name {TRUTH!r} found, another one expected beside the truth. Rename it in dataset.json."
        )
    annotators = _plain([*drawn_by, *([TRUTH] if truth_is_known else ())], "annotator")
    patients = _plain((_patient(entry) for entry in entries), "patient")
    cases = _plain((entry.case.id for entry in entries), "case")
    several = Counter(_patient(entry) for entry in entries)
    pipeline = place / "derivatives" / "umanet"
    rows = [("case", "patient", "split", "file")]
    for entry in entries:
        patient = f"sub-{patients[_patient(entry)]}"
        # An entity for the case only where its patient has others: acq may be any text.
        start = patient if several[_patient(entry)] == 1 else f"{patient}_acq-{cases[entry.case.id]}"
        written = write_image(entry.case, index, VOLUME, place / patient / "anat" / start, split=True)
        for path, channel in zip(written, index.channels, strict=True):
            path.rename(path.with_name(f"{start}_{channels[channel]}{VOLUME}"))
        for annotator, path in entry.labels.items():
            name = f"{start}_desc-{annotators[annotator or entry.only]}_dseg{VOLUME}"
            write_labels(pipeline / patient / "anat" / name, path, entry)
        if entry.truth:
            name = f"{start}_desc-{TRUTH}_dseg{VOLUME}"
            write_labels(pipeline.with_name(TRUTH) / patient / "anat" / name, entry.truth, entry)
        rows.append((entry.case.id, _patient(entry), entry.case.split or "n/a", start))
        done()
    _write_table(pipeline / "cases.tsv", rows)
    _write_table(place / "participants.tsv", [("participant_id",), *((f"sub-{p}",) for p in patients.values())])
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


def _patient(entry: Entry) -> str:
    return entry.case.patient or entry.case.id


def _plain(names: Iterable[str], kind: str) -> dict[str, str]:
    """Names to what is left of them in BIDS."""
    plain = {name: re.sub("[^A-Za-z0-9]", "", name) for name in dict.fromkeys(names)}
    twice = [short for short, count in Counter(plain.values()).items() if count > 1 or not short]
    if twice:
        both = " and ".join(repr(name) for name, short in plain.items() if short == twice[0])
        raise DatasetError(
            f"The {kind} name {both} found, names that differ in letters and digits (BIDS allows no others) expected. "
            "Rename one in dataset.json."
        )
    return plain


def _write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)


def _write_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
