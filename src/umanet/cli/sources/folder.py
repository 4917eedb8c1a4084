from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import tyro

from umanet.cli.classes import parse_classes
from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Folder(Source):
    """ROOT/images/CASE.png, ROOT/annotations/ANNOTATOR/CASE.png, and ROOT/truth/CASE.png where the truth is known; any
    file type that is read.
    """

    images: str = "images"
    """Name of the folder of images."""
    annotations: str = "annotations"
    """Name of the folder that has a folder per annotator."""
    truth: str = "truth"
    """Name of the folder of the truth; may be absent."""
    image_pattern: str | None = None
    """Regular expression of image names without type, with groups (?P<case>...) and perhaps (?P<channel>...)."""
    annotation_pattern: str | None = None
    """The same for annotations, with a group (?P<case>...)."""
    patient_pattern: str | None = None
    """Regular expression found in case names that gives the patient. Default: every case is a patient."""
    anonymous: tyro.conf.FlagCreatePairsOff[bool] = False
    """An annotator's folder is not one person across cases."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255. Default: one class per value that is found."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.folder import index

        return index(
            self.root, images=self.images, annotations=self.annotations, truth=self.truth,
            image_pattern=self.image_pattern, annotation_pattern=self.annotation_pattern,
            patient_pattern=self.patient_pattern, classes=parse_classes(self.classes),
            annotators_are_identified=not self.anonymous,
        )  # fmt: skip
