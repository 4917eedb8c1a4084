"""GeoJSON as QuPath reads it: a feature per connected region, with its class."""

import json
from collections.abc import Sequence
from pathlib import Path

from umanet.data.files import replace_file
from umanet.data.index import ClassDefinition
from umanet.inference.also.outlines import outlines
from umanet.inference.also.pictures_only import require_pictures, require_rows
from umanet.inference.also.written import WrittenCase
from umanet.types import Case


class GeoJsonCopies:
    """``geojson/CASE.geojson``."""

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        require_pictures("geojson", cases, spatial_dims)

    def write(self, written: WrittenCase) -> str:
        require_rows("geojson", written.case.id, written.geometry)
        labels = written.labels()
        features = [
            {
                "type": "Feature",
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[*ring, ring[0]] for ring in (outline.outer, *outline.holes)],
                },
                "properties": {"objectType": "annotation", "classification": {"name": definition.name}},
            }
            for k, definition in enumerate(written.classes)
            if k > 0
            for outline in outlines(labels == k)
        ]
        path = f"geojson/{written.case.id}.geojson"
        collection = {"type": "FeatureCollection", "features": features}
        replace_file(written.folder / path, (json.dumps(collection) + "\n").encode())
        return path

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        """Nothing is shared."""
