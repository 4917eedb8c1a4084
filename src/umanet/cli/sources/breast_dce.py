from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class BreastDce(Source):
    """MAMA-MIA, breast DCE-MRI: images/CASE/CASE_0000.nii.gz and so on, segmentations/expert and automatic, and
    train_test_splits.csv.
    """

    channels: tuple[str, ...] = ("0", "1", "1-0")
    """Image channels: phases (0 is before contrast) and differences of two, as 1-0. They are called phase0, phase1,
    phase1-phase0."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.breast_dce import index

        return index(self.root, files=files, channels=self.channels, leave_out=self.leave_out, progress=report)
