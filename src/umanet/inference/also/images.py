"""Label maps as NRRD or MetaImage, on the grid of the image: for 3D Slicer, MITK, ITK-SNAP and elastix."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umanet.data.images import write_labels
from umanet.data.index import ClassDefinition
from umanet.inference.also.written import WrittenCase
from umanet.types import Case


@dataclass(frozen=True)
class ImageCopies:
    """``nrrd/CASE.nrrd`` and the like."""

    name: str

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        """Every image can be written so."""

    def write(self, written: WrittenCase) -> str:
        path = f"{self.name}/{written.case.id}.{self.name}"
        write_labels(written.folder / path, written.labels(), written.geometry, written.classes)
        return path

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        """Nothing is shared."""
