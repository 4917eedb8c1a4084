from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from umanet.cli.sources.source import Source
from umanet.cli.terminal import Report

if TYPE_CHECKING:
    from pathlib import Path

    from umanet.data.index import DatasetIndex


@final
@dataclass(frozen=True, kw_only=True)
class LidcCrops(Source):
    """Crops of LIDC-IDRI nodules, 2D or 3D, as re-released: images/LIDC-IDRI-0001_0.png and
    annotations/reader1/LIDC-IDRI-0001_0.png.
    """

    def index(self, files: "Path", report: Report) -> "DatasetIndex":
        from umanet.data.sources.lidc_crops import index

        return index(self.root)
