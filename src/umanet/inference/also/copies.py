"""All formats of further copies, called one after the other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from umanet.errors import ConfigError, did_you_mean
from umanet.inference.also import AlsoFormat
from umanet.inference.also.bids import BidsCopies
from umanet.inference.also.coco import CocoCopies
from umanet.inference.also.dicom import DicomCopies
from umanet.inference.also.geojson import GeoJsonCopies
from umanet.inference.also.images import ImageCopies
from umanet.inference.also.written import Copier, WrittenCase
from umanet.inference.model_file import Model
from umanet.inference.prediction_files import CaseFiles
from umanet.types import Case, Geometry

COPIERS: Mapping[str, Callable[[str], Copier]] = {
    "nrrd": lambda _: ImageCopies("nrrd"),
    "mha": lambda _: ImageCopies("mha"),
    "dicom-seg": lambda made_by: DicomCopies("dicom-seg", made_by),
    "dicom-seg-fractional": lambda made_by: DicomCopies("dicom-seg-fractional", made_by),
    "geojson": lambda _: GeoJsonCopies(),
    "coco": lambda _: CocoCopies(),
    "bids": lambda _: BidsCopies(),
}
"""Each is told which method and model made the predictions."""


class Copies:
    """The further copies that a prediction is to make.

    Args:
        formats: Names in ``COPIERS``.
        cases: All cases that will be predicted, with the files of their images.
        model: That predicts.

    Raises:
        ConfigError: A format that is unknown, or that cannot hold these images.
    """

    def __init__(self, formats: Sequence[str], cases: Sequence[Case], model: Model):
        known = get_args(AlsoFormat)
        for name in formats:
            if name not in COPIERS:
                raise ConfigError(
                    f"Format {name!r} found, one of {', '.join(known)} expected, in --also.{did_you_mean(name, known)}"
                )
        self._cases = {case.id: case for case in cases}
        self._classes = tuple(model.classes)
        made_by = f"{model.config.method} {model.digest[:12]}"
        self._copiers = {name: COPIERS[name](made_by) for name in dict.fromkeys(formats)}
        for copier in self._copiers.values():
            copier.check(cases, self._classes, model.task.spatial_dims)

    def write(self, case: str, files: CaseFiles, geometry: Geometry, folder: Path) -> CaseFiles:
        """Copy a case whose labels and maps are in ``folder``; its files with the copies."""
        if not self._copiers:
            return files
        written = WrittenCase(self._cases[case], files, geometry, self._classes, folder)
        return {**files, "also": {name: copier.write(written) for name, copier in self._copiers.items()}}

    def finish(self, folder: Path) -> None:
        """Write what all cases share."""
        for copier in self._copiers.values():
            copier.finish(folder, self._classes)
