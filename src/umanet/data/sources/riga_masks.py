"""RIGA with masks, as it was passed on with the code of MRNet (``DiscRegion``): pictures cut out around the optic disc.

Layout: ``Glaucoma_multirater_BinRushed.csv``, ``..._MESSIDOR.csv`` and ``..._Magrabia.csv`` beside the pictures, in GBK
with a row per mask. Columns among others: ``imgName``, ``maskName``, ``rater``: 0 is ``FinalLabel``, a fusion of the
others, 1 to 6 the ophthalmologists, whose masks lie in ``Rater1`` and so on. Paths are those of Windows, relative to
the table. In a mask the disc is whatever is not 0, and its cup 255.

Reference:
    Ji et al.: Learning Calibrated Medical Image Segmentation via Multi-rater Agreement Modeling. CVPR 2021.
    DOI 10.1109/CVPR46437.2021.01216
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from os.path import commonpath
from pathlib import Path, PurePath, PureWindowsPath

import numpy as np

from umanet.data.images import read_annotation_values, read_image
from umanet.data.index import DatasetIndex
from umanet.data.pictures import write_picture
from umanet.data.sources.raw_folder import Unusable, one_each, require_cases
from umanet.data.sources.riga import ANNOTATORS, TESTED, of_cases
from umanet.errors import DatasetError, GeometryError
from umanet.types import Case

TABLE = "Glaucoma_multirater_"
COLUMNS = {"imgName", "maskName", "rater"}
FUSED = "0"
CUP = 255
Row = dict[str, str]


def tables(root: Path) -> list[Path]:
    """The tables of this layout below ``root``; none where the folder has another."""
    return sorted(root.rglob(f"{TABLE}*.csv"))


def index(
    root: Path,
    files: Path,
    *,
    leave_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Index the pictures that the tables name, and write their masks as label maps: 1 disc without cup, 2 cup.

    Args:
        root: With the tables, which may lie deeper.
        files: Folder to make for the label maps.
        leave_out: Go on without masks and pictures that are missing or cannot be read.
        progress: Called after every case with the number of cases done and of all.

    Raises:
        DatasetError: Not this layout, or something that cannot be used.
    """
    unusable = Unusable(leave_out=leave_out)
    once = one_each(((table.name, table) for table in tables(root)), unusable)
    found = {case: rows for table in once.values() for case, rows in _rows(table).items()}
    require_cases(found, root, f"rows in {TABLE}BinRushed.csv and so on")
    cases = []
    for done, (case, (folder, rows)) in enumerate(found.items(), start=1):
        with unusable.collected(case):
            cases.append(_case(case, folder, rows, files, unusable))
        if progress is not None:
            progress(done, len(found))
    unusable.settle()
    require_cases(cases, root, "pictures and masks")
    return of_cases(cases)


def _rows(table: Path) -> dict[str, tuple[Path, list[Row]]]:
    """Case to the table's folder and its rows. Cases are named after the table and what tells their paths apart."""
    try:
        with table.open(encoding="gbk", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise DatasetError(f"{table} cannot be read as CSV in GBK. Copy it again.") from None
    if not rows or not set(rows[0]) >= COLUMNS:
        found = ", ".join(filter(None, rows[0])) if rows else "no row"
        raise DatasetError(f"{found} found, the columns {', '.join(sorted(COLUMNS))} expected, in {table}.")
    of_image: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_image[_slashes(row["imgName"])].append(row)
    above = commonpath([str(PurePath(name).parent) for name in of_image])
    name = table.stem.removeprefix(TABLE)
    return {
        "_".join((name, *PurePath(image).relative_to(above).with_suffix("").parts)): (table.parent, of_case)
        for image, of_case in of_image.items()
    }


def _case(case: str, folder: Path, rows: Sequence[Row], files: Path, unusable: Unusable) -> Case:
    """A case with its masks written as label maps.

    Raises:
        ImageError: The picture is missing or cannot be read.
    """
    picture = folder / _slashes(rows[0]["imgName"])
    shape = read_image([picture], 2)[1].shape
    masks = {row["rater"]: folder / _slashes(row["maskName"]) for row in rows}
    annotations = {}
    for number, who in enumerate(ANNOTATORS, start=1):
        with unusable.collected(f"{case}/{who}"):
            mask = _mask(masks, number, case)
            values, geometry = read_annotation_values(mask, 2)
            if geometry.shape != shape:
                raise GeometryError(f"Shape {geometry.shape} found, {shape} as of its picture expected, in {mask}.")
            annotations[who] = files / "annotations" / who / f"{case}.png"
            write_picture(annotations[who], (values != 0).astype(np.uint8) + (values == CUP))
    split = "test" if case.startswith(TESTED) else None
    return Case(case, (picture,), annotations, patient=case, split=split)


def _mask(masks: dict[str, Path], number: int, case: str) -> Path:
    """Where the mask of an annotator is: its own row says so, or that of the fused label does."""
    if str(number) in masks:
        return masks[str(number)]
    if FUSED in masks:
        return Path(str(masks[FUSED]).replace("FinalLabel", f"Rater{number}"))
    raise DatasetError(
        f"Rows of rater {', '.join(masks)} found for {case}, one of rater {number} expected. Copy it again."
    )


def _slashes(path: str) -> str:
    return PureWindowsPath(path.strip()).as_posix()
