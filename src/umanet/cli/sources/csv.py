from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import tyro

from umanet.cli.classes import parse_classes
from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Csv(Source):
    """A CSV file with a row per annotation: case,image,annotator,annotation and perhaps patient,split,truth,date; with
    a file per channel image:T1,image:T2 in place of image. Paths are relative to its folder.
    """

    root: tyro.conf.Positional[Path]
    """The CSV file."""
    anonymous: tyro.conf.FlagCreatePairsOff[bool] = False
    """An annotator's name is not one person across cases."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255. Default: one class per value that is found."""
    ignore: tuple[int, ...] = ()
    """File values that say nothing of a voxel: neither background nor a class."""

    def index(self, files: Path, report: Report) -> "DatasetIndex":
        from umanet.data.sources.csv import index

        return index(
            self.root, classes=parse_classes(self.classes), annotators_are_identified=not self.anonymous,
            ignore=self.ignore, leave_out=self.leave_out,
        )  # fmt: skip
