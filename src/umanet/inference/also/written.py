"""A predicted case whose labels and maps are written: what every further copy is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from umanet.data.images import labels_from_values, read_annotation_values, read_map
from umanet.data.index import ClassDefinition
from umanet.inference.prediction_files import CaseFiles
from umanet.types import Case, Geometry


@dataclass(frozen=True)
class WrittenCase:
    """Where a predicted case lies, and what it means.

    Attributes:
        case: With the files of its image.
        files: Relative to ``folder``.
        geometry: Of the image.
        classes: Background first.
        folder: That of all predictions. Copies go into folders of their own in it.
    """

    case: Case
    files: CaseFiles
    geometry: Geometry
    classes: tuple[ClassDefinition, ...]
    folder: Path

    def labels(self) -> UInt8[np.ndarray, "*spatial"]:
        """Class indices, in the axis order of ``read_image``."""
        values, _ = read_annotation_values(self.folder / self.files["labels"], len(self.geometry.shape))
        return labels_from_values(values, self.classes)

    def probabilities(self) -> Iterator[Float32[np.ndarray, "*spatial"]]:
        """Class after class, background first, as they were written."""
        for definition in self.classes:
            yield read_map(self.folder / self.files["probabilities"][definition.name], len(self.geometry.shape))


@runtime_checkable
class Copier(Protocol):
    """A format of further copies."""

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        """Refuse, before any work, what the format cannot hold."""
        ...

    def write(self, written: WrittenCase) -> str:
        """Write a case; where to, relative to the folder of the predictions."""
        ...

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        """Write what all cases share."""
        ...
