"""Copies the header of an image onto annotations that lost theirs. Values are never touched, nothing is resampled."""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umanet.data.check.annotations import GRID_NOISE
from umanet.data.check.report import CheckReport
from umanet.data.files import replace_file, what_to_do
from umanet.data.formats import NIFTI, reading, suffix_of
from umanet.data.geometry import form_conflict, grid_difference, grid_noise
from umanet.data.index import DatasetIndex
from umanet.data.nifti import open_nifti, read_nifti
from umanet.errors import OutputError, UmanetError
from umanet.types import Geometry

COPIED = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
MENDED_CODES = ("geometry", "geometry-noise", "qform-sform")


@dataclass(frozen=True)
class Mended:
    """An annotation that was looked at.

    Attributes:
        file: Its path.
        backup: The file as it was; None where it was left alone.
        reason: Why it was left alone; empty where it was not.
    """

    file: Path
    backup: Path | None
    reason: str = ""


def mend_headers(index: DatasetIndex, report: CheckReport) -> list[Mended]:
    """Copy affine, qform, sform, codes and spacing of the image to the annotations whose geometry ``check`` refused.

    Only where image and annotation are NIfTI files of the same shape as stored. An annotation whose own header says
    that its axes run otherwise is left alone, for then the voxels run otherwise too: it needs resampling. So is one
    that looks mirrored. A backup, ``FILE.bak-1`` or the next free number, is made first.

    Args:
        index: The data set.
        report: What ``check`` found in it, just now.

    Returns:
        Every NIfTI annotation with such a problem, in the order of the cases.

    Raises:
        OutputError: A file cannot be written.
    """
    doubtful = {(p.case, p.annotator, p.file) for p in report.problems if p.code in MENDED_CODES}
    mirrored = {p.file for p in report.problems if p.code == "mirrored-annotation"}
    done: dict[Path, Mended] = {}
    for case in index.cases:
        files = [*case.annotations.items(), *([(None, case.truth)] if case.truth is not None else [])]
        for annotator, path in files:
            if (case.id, annotator, str(path)) in doubtful and path not in done and path.name.lower().endswith(NIFTI):
                reason = "it looks mirrored" if str(path) in mirrored else _reason(case.image[0], path)
                done[path] = Mended(path, None, reason) if reason else Mended(path, _copy_header(case.image[0], path))
    return list(done.values())


def _reason(image: Path, annotation: Path) -> str:
    """Why the header of ``image`` must not be copied; empty where it may be."""
    try:
        if suffix_of(image) not in NIFTI:
            return "its image is no NIfTI file"
        # As stored: a file with one slice may stand for 2D here, whose left-out axis counts.
        (_, first), (_, second) = (read_nifti(path, None) for path in (image, annotation))
    except UmanetError as error:
        return str(error)
    if first.file_shape != second.file_shape:
        return f"shapes {first.file_shape} and {second.file_shape} differ as stored"
    if not _is_missing(second) and first.orientation != second.orientation:
        return "its header says that its axes run otherwise than those of the image: resample it"
    same = grid_difference(first, second) is None and grid_noise(first, second) <= GRID_NOISE
    conflict = form_conflict(second) and not form_conflict(first)
    return "its geometry is that of the image" if same and not conflict else ""


def _is_missing(geometry: Geometry) -> bool:
    """Whether a header says nothing of where the voxels lie: no form is set, or the identity stands there."""
    return max(geometry.codes) == 0 or (geometry.affine is not None and np.allclose(geometry.affine, np.eye(4)))


def _copy_header(image: Path, annotation: Path) -> Path:
    with reading(image):
        source = open_nifti(image).header
    with reading(annotation):
        packed = annotation.name.lower().endswith(".gz")
        content = gzip.decompress(annotation.read_bytes()) if packed else annotation.read_bytes()
        kind = type(open_nifti(annotation).header)
        header = kind(content[: kind.template_dtype.itemsize])
    for name in COPIED:
        header[name] = source[name]
    header["pixdim"][:4] = source["pixdim"][:4]
    block = header.binaryblock
    backup = _backup(annotation)
    # mtime: the same input gives the same file.
    whole = block + content[len(block) :]
    replace_file(annotation, gzip.compress(whole, mtime=0) if packed else whole)
    return backup


def _backup(path: Path) -> Path:
    """A copy beside the file, under a name that is free."""
    backup = next(free for free in _numbered(path) if not free.exists())
    try:
        with path.open("rb") as source, backup.open("xb") as copy:
            shutil.copyfileobj(source, copy)
        shutil.copystat(path, backup)
    except OSError as error:
        raise OutputError(
            f"No backup could be made of {path} at {backup}: {error.strerror or error}. {what_to_do(error)}; the file "
            "was left as it is."
        ) from None
    return backup


def _numbered(path: Path) -> Iterator[Path]:
    number = 0
    while True:
        number += 1
        yield path.with_name(f"{path.name}.bak-{number}")
