"""How large the files of cases are."""

from collections.abc import Iterable
from pathlib import Path

from umanet.types import Case


def largest_case(cases: Iterable[Case]) -> int:
    """Bytes of all files of the largest case; a folder (a DICOM series) counts with what lies in it."""
    return max((sum(map(_size, _files(case))) for case in cases), default=0)


def _files(case: Case) -> tuple[Path, ...]:
    return (*case.image, *case.annotations.values(), *(() if case.truth is None else (case.truth,)))


def _size(path: Path) -> int:
    try:
        parts = path.iterdir() if path.is_dir() else (path,)
        return sum(part.stat().st_size for part in parts)
    except OSError:  # not there: said by whoever reads it
        return 0
