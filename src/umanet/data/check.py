"""Every problem of a data set in one report: nothing stops at the first, nothing is skipped silently."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from umanet.data.geometry import grid_difference
from umanet.data.images import (
    describe_unknown,
    labels_from_values,
    read_annotation_values,
    read_image_values,
    unknown_values,
)
from umanet.data.index import DatasetIndex
from umanet.errors import GeometryError, ImageError, UmanetError, counted
from umanet.types import Case, Geometry

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MOST_LINES = 5
"""A kind of problem that more cases have is one line of the text."""

# When a class looks like stray values (a 254 beside 255, one file of another program): with fewer annotations a rare
# class is no surprise, and a small structure is small everywhere.
ENOUGH_ANNOTATIONS = 20
RARE_SHARE_OF_VOXELS, RARE_SHARE_OF_ANNOTATIONS = 1e-4, 0.05


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        severity: ``error``: training refuses it in its own splits. ``warning``: probably a mistake. ``note``: legal,
            worth knowing.
        code: Kind of the problem, the same in every version: ``missing-file``, ``unreadable``, ``geometry``,
            ``channels``, ``not-finite``, ``constant-image``, ``same-image``, ``not-labels``, ``unknown-value``,
            ``no-annotation``, ``empty-annotation``, ``empty-truth``, ``identical-annotations``,
            ``patient-in-two-splits``, ``empty-split``, ``annotator-without-annotation``, ``class-without-annotation``,
            ``rare-class``.
        message: What was found, what was expected, where, and what to do.
        case: Its id; None for problems of the whole data set.
        annotator: None where it is not about one annotation; ``truth`` is not an annotator.
    """

    severity: Severity
    code: str
    message: str
    case: str | None = None
    annotator: str | None = None


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found in a data set.

    Attributes:
        name: Of the data set.
        cases: How many were looked at.
        problems: Errors first, then warnings, then notes; each in the order of the cases.
    """

    name: str
    cases: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """No errors; warnings and notes are allowed."""
        return self.count("error") == 0

    def count(self, severity: Severity) -> int:
        return sum(problem.severity == severity for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """What ``json.dumps`` takes: ``name``, ``cases``, ``ok``, ``counts`` by severity, ``problems``."""
        counts = {severity: self.count(severity) for severity in SEVERITIES}
        problems = [asdict(problem) for problem in self.problems]
        return {"name": self.name, "cases": self.cases, "ok": self.ok, "counts": counts, "problems": problems}

    def to_text(self) -> str:
        """A line of counts, then a line for every problem; one for all of many cases that have one of a kind."""
        counts = ", ".join(counted(self.count(severity), severity) for severity in SEVERITIES)
        same: dict[tuple[str | None, ...], list[Problem]] = defaultdict(list)
        for problem in self.problems:
            what = None if problem.case else problem.message
            same[problem.severity, problem.code, problem.annotator, what].append(problem)
        lines = [f"{self.name}: {counted(self.cases, 'case')}, {counts}."]
        for alike in same.values():
            if len(alike) > MOST_LINES:
                who = f"{alike[0].annotator}, " if alike[0].annotator else ""
                some = ", ".join(str(problem.case) for problem in alike[:3])
                lines.append(_line(alike[0], f"{who}{len(alike)} times ({some} ...; --json has all), the first"))
            else:
                lines += [_line(p, "/".join(part for part in (p.case, p.annotator) if part)) for p in alike]
        return "\n".join(lines)


def _line(problem: Problem, where: str) -> str:
    return f"{problem.severity} [{problem.code}] {where + ': ' if where else ''}{problem.message}"


@dataclass
class Drawn:
    """What the annotations hold, counted while they are read.

    Attributes:
        annotations: How many were read.
        voxels: Voxels of each class.
        files: Annotations that hold each class.
        first: The first of these, as ``case/annotator``.
    """

    annotations: int = 0
    voxels: Counter[int] = field(default_factory=Counter)
    files: Counter[int] = field(default_factory=Counter)
    first: dict[int, str] = field(default_factory=dict)

    def count(self, labels: np.ndarray, where: str) -> None:
        self.annotations += 1
        for k, voxels in enumerate(np.bincount(labels.ravel()).tolist()):
            if voxels:
                self.voxels[k] += voxels
                self.files[k] += 1
                self.first.setdefault(k, where)


Found = Generator[Problem, None, Any]
"""Yields problems and returns what was read, or None where nothing could be."""


def check(index: DatasetIndex, *, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Read every file that the index lists and report every problem.

    Args:
        index: As ``read_index`` gives it, so free of contradictions within itself.
        progress: Called after every case with the number of cases done and of all.
    """
    problems = [*_empty_splits(index), *patients_in_two_splits(index), *_without_annotation(index)]
    images: dict[bytes, list[Case]] = defaultdict(list)
    drawn = Drawn()
    for number, case in enumerate(index.cases, start=1):
        problems.extend(_check_case(case, index, images, drawn))
        if progress is not None:
            progress(number, len(index.cases))
    problems.extend(_same_images(images))
    problems.extend(_classes(index, drawn))
    problems.sort(key=lambda problem: SEVERITIES.index(problem.severity))
    return CheckReport(index.name, len(index.cases), tuple(problems))


