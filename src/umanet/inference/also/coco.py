"""One file in the format of COCO's instances: an annotation per connected region."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from umanet.data.files import replace_file
from umanet.data.index import ClassDefinition
from umanet.inference.also.outlines import Outline, outlines
from umanet.inference.also.pictures_only import require_pictures, require_rows
from umanet.inference.also.written import WrittenCase
from umanet.types import Case

COCO = "coco.json"


class CocoCopies:
    """``coco.json`` of all cases.

    COCO's polygons have no holes. A region with holes is given as run lengths (uncompressed, column by column), which
    are exact; the tools of COCO read both.
    """

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def check(self, cases: Sequence[Case], classes: Sequence[ClassDefinition], spatial_dims: int) -> None:
        require_pictures("coco", cases, spatial_dims)

    def write(self, written: WrittenCase) -> str:
        require_rows("coco", written.case.id, written.geometry)
        labels = written.labels()
        height, width = labels.shape
        number = len(self._images) + 1
        name = written.case.image[0].name
        self._images.append({"id": number, "file_name": name, "width": width, "height": height})
        for k in range(1, len(written.classes)):
            for outline in outlines(labels == k):
                rows, columns = outline.mask.shape
                self._annotations.append(
                    {
                        "id": len(self._annotations) + 1,
                        "image_id": number,
                        "category_id": k,
                        "segmentation": _segmentation(outline, height, width),
                        "area": outline.area,
                        "bbox": [*outline.corner, columns, rows],
                        "iscrowd": 0,
                    }
                )
        return COCO

    def finish(self, folder: Path, classes: Sequence[ClassDefinition]) -> None:
        content = {
            "info": {"description": "Predicted by umanet"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": k, "name": one.name} for k, one in enumerate(classes) if k > 0],
        }
        replace_file(folder / COCO, (json.dumps(content) + "\n").encode())


def _segmentation(outline: Outline, height: int, width: int) -> list[list[int]] | dict[str, Any]:
    if not outline.holes:
        return [[coordinate for corner in outline.outer for coordinate in corner]]
    x, y = outline.corner
    rows, columns = outline.mask.shape
    runs = [x * height]
    for column in outline.mask.T.tolist():
        for value, length in [(False, y), *_run_lengths(column), (False, height - y - rows)]:
            _add(runs, length, inside=value)
    _add(runs, (width - x - columns) * height, inside=False)
    return {"counts": runs, "size": [height, width]}


def _run_lengths(column: list[bool]) -> list[tuple[bool, int]]:
    return [(value, sum(1 for _ in run)) for value, run in groupby(column)]


def _add(runs: list[int], length: int, *, inside: bool) -> None:
    """Runs outside and inside take turns, the first is outside."""
    if len(runs) % 2 != inside:
        runs[-1] += length
    elif length:
        runs.append(length)
