"""When annotations were drawn: read from a table, put into a data set."""

import csv
from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path

from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError, did_you_mean

COLUMNS = ("case", "annotator", "date")


def with_dates(index: DatasetIndex, path: Path) -> DatasetIndex:
    """The data set with the dates of a CSV file: a row per annotation, columns ``case``, ``annotator``, ``date``.

    Args:
        index: Annotations that the file does not have keep the date that they have, or none.
        path: UTF-8, comma-separated, dates as 2024-05-31; columns besides these are not looked at.

    Raises:
        DatasetError: Unreadable, a column is missing, or a row is of no annotation, has no date, or comes twice.
    """
    annotated = {case.id: case.annotations for case in index.cases}
    dates: dict[str, dict[str, date]] = defaultdict(dict)
    for line, row in _rows(path):
        where = f"in line {line} of {path}"
        case, annotator, day = (row[name].strip() for name in COLUMNS)
        if case not in annotated:
            raise DatasetError(
                f"Case {case!r} found {where}, one of {index.name!r} expected.{did_you_mean(case, annotated)}"
            )
        if annotator not in annotated[case]:
            raise DatasetError(
                f"Annotator {annotator!r} found {where}, one who annotated {case!r} expected."
                f"{did_you_mean(annotator, annotated[case])}"
            )
        if annotator in dates[case]:
            raise DatasetError(f"A second date of {case}/{annotator} found {where}, one expected. Remove one.")
        try:
            dates[case][annotator] = date.fromisoformat(day)
        except ValueError:
            raise DatasetError(
                f"The date {day!r} found {where}, year-month-day expected, as 2024-05-31. Mend it."
            ) from None
    cases = tuple(replace(case, dates={**case.dates, **dates.get(case.id, {})}) for case in index.cases)
    return index.model_copy(update={"cases": cases})


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """With the number of the line that each ends in."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise DatasetError(
                    f"No column {lacking[0]!r} found in {path}, the columns {', '.join(COLUMNS)} expected. Name them "
                    "in the first line, separated by commas."
                )
            return [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DatasetError(f"No dates could be read from {path}: {error.strerror}. Check the path.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file in UTF-8: {error}. Save it again.") from None
