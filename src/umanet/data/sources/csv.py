"""A manifest: a CSV file with a row per annotation, for files that lie anyhow.

Columns ``case``, ``image``, ``annotator``, ``annotation``, and where they are known ``patient``, ``split``, ``truth``,
``date``. With a file per channel there are columns ``image:T1``, ``image:T2`` in place of ``image``, in the order of
the channels. Paths are relative to the folder of the CSV file. What is said of a case stands in any of its rows, or in
all of them alike; a row without annotator and annotation is a case that nobody annotated (with a truth, say).
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from os.path import normpath
from pathlib import Path

from umanet.data.index import SPLITS, ClassDefinition, DatasetIndex
from umanet.data.sources.folder import channel_names, discover_classes
from umanet.data.sources.raw_folder import Unusable, first_image, require_cases
from umanet.errors import DatasetError, did_you_mean
from umanet.types import Case

COLUMNS = ("case", "image", "annotator", "annotation", "patient", "split", "truth", "date")
NEEDED = ("case", "annotator", "annotation")
OF_AN_ANNOTATION = {"annotator", "annotation", "date"}
"""Columns that say nothing of the case as a whole."""
CHANNEL = "image:"
"""Begins the columns of images with a file per channel; the channel's name follows."""
DELIMITERS = ",;\t"
HOLDS = "rows case,image,annotator,annotation"


@dataclass
class _Rows:
    """What the rows of a case say."""

    said: dict[str, str] = field(default_factory=dict)
    drawn: dict[str, Path] = field(default_factory=dict)
    dates: dict[str, date] = field(default_factory=dict)


