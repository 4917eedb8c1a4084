from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.classes import parse_classes
from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Bids(Source):
    """BIDS: images sub-01/anat/sub-01_T1w.nii.gz and, in derivatives, annotations
    sub-01_desc-ANNOTATOR_dseg.nii.gz; names of labels in *_dseg.tsv.
    """

    suffix: tuple[str, ...] = ()
    """Of the images; several are channels, in this order. Default: T1w, or else the only one there is."""
    annotator_entity: str = "desc"
    """The entity that names the annotator: rater for sub-01_rater-2_dseg.nii.gz."""
    annotations_suffix: str = "dseg"
    """Of the annotations: dseg or mask."""
    truth: str = "truth"
    """Who of them drew what is really there."""
    ignore: tuple[int, ...] = ()
    """File values of voxels of which nothing is said, beside those that a table *_dseg.tsv calls ignore."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255. Default: the tables *_dseg.tsv, or else one class per value
    that is found."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.bids import index

        return index(
            self.root, suffixes=self.suffix, annotator_entity=self.annotator_entity,
            annotations_suffix=self.annotations_suffix, truth=self.truth, classes=parse_classes(self.classes),
            ignore=self.ignore, leave_out=self.leave_out,
        )  # fmt: skip
