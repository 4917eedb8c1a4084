"""All files of one case: its problems, and what is kept to compare it with others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import UInt8

from umanet.data.check.annotations import (
    AnnotationFindings,
    Reference,
    check_annotation,
    findings_of,
    undeclared_classes,
)
from umanet.data.check.images import Found, ImageFindings, check_image
from umanet.data.check.mirrored import mirrored
from umanet.data.check.problems import Place, Problem
from umanet.data.index import DatasetIndex
from umanet.types import IGNORE, Case

Labels = UInt8[np.ndarray, "*spatial"]


@dataclass
class CaseFindings:
    """What was found in the files of a case.

    Attributes:
        case: The case.
        problems: In the order in which they were met.
        image: None where it is of no use.
        annotations: By annotator; those of no use are left out.
    """

    case: Case
    problems: list[Problem] = field(default_factory=list)
    image: ImageFindings | None = None
    annotations: dict[str, AnnotationFindings] = field(default_factory=dict)


def check_case(case: Case, index: DatasetIndex) -> CaseFindings:
    """Reads every file of a case, once."""
    findings = CaseFindings(case)
    findings.problems.extend(_check(case, index, findings))
    return findings


def _check(case: Case, index: DatasetIndex, findings: CaseFindings) -> Found:
    findings.image = yield from check_image(case, index)
    reference = None if findings.image is None else Reference("image", findings.image.geometry)
    annotations: dict[str, Labels] = {}
    for annotator, path in case.annotations.items():
        place = Place(case.id, annotator, path)
        labels, geometry = yield from check_annotation(place, index, reference)
        if reference is None and geometry is not None:
            reference = Reference(f"the annotation of {annotator}", geometry)
        if labels is not None:
            annotations[annotator] = labels
            findings.annotations[annotator] = findings_of(labels)
            yield from undeclared_classes(place, index, findings.annotations[annotator])
    truth = None
    if case.truth is not None:
        truth, _ = yield from check_annotation(Place(case.id, None, case.truth), index, reference)
    yield from _identical(case, annotations, findings)
    yield from mirrored(case, index, annotations, truth)


def _identical(case: Case, annotations: Mapping[str, Labels], findings: CaseFindings) -> Iterator[Problem]:
    for first, second in combinations(annotations, 2):
        digest = findings.annotations[first].digest
        if digest is not None and digest == findings.annotations[second].digest:
            found = f"Identical to the annotation of {first}, one of their own expected."
            place = Place(case.id, second, case.annotations[second])
            yield place.problem("warning", "identical-annotations", found, "See that it is no copy.")


def foreground(findings: AnnotationFindings) -> dict[int, int]:
    """Voxels of each foreground class that occurs."""
    return {k: voxels for k, voxels in findings.voxels.items() if 0 < k < IGNORE}
