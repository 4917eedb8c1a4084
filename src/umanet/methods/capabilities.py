"""What each method can do and needs, as data."""

import inspect
import re
from dataclasses import dataclass

from umanet.fusion import FUSIONS
from umanet.methods import METHODS
from umanet.methods.method import GradesAnnotations


@dataclass(frozen=True)
class Capabilities:
    """One method.

    Attributes:
        name: As ``--method`` takes it.
        dimensions: Of images: all methods take 2D and 3D.
        per_annotator: Says what each annotator would draw.
        samples: Draws samples.
        grades: Says how good each annotation is, and where not.
        needs_identity: Refuses anonymous annotators.
        reference: The paper, with its DOI; that of a fusion where it has one.
    """

    name: str
    dimensions: str
    per_annotator: bool
    samples: bool
    grades: bool
    needs_identity: bool
    reference: str


def capabilities() -> list[Capabilities]:
    """Of all methods, in the order of ``METHODS``."""
    return [
        Capabilities(
            name, "2D, 3D", method.per_annotator, method.samples, issubclass(method, GradesAnnotations),
            method.needs_identity, _reference(FUSIONS.get(name, inspect.getmodule(method))),
        )
        for name, method in METHODS.items()
    ]  # fmt: skip


def _reference(documented: object) -> str:
    """What stands below ``Reference:`` in a docstring, up to the first DOI."""
    below = (inspect.getdoc(documented) or "").partition("Reference:\n")[2]
    first = re.match(r".*?DOI \S+", " ".join(below.split()))
    return first[0].rstrip(".,;") if first else ""
