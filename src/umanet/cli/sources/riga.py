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
    """RIGA: fundus photographs, disc and cup by six ophthalmologists, as contours drawn into copies of the picture,
    or as the masks of DiscRegion; Magrabia becomes the test split.
    """

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources import riga, riga_masks
        from umanet.data.sources.raw_folder import raw_folder

        root = raw_folder(self.root, riga.HOLDS)
        layout = riga_masks if riga_masks.tables(root) else riga
        return layout.index(root, files, leave_out=self.leave_out, progress=report)
