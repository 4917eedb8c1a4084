from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class ChaseDb1(Source):
    """CHASE_DB1: 28 fundus photographs, vessels by two observers; Image_01L.jpg, Image_01L_1stHO.png and so on."""

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.chase_db1 import index

        return index(self.root, leave_out=self.leave_out)
