"""Which images the files and folders that a user names stand for, and what their predictions are called.

A folder stands for the image files in it, and for the DICOM series in it and below it, at any depth: each folder with
one series is an image, so that a tree PATIENT/STUDY/SERIES is an image per series. Where pictures are asked for, every
DICOM file that is a series of its own is one. Other files below are not taken: they may be annotations. An image is
called as its file, or as the folder of its series with the folders on the way before it: PATIENT_STUDY_SERIES. Where
that gives several images one name, the folder that each lies in comes before it.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from umanet.data.dicom import series_in
from umanet.data.formats import SUFFIXES, begins_as_dicom, listed, stem_of
from umanet.errors import DatasetError, ImageError, counted

NAMED = 5
"""How many files a message names."""
log = logging.getLogger("umanet")


def find_images(paths: Sequence[Path], spatial_dims: int) -> list[tuple[str, Path]]:
    """Names and files (or folders of one DICOM series) of the images that ``paths`` stand for, in the order of paths.

    What lies in folders and is no image is left out and named in the log.

    Raises:
        DatasetError: A folder without an image, or that cannot be read; two images with one name.
        ImageError: A file of an unknown type that was named itself, or a DICOM file that cannot be read.
    """
    found: list[tuple[str, Path]] = []
    for path in paths:
        found += _below(path, spatial_dims) if path.is_dir() else [(stem_of(path), path)]
    return _distinct(found)


def _distinct(found: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Names that several images have get the folder before them.

    Raises:
        DatasetError: Two are alike even so.
    """
    counts = Counter(name for name, _ in found)
    named = [(f"{path.resolve().parent.name}_{name}" if counts[name] > 1 else name, path) for name, path in found]
    seen: dict[str, Path] = {}
    for name, path in named:
        if name in seen:
            raise DatasetError(
                f"Two images named {name!r} found, different names expected, because outputs are named as images: "
                f"{seen[name]} and {path}. Rename one, or predict them apart."
            )
        seen[name] = path
    return named


def _below(root: Path, spatial_dims: int) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    others: list[Path] = []
    for folder in _folders(root):
        files = [path for path in listed(folder) if path.is_file()]
        dicom = {path for path in files if begins_as_dicom(path)}
        series = series_in(folder) if dicom else {}
        plain = [path for path in files if path not in dicom and path.name.lower().endswith(SUFFIXES)]
        used = {*(path for own in series.values() for path in own), *(plain if folder == root else ())}
        images = sorted([*_images(folder, series, spatial_dims), *used.intersection(plain)])
        found += [(_name(path, root), path) for path in images]
        others += [path for path in files if path not in used]
    if not found:
        raise DatasetError(
            f"No image found in {root}, {_some(others, root)}; files of the types {', '.join(SUFFIXES)}, or DICOM "
            "series at any depth, expected. Name the folder of the images itself, and unpack archives."
        )
    if others:
        log.warning("%s left out of %s, as no images or not DICOM and in folders below.", _some(others, root), root)
    return found


def _folders(root: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """``root`` and the folders below it that are not hidden, in the order of their paths; links that lead up, once.

    Raises:
        DatasetError: One of them cannot be read.
    """
    above = (*above, root.resolve())
    yield root
    for path in listed(root):
        if path.is_dir() and path.resolve() not in above:
            yield from _folders(path, above)


def _images(folder: Path, series: Mapping[str, Sequence[Path]], spatial_dims: int) -> list[Path]:
    """The folder where it holds one series; the files where pictures are asked for and each is a series.

    Raises:
        ImageError: Several series.
    """
    if len(series) > 1 and spatial_dims == 2 and all(len(files) == 1 for files in series.values()):
        return [files[0] for files in series.values()]
    if len(series) > 1:
        raise ImageError(
            f"{len(series)} series found in {folder}, one expected. Give each series a folder of its own, or name one "
            "file of each series that you mean."
        )
    return [folder] if series else []


def _name(path: Path, root: Path) -> str:
    if path == root:
        return root.resolve().name
    stem = path.name if path.is_dir() else stem_of(path)
    return "_".join([*path.relative_to(root).parts[:-1], stem])


def _some(files: Sequence[Path], root: Path) -> str:
    named = ", ".join(path.relative_to(root).as_posix() for path in files[:NAMED])
    what = f" ({named}{' ...' if len(files) > NAMED else ''})" if files else ""
    return f"{counted(len(files), 'other file')}{what}"
