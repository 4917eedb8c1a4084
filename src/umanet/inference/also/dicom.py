"""DICOM segmentations that refer to the series that was predicted: for archives and viewers of hospitals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umanet.data.formats import DICOM, suffix_of
from umanet.data.index import ClassDefinition
from umanet.errors import ConfigError
from umanet.inference.also.written import WrittenCase
from umanet.inference.dicom_seg import write_dicom_seg
from umanet.types import Case


@dataclass(frozen=True)
class DicomCopies:
    """``dicom-seg/CASE.dcm``, of labels or (``dicom-seg-fractional``) of probabilities.

    They carry the patient's tags, as DICOM demands of them.
    """

    name: str
    made_by: str

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        for case in cases:
            found = [suffix_of(path) for path in case.image]
            if found != [DICOM]:
                raise ConfigError(
                    f"{self.name} needs DICOM images: {', '.join(found)} found, one DICOM series expected, for case "
                    f"{case.id!r}. Predict DICOM series, or leave {self.name} out of --also."
                )

    def write(self, written: WrittenCase) -> str:
        path = f"{self.name}/{written.case.id}.dcm"
        if self.name == "dicom-seg":
            content = {"labels": written.labels()}
        else:
            content = {"probabilities": np.stack(list(written.probabilities()))}
        write_dicom_seg(
            written.folder / path, written.case.image[0], written.classes,
            geometry=written.geometry, made_by=self.made_by, **content,
        )  # fmt: skip
        return path

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        """Nothing is shared."""
