from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class Riga(Source):
    """RIGA: fundus photographs, disc and cup by six ophthalmologists, as contours drawn into copies of the picture;
    Magrabia becomes the test split.
    """

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.riga import index

        return index(self.root, files, leave_out=self.leave_out, progress=report)
