"""What ``dataset.json`` alone shows: splits, and who annotated what."""

from collections import defaultdict
from collections.abc import Iterator

from umanet.data.check.problems import DATASET, Place, Problem
from umanet.data.index import DatasetIndex


def listing_problems(index: DatasetIndex) -> Iterator[Problem]:
    yield from _empty_splits(index)
    yield from patients_in_two_splits(index)
    yield from _without_annotation(index)


def patients_in_two_splits(index: DatasetIndex) -> Iterator[Problem]:
    splits: dict[str, set[str]] = defaultdict(set)
    for case in index.cases:
        if case.split is not None:
            splits[case.patient or case.id].add(case.split)
    for patient, names in splits.items():
        if len(names) > 1:
            found = f"Patient {patient!r} found in the splits {' and '.join(sorted(names))}, one expected."
            remedy = "Split by patient: else the test sees patients that were trained on."
            yield DATASET.problem("error", "patient-in-two-splits", found, remedy)


def _empty_splits(index: DatasetIndex) -> Iterator[Problem]:
    if not all(case.split for case in index.cases):
        return  # no splits yet
    for split in ("train", "validation"):
        if not index.select(split):
            found = f"No case in split {split!r}, at least one expected to train."
            yield DATASET.problem("warning", "empty-split", found, "Import again, or set `split` of cases.")


def _without_annotation(index: DatasetIndex) -> Iterator[Problem]:
    if not any(case.annotations for case in index.cases):
        found = "No annotation found in any case, at least one per case expected."
        yield DATASET.problem("error", "no-annotation", found, "Add some, or simulate annotators.")
        return
    for case in index.cases:
        if not case.annotations:
            severity = "warning" if case.split == "test" else "error"
            found, remedy = "No annotation found, at least one expected.", "Add one or take the case out."
            yield Place(case.id).problem(severity, "no-annotation", found, remedy)
    for annotator in index.annotators:
        if not any(annotator in case.annotations for case in index.cases):
            found = "No annotation by this annotator found in any case, one expected."
            remedy = "Remove the name from annotators."
            yield Place(None, annotator).problem("warning", "annotator-without-annotation", found, remedy)
