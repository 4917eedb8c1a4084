"""What ``check`` found, as text and as JSON."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from umanet.data.check.across import Drawn
from umanet.data.check.cases import CaseFindings
from umanet.data.check.problems import SEVERITIES, Problem, Severity
from umanet.data.index import DatasetIndex
from umanet.errors import counted
from umanet.types import IGNORE

MOST_LINES = 5
"""A kind of problem that more cases have is one line of the text."""


@dataclass(frozen=True)
class Coverage:
    """What one annotator did.

    Attributes:
        annotator: Name.
        present: Usable annotations with something drawn.
        empty: Usable annotations that say that nothing is there.
        unusable: Annotations with an error: unreadable, on another grid, with values that mean nothing.
        missing: Cases without an annotation of theirs, or without its file.
    """

    annotator: str
    present: int
    empty: int
    unusable: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ClassCount:
    """How often a class was drawn.

    Attributes:
        name: Of the class; ``(ignored)`` for voxels of which nothing is said.
        values: In files.
        annotations: That hold it.
        voxels: In all of them.
    """

    name: str
    values: tuple[int, ...]
    annotations: int
    voxels: int


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found in a data set.

    Attributes:
        name: Of the data set.
        cases: How many were looked at.
        problems: Errors first, then warnings, then notes; each in the order of the cases.
        coverage: One entry per annotator.
        classes: One entry per class, background included.
    """

    name: str
    cases: int
    problems: tuple[Problem, ...]
    coverage: tuple[Coverage, ...] = ()
    classes: tuple[ClassCount, ...] = ()

    @property
    def ok(self) -> bool:
        """No errors; warnings and notes are allowed."""
        return self.count("error") == 0

    def count(self, severity: Severity) -> int:
        return sum(problem.severity == severity for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """What ``json.dumps`` takes: ``name``, ``cases``, ``ok``, ``counts``, ``coverage``, ``classes``, problems."""
        return {
            "name": self.name,
            "cases": self.cases,
            "ok": self.ok,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "coverage": [asdict(coverage) for coverage in self.coverage],
            "classes": [asdict(count) for count in self.classes],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def to_text(self) -> str:
        """Counts, a line for every problem (one for all of many cases that have one of a kind), annotators, classes."""
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
        return "\n".join([*lines, *map(_of_annotator, self.coverage), *map(_of_class, self.classes)])


def _line(problem: Problem, where: str) -> str:
    return f"{problem.severity} [{problem.code}] {where + ': ' if where else ''}{problem.message}"


def _of_annotator(one: Coverage) -> str:
    parts = [f"{one.present} drawn", f"{one.empty} empty"]
    parts += [f"{one.unusable} unusable"] if one.unusable else []
    return f"annotator {one.annotator}: {', '.join(parts)}, {len(one.missing)} missing."


def _of_class(one: ClassCount) -> str:
    values = ", ".join(map(str, one.values))
    return f"class {one.name} ({values}): {counted(one.annotations, 'annotation')}, {counted(one.voxels, 'voxel')}."


def coverage_of(index: DatasetIndex, found: Sequence[CaseFindings]) -> tuple[Coverage, ...]:
    rows = []
    for annotator in index.annotators:
        states: dict[str, list[str]] = defaultdict(list)
        for case in found:
            states[_state(case, annotator)].append(case.case.id)
        present, empty, unusable = (len(states[state]) for state in ("present", "empty", "unusable"))
        rows.append(Coverage(annotator, present, empty, unusable, tuple(states["missing"])))
    return tuple(rows)


def _state(case: CaseFindings, annotator: str) -> str:
    errors = {p.code for p in case.problems if p.annotator == annotator and p.severity == "error"}
    if annotator not in case.case.annotations or "missing-file" in errors:
        return "missing"
    if errors:
        return "unusable"
    return "empty" if case.annotations[annotator].digest is None else "present"


def counts_of(index: DatasetIndex, drawn: Drawn) -> tuple[ClassCount, ...]:
    rows = [(k, definition.name, definition.values) for k, definition in enumerate(index.classes)]
    if index.ignore:
        rows.append((IGNORE, "(ignored)", index.ignore))
    return tuple(ClassCount(name, values, drawn.files[k], drawn.voxels[k]) for k, name, values in rows)
