"""One finding, and the kinds of findings there are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from umanet.errors import GeometryError, ImageError, UmanetError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Code = Literal[
    "missing-file", "unreadable", "file-size", "geometry", "geometry-noise", "qform-sform", "channels", "volumes",
    "not-finite", "constant-image", "same-image", "intensity-outlier", "spacing-outlier",
    "not-labels", "unknown-value", "undeclared-class", "empty-annotation", "empty-truth",
    "identical-annotations", "same-annotation", "mirrored-annotation",
    "no-annotation", "annotator-without-annotation", "class-without-annotation", "rare-class", "mixed-values",
    "patient-in-two-splits", "empty-split",
]  # fmt: skip
CODES: tuple[Code, ...] = get_args(Code)
"""The same in every version; docs/reference/check.md says what each means."""


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        severity: ``error``: training refuses it in its own splits. ``warning``: probably a mistake. ``note``: legal,
            worth knowing.
        code: Kind of the problem.
        message: What was found, what was expected, where, and what to do.
        case: Its id; None for problems of the whole data set.
        annotator: None where it is not about one annotation; ``truth`` is not an annotator.
        file: The path of the file that it is about, the first of several; None where it is about none.
        remedy: The end of the message: what to do.
    """

    severity: Severity
    code: Code
    message: str
    case: str | None = None
    annotator: str | None = None
    file: str | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Place:
    """What a problem is about: a case, perhaps an annotation of it, and its file."""

    case: str | None = None
    annotator: str | None = None
    file: Path | None = None

    def problem(self, severity: Severity, code: Code, found: str, remedy: str) -> Problem:
        """The problem of which ``found`` and ``remedy`` make the message."""
        file = None if self.file is None else str(self.file)
        return Problem(severity, code, f"{found} {remedy}", self.case, self.annotator, file, remedy)

    def unread(self, error: UmanetError) -> Problem:
        """What a reader refused. Its message ends with what to do, as all of ours."""
        code: Code = "not-labels"
        if isinstance(error, GeometryError):
            code = "geometry"
        elif isinstance(error, ImageError):
            code = "unreadable"
        elif "volumes in one file" in str(error):
            code = "volumes"
        found, _, remedy = str(error).rpartition(". ")
        return self.problem("error", code, f"{found}." if found else "", remedy)

    def missing(self) -> Problem:
        remedy = "Restore it, or mend the path in dataset.json (relative to the folder of that file)."
        return self.problem("error", "missing-file", f"No file found at {self.file}.", remedy)


DATASET = Place()
"""The place of problems of the whole data set."""