def _check_case(case: Case, index: DatasetIndex, images: dict[bytes, list[Case]], drawn: Drawn) -> Iterator[Problem]:
    """Problems of one case; adds its image's digest to ``images`` and what its annotations hold to ``drawn``."""
    read = yield from _check_image(case, index)
    geometry = None
    if read is not None:
        values, geometry = read
        images[hashlib.sha256(str(values.shape).encode() + values.tobytes()).digest()].append(case)
    annotations = {}
    for annotator, path in case.annotations.items():
        labels = yield from _check_labels(case, annotator, path, index, geometry)
        if labels is not None:
            annotations[annotator] = labels
            drawn.count(labels, f"{case.id}/{annotator}")
    if case.truth is not None:
        yield from _check_labels(case, None, case.truth, index, geometry)
    yield from _identical_annotations(case, annotations)


def _check_image(case: Case, index: DatasetIndex) -> Found:
    missing = [path for path in case.image if not path.exists()]
    for path in missing:
        yield _missing(path, case.id)
    if missing:
        return None
    try:
        values, geometry = read_image_values(case.image, index.spatial_dims)
    except UmanetError as error:
        yield Problem("error", _code(error), str(error), case.id)
        return None
    where = ", ".join(str(path) for path in case.image)
    if len(values) != len(index.channels):
        message = (
            f"{counted(len(values), 'channel')} found, {len(index.channels)} ({', '.join(index.channels)}) expected, "
            f"in {where}. Mend the file or take the case out."
        )
        yield Problem("error", "channels", message, case.id)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        message = f"{counted(bad, 'NaN or infinite value')} found, finite ones expected, in {where}. Replace them."
        yield Problem("error", "not-finite", message, case.id)
    for number, channel in enumerate(values):
        if (channel == channel.flat[0]).all():
            found = f"Only the value {channel.flat[0]:g} found in channel {number}"
            message = f"{found}, an image expected, in {where}. Look at it."
            yield Problem("warning", "constant-image", message, case.id)
    return values, geometry


def _check_labels(
    case: Case, annotator: str | None, path: Path, index: DatasetIndex, geometry: Geometry | None
) -> Found:
    """An annotation, or the truth where ``annotator`` is None."""
    if not path.is_file():
        yield _missing(path, case.id, annotator)
        return None
    try:
        values, own = read_annotation_values(path, index.spatial_dims)
    except UmanetError as error:
        yield Problem("error", _code(error), str(error), case.id, annotator)
        return None
    difference = grid_difference(geometry, own) if geometry is not None else None
    if difference:
        message = f"{difference} found for image and {path}, the same grid expected. Resample the annotation."
        yield Problem("error", "geometry", message, case.id, annotator)
    unknown = unknown_values(values, index.classes)
    if unknown:
        message = f"{describe_unknown(unknown, index.classes)} in {path}. Add the value to a class or mend the file."
        yield Problem("error", "unknown-value", message, case.id, annotator)
        return None
    labels = labels_from_values(values, index.classes)
    if not labels.any():
        kind = "annotation" if annotator else "truth"
        message = f"Nothing but background found in {path}. Legal: it says that nothing is there."
        yield Problem("note", f"empty-{kind}", message, case.id, annotator)
    return labels


