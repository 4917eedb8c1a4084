"""Further copies of predictions, for other programs: ``umanet predict --also FORMAT``.

One file per format; ``copies`` holds the table of them and calls them. Each checks all cases before any work, and then
writes a case from its files in ``labels/`` and ``probabilities/``, so that no more than one map is in memory.
"""

from typing import Literal

AlsoFormat = Literal["nrrd", "mha", "dicom-seg", "dicom-seg-fractional", "geojson", "coco", "bids"]
