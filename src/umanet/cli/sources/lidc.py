from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Lidc(Source):
    """LIDC-IDRI: chest CT, lung nodules outlined by up to four anonymous readers; LIDC-IDRI-0001/STUDY/SERIES/ with
    DICOM and XML files.
    """

    what: Literal["crops", "scans"] = "crops"
    """A case per nodule, or per scan with all nodules."""
    dims: Literal[2, 3] = 3
    """2: crops of one slice, where readers agree on most pixels."""
    side: int = 128
    """Of crops, in pixels."""
    margin: int = 2
    """Slices above and below the nodule in 3D crops."""
    least_annotations: int = 1
    """Readers who must have outlined a nodule."""
    unmarked: Literal["absent", "empty"] = "absent"
    """What a reader who did not outline a nodule has of its crop: no annotation, or an empty one."""
    boundary: Literal["exclude", "include"] = "exclude"
    """Whether the pixels of an outline belong to the nodule; LIDC's outlines run outside of it."""
    xml: Path | None = None
    """Folder of the XML files, where they do not lie beside the slices."""

    def index(self, files: Path, report: Report) -> "DatasetIndex":
        from umanet.data.sources.lidc import Choices, index

        choices = Choices(
            self.what, self.dims, self.side, self.margin, self.least_annotations, self.unmarked, self.boundary
        )
        return index(self.root, files, choices=choices, xml=self.xml, leave_out=self.leave_out, progress=report)
