from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Curvas(Source):
    """CURVAS 2024 and 2025: abdominal CT, organs by three or pancreatic tumours by five annotators;
    training_set/UKCHLL001/image.nii.gz, annotation_1.nii.gz and so on.
    """

    edition: Literal["2024", "2025"] | None = None
    """Default: 2025 where a case has more than three annotations."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.curvas import index

        return index(self.root, edition=self.edition, leave_out=self.leave_out)
