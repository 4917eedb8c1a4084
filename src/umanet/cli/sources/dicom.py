from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.classes import parse_class_names
from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Dicom(Source):
    """ROOT/PATIENT/..., DICOM series and SEG or RTSTRUCT objects of them, one or more per annotator. Needs the packages
    of umanet[dicom].
    """

    classes: tuple[str, ...] = ()
    """Names and the segment labels or ROI names that mean them, as mass=GTV,GTV-1; background=BODY for those that count
    for nothing. Of overlapping classes the last one wins. Default: one class per name."""
    annotator_pattern: str | None = None
    """Regular expression with a group (?P<annotator>...), found in the path of a SEG or RTSTRUCT below the patient's
    folder. Default: its folder's name where each has a folder of its own, else its file name."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.dicom import index

        return index(
            self.root, files=files, classes=parse_class_names(self.classes), annotator_pattern=self.annotator_pattern,
            leave_out=self.leave_out, progress=report,
        )  # fmt: skip
