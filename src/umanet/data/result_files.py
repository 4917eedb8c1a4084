"""The files of a result: rows as CSV, and several files of one folder that change together or not at all."""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from umanet.data.files import whole_file


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A line per row; the columns are the keys of the first one."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write every file before any of them takes its place, the first one last.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to. The files are as they were.
    """
    with ExitStack() as stack:
        places = {name: stack.enter_context(whole_file(folder / name)) for name in contents}
        for name, content in contents.items():
            places[name].write_bytes(content)