def _identical_annotations(case: Case, annotations: Mapping[str, np.ndarray]) -> Iterator[Problem]:
    for (first, a), (second, b) in combinations(annotations.items(), 2):
        if a.any() and np.array_equal(a, b):
            message = f"Identical to the annotation of {first}, one of their own expected. See that it is no copy."
            yield Problem("warning", "identical-annotations", message, case.id, second)


def _empty_splits(index: DatasetIndex) -> Iterator[Problem]:
    if not all(case.split for case in index.cases):
        return  # no splits yet
    for split in ("train", "validation"):
        if not index.select(split):
            yield Problem(
                "warning",
                "empty-split",
                f"No case in split {split!r}, at least one expected to train. Import again, or set `split` of cases.",
            )


def patients_in_two_splits(index: DatasetIndex) -> Iterator[Problem]:
    splits: dict[str, set[str]] = defaultdict(set)
    for case in index.cases:
        if case.split is not None:
            splits[case.patient or case.id].add(case.split)
    for patient, names in splits.items():
        if len(names) > 1:
            message = (
                f"Patient {patient!r} found in the splits {' and '.join(sorted(names))}, one expected. Split by "
                "patient: else the test sees patients that were trained on."
            )
            yield Problem("error", "patient-in-two-splits", message)


def _without_annotation(index: DatasetIndex) -> Iterator[Problem]:
    if not any(case.annotations for case in index.cases):
        message = "No annotation found in any case, at least one per case expected. Add some, or simulate annotators."
        yield Problem("error", "no-annotation", message)
        return
    for case in index.cases:
        if not case.annotations:
            message = "No annotation found, at least one expected. Add one or take the case out."
            yield Problem("warning" if case.split == "test" else "error", "no-annotation", message, case.id)
    for annotator in index.annotators:
        if not any(annotator in case.annotations for case in index.cases):
            message = (
                "No annotation by this annotator found in any case, one expected. Remove the name from annotators."
            )
            yield Problem("warning", "annotator-without-annotation", message, annotator=annotator)


def _same_images(images: Mapping[bytes, list[Case]]) -> Iterator[Problem]:
    for cases in images.values():
        for other in cases[1:]:
            message = f"The same image as case {cases[0].id!r} found, another one expected. Make them one case."
            leaks = cases[0].split != other.split
            yield Problem("error" if leaks else "warning", "same-image", message, other.id)


def _classes(index: DatasetIndex, drawn: Drawn) -> Iterator[Problem]:
    """Classes that nobody drew, and those that look like stray values."""
    foreground = sum(voxels for k, voxels in drawn.voxels.items() if k > 0)
    for k, definition in enumerate(index.classes):
        if k == 0 or not drawn.annotations:
            continue
        files, voxels = drawn.files[k], drawn.voxels[k]
        few = files <= RARE_SHARE_OF_ANNOTATIONS * drawn.annotations and voxels < RARE_SHARE_OF_VOXELS * foreground
        if not files:
            message = f"Class {definition.name!r} found in no annotation. Nothing can be learned about it."
            yield Problem("warning", "class-without-annotation", message)
        elif drawn.annotations >= ENOUGH_ANNOTATIONS and (files == 1 or few):
            values = " or ".join(map(str, definition.values))
            message = (
                f"Class {definition.name!r} (value {values}) found in {files} of {drawn.annotations} annotations only "
                f"({voxels} of {foreground} foreground voxels, first in {drawn.first[k]}), a class that is drawn more "
                "often expected. If these are stray values, mend the files, or give the value to another class with "
                "`umanet import --classes`, as in background=0 lesion=255,254."
            )
            yield Problem("warning", "rare-class", message)


def _missing(path: Path, case: str, annotator: str | None = None) -> Problem:
    message = (
        f"No file found at {path}. Restore it, or mend the path in dataset.json (relative to the folder of that file)."
    )
    return Problem("error", "missing-file", message, case, annotator)


def _code(error: UmanetError) -> str:
    if isinstance(error, GeometryError):
        return "geometry"
    return "unreadable" if isinstance(error, ImageError) else "not-labels"
