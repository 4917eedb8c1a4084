"""The file types that are read, and how reading them fails."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image

from umanet.errors import DatasetError, ImageError

NIFTI = (".nii.gz", ".nii")
TIFF = (".tif", ".tiff")
JPEG = (".jpg", ".jpeg")
NRRD = (".seg.nrrd", ".nrrd", ".nhdr")
METAIMAGE = (".mha", ".mhd")
ITK = (*NRRD, *METAIMAGE)
DICOM = ".dcm"
SUFFIXES = (*NIFTI, *ITK, ".png", *JPEG, ".bmp", *TIFF, DICOM)
VOLUMES = (*NIFTI, *ITK)
"""Types whose axes are stored from the fastest to the slowest: numpy's order (z, y, x) of them is reversed."""
DETACHED = (".raw", ".zraw", ".raw.gz")
"""Data beside a header ``.mhd`` or ``.nhdr``."""

BACKUP = r".+\.bak-\d+"
"""What ``umanet check --fix`` names the files that it keeps."""

ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp")
BEGINNINGS = {
    b"<!doctype html": "an HTML page: a failed download. Get the file again",
    b"<html": "an HTML page: a failed download. Get the file again",
    b"<?xml": "an XML page: a failed download. Get the file again",
    b'{"': "a JSON message: a failed download. Get the file again",
    b"version https://git-lfs": "a Git LFS pointer. Fetch the file that it stands for",
    b"pk\x03\x04": "a ZIP archive. Unpack it",
    b"rar!": "a RAR archive. Unpack it",
    b"7z\xbc\xaf": "a 7z archive. Unpack it",
}  # fmt: skip
"""How files that stand where an image should be begin, in lower case; what they are, and what to do."""

UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, zlib.error, struct.error,
    ImageFileError, HeaderDataError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow, tifffile and nibabel raise on truncated or corrupt files."""


def suffix_of(path: Path) -> str:
    """The file type in lower case, ``.nii.gz`` as one suffix. A folder is a DICOM series.

    Raises:
        ImageError: A type that is not in ``SUFFIXES``.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    if path.is_dir() or begins_as_dicom(path):
        return DICOM
    mend = "Convert the file."
    if path.suffix.lower() in ARCHIVES:
        mend = "It is an archive: unpack it, and name the file that was in it."
    elif path.suffix.lower() in UNFINISHED:
        mend = "It is an unfinished download: fetch it again."
    raise ImageError(f"File type {path.suffix!r} found, one of {', '.join(SUFFIXES)} expected, at {path}. {mend}")


def begins_as_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does; many such files have no suffix."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def stem_of(path: Path) -> str:
    """The file name without its type; dots inside the name stay."""
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if path.name.lower().endswith(suffix) else path.name


def listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted.

    Left out are hidden files, backups, and the data that a header beside them stands for.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        names = {path.name for path in folder.iterdir() if not re.fullmatch(rf"\..*|{BACKUP}", path.name)}
        return sorted(folder / name for name in names if not _has_header(name, names))
    except OSError as error:
        raise DatasetError(
            f"The folder {folder} cannot be read: {error.strerror}. Check the path and the permissions."
        ) from None


def _has_header(name: str, beside: set[str]) -> bool:
    stem = next((name[: -len(suffix)] for suffix in DETACHED if name.endswith(suffix)), None)
    return stem is not None and not beside.isdisjoint((f"{stem}.mhd", f"{stem}.nhdr"))


def looks_like(path: Path) -> str | None:
    """What a file is by its first bytes, in words, where it is none of the types that are read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return None
    if not head.strip(b"\0"):
        return f"{'nothing but zeros' if head else 'an empty file'}: an unfinished download. Get the file again"
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what for begin, what in BEGINNINGS.items() if head.startswith(begin)), None)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what the libraries raise on an unreadable file into an ImageError that names it."""
    if path.is_dir():
        raise ImageError(f"A folder found at {path}, an image file expected. Name the files in it: {path}/*.")
    if not path.is_file():
        raise ImageError(f"No file found at {path}. Restore it, or mend the path.")
    try:
        yield
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if what := looks_like(path):
            raise ImageError(f"{path} cannot be read ({reason}). It looks like {what}.") from error
        raise ImageError(
            f"{path} cannot be read ({reason}). It may be truncated: copy it again, or convert it."
        ) from error
