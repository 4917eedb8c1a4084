from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from umanet.cli.classes import parse_classes
from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Nnunet(Source):
    """Raw data of nnU-Net v2, DatasetXXX_Name: imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz and, per annotator,
    labelsTr_ANNOTATOR/CASE.nii.gz; imagesTs with labelsTs are the split test.
    """

    labels_tr: Literal["annotator", "truth", "ignore"] = "annotator"
    """What labelsTr and labelsTs are: an annotator of the name labelsTr; the truth; or, where they were fused from
    the annotators in labelsTr_ANNOTATOR, nothing."""
    patient_pattern: str | None = None
    """Regular expression found in case names that gives the patient. Default: every case is a patient."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255, in place of the labels in dataset.json."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.nnunet import index

        return index(
            self.root, labels_tr=self.labels_tr, patient_pattern=self.patient_pattern,
            classes=parse_classes(self.classes), leave_out=self.leave_out,
        )  # fmt: skip
