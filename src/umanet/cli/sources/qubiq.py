from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Qubiq(Source):
    """QUBIQ 2020 and 2021: kidney/Training/case01/image.nii.gz, task01_seg01.nii.gz and so on; the folder Validation
    becomes the test split.
    """

    dataset: str | None = None
    """Which one, where ROOT holds several: brain-growth, brain-tumor, kidney, prostate, pancreas, pancreatic-lesion."""
    task: str | None = None
    """Number of the task, where there are several: 1, 2, 3; or all, which makes a class of each."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.qubiq import index

        return index(self.root, files, dataset=self.dataset, task=self.task, leave_out=self.leave_out, progress=report)
