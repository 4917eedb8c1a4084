from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, final

import tyro

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Jsrt(Source):
    """JSRT with the masks of SCR: chest radiographs, lungs, heart and clavicles; JPCLN001.IMG and so on, and
    scratch/fold1/masks/heart/JPCLN001.gif.
    """

    drawn_as: Annotated[Literal["truth", "annotator"], tyro.conf.arg(name="as")] = "truth"
    """What the masks are: the truth, for `umanet simulate`, or the annotations of an annotator."""
    split_by_fold: tyro.conf.FlagCreatePairsOff[bool] = False
    """The images of SCR's fold2 are the test split."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.jsrt import index

        return index(
            self.root, files, drawn_as=self.drawn_as, split_by_fold=self.split_by_fold, leave_out=self.leave_out,
            progress=report,
        )  # fmt: skip