def index(
    root: Path,
    *,
    classes: Sequence[ClassDefinition] | None = None,
    annotators_are_identified: bool = True,
    ignore: Sequence[int] = (),
    leave_out: bool = False,
) -> DatasetIndex:
    """Index what a manifest lists.

    Args:
        root: The CSV file: UTF-8, columns parted by commas, semicolons or tabs.
        classes: Default: one per value that the annotations hold.
        annotators_are_identified: False where an annotator's name is not one person across cases.
        ignore: File values that say nothing of a voxel.
        leave_out: Go on without rows that cannot be used.

    Raises:
        DatasetError: Unreadable, columns are missing or unknown, or rows contradict each other or name no file.
        ImageError: No image can be read.
    """
    path = Path(root).absolute()
    columns, rows = _read(path)
    channels = tuple(name.removeprefix(CHANNEL) for name in columns if name.startswith(CHANNEL))
    unusable = Unusable(leave_out=leave_out)
    found: dict[str, _Rows] = defaultdict(_Rows)
    for line, row in rows:
        with unusable.collected(f"line {line}"):
            _add(found, row, path.parent)
    cases = []
    for name, case in found.items():
        with unusable.collected(name):
            cases.append(_case(name, case, channels, path.parent))
    unusable.settle("rows")
    require_cases(cases, path, HOLDS)
    image, geometry = first_image(cases)
    spatial_dims = 2 if len(geometry.shape) == 2 else 3
    paths = [file for case in cases for file in (*case.annotations.values(), case.truth) if file is not None]
    annotators = dict.fromkeys(annotator for case in cases for annotator in case.annotations)
    return DatasetIndex(
        name=path.parent.name or path.stem,
        spatial_dims=spatial_dims,
        channels=channels or channel_names(len(image)),
        classes=tuple(classes or discover_classes(paths, spatial_dims, ignore)),
        annotators=tuple(annotators),
        annotators_are_identified=annotators_are_identified,
        ignore=tuple(ignore),
        cases=tuple(cases),
    )


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns, and the rows with their lines."""
    if path.is_dir():
        inside = next(iter(sorted(path.glob("*.csv"))), path / "manifest.csv")
        raise DatasetError(f"A folder found at {path}, a CSV file expected. Name the file, as {inside}.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.DictReader(file, delimiter=delimiter, restval="", restkey="")
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            _check_columns(columns, path)
            return columns, [(reader.line_num, row) for row in reader if any(row.values())]
    except OSError as error:
        raise DatasetError(f"{error.strerror} found at {path}, a CSV file expected. Check the path.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"Another file found at {path}, a CSV file in UTF-8 expected ({error}). Save it as that."
        ) from None


def _check_columns(columns: Sequence[str], path: Path) -> None:
    by_channel = [name for name in columns if name.startswith(CHANNEL)]
    for name in (*NEEDED, *(() if by_channel else ("image",))):
        if name not in columns:
            raise DatasetError(
                f"No column {name!r} found in {path}, {HOLDS} expected (or image:CHANNEL for a file per channel). Name "
                f"the columns in the first line.{did_you_mean(name, columns)}"
            )
    if by_channel and "image" in columns:
        raise DatasetError(f"The columns image and {by_channel[0]} found in {path}, one kind expected. Remove one.")
    unknown = [name for name in columns if name not in COLUMNS and not name.startswith(CHANNEL)]
    if unknown or len(set(columns)) < len(columns):
        found = f"Column {unknown[0]!r}" if unknown else "A column twice"
        hint = did_you_mean(unknown[0], COLUMNS) if unknown else ""
        raise DatasetError(
            f"{found} found in {path}, any of {', '.join(COLUMNS)} once expected.{hint} Remove or rename it."
        )


def _add(found: dict[str, _Rows], row: Mapping[str, str], folder: Path) -> None:
    """Raises: DatasetError: The row contradicts an earlier one, or cannot be used by itself."""
    values = {name: (value or "").strip() for name, value in row.items() if name}
    if row.get(""):
        raise DatasetError("More columns than in the first line found. Put paths with commas into quotes.")
    name = values["case"]
    if not name:
        raise DatasetError("No case found, its name expected.")
    case = found[name]
    for key in values.keys() - OF_AN_ANNOTATION:
        value = values[key]
        if value and case.said.setdefault(key, value) != value:
            raise DatasetError(f"{key} {value!r} found, but {case.said[key]!r} in another row of case {name!r}.")
    _add_annotation(case, values, folder)


def _add_annotation(case: _Rows, values: Mapping[str, str], folder: Path) -> None:
    annotator, annotation = values["annotator"], values["annotation"]
    if bool(annotator) != bool(annotation):
        raise DatasetError(f"Annotator {annotator!r} and annotation {annotation!r} found, both or neither expected.")
    if annotator in case.drawn:
        raise DatasetError(
            f"A second annotation of {values['case']!r} by {annotator!r} found, one expected. Remove one."
        )
    if annotator:
        case.drawn[annotator] = _file(folder, annotation)
        if values.get("date"):
            case.dates[annotator] = _date(values["date"])


def _case(name: str, rows: _Rows, channels: Sequence[str], folder: Path) -> Case:
    said = rows.said
    columns = [f"{CHANNEL}{channel}" for channel in channels] or ["image"]
    lacking = [column for column in columns if column not in said]
    if lacking:
        raise DatasetError(f"No {lacking[0]} found, a file in one of its rows expected.")
    if said.get("split", "train") not in SPLITS:
        raise DatasetError(f"Split {said['split']!r} found, one of {', '.join(SPLITS)} or nothing expected.")
    return Case(
        name,
        tuple(_file(folder, said[column]) for column in columns),
        rows.drawn,
        _file(folder, said["truth"]) if "truth" in said else None,
        said.get("patient", name),
        said.get("split"),
        rows.dates,
    )


def _file(folder: Path, text: str) -> Path:
    path = Path(normpath(folder / text))
    if not path.exists():
        raise DatasetError(f"No file found at {path}. Restore it, or mend the path (relative to {folder}).")
    return path


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise DatasetError(f"The date {text!r} found, year-month-day expected, as 2024-05-31.") from None
