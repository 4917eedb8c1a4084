"""What lies in a tree of DICOM files: image series, and the segmentations and structure sets that belong to them."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umanet.data.dicom import is_image, odd_values_unsaid, read_header
from umanet.data.dicom_annotations import Outline, is_annotation, read_outline
from umanet.data.formats import DICOM, begins_as_dicom
from umanet.data.sources.names import safe_name
from umanet.data.sources.raw_folder import Unusable
from umanet.errors import AnnotationError, DatasetError, ImageError, counted

log = logging.getLogger("umanet")


@dataclass(frozen=True)
class Series:
    """An image series.

    Attributes:
        patient: The first folder below the root.
        files: In the order of names, all in one folder.
        frame: Its frame of reference.
        modality: CT, MR and so on; empty where the first file does not say it.
        alone: Whether the folder holds no other image series.
    """

    patient: str
    uid: str
    files: tuple[Path, ...]
    frame: str | None
    modality: str
    alone: bool

    @property
    def folder(self) -> Path:
        return self.files[0].parent

    @property
    def image(self) -> Path:
        """What ``read_series`` takes."""
        return self.folder if self.alone else self.files[0]


@dataclass(frozen=True)
class Drawing:
    """A SEG or an RTSTRUCT."""

    patient: str
    path: Path
    outline: Outline


@odd_values_unsaid()
def read_tree(
    root: Path, unusable: Unusable, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Series], list[Drawing]]:
    """The series and drawings below ``root``, in the order of their paths; other DICOM objects are counted in the log.

    Args:
        root: Holds a folder per patient.
        unusable: Takes what cannot be read.
        progress: Called with how many files were looked at, and of how many.
    """
    images: dict[tuple[str, str], dict[Path, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    headers: dict[tuple[str, str], Any] = {}
    drawings: list[Drawing] = []
    others = 0
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    for number, path in enumerate(paths, start=1):
        with unusable.collected(path.relative_to(root).as_posix()):
            header = _header(path, root)
            if header is None:
                continue
            patient = path.relative_to(root).parts[0]
            if is_annotation(header.SOPClassUID):
                drawings.append(Drawing(patient, path, read_outline(path)))
            elif is_image(header):
                series = patient, str(header.get("SeriesInstanceUID"))
                images[series][path.parent][str(header.get("SOPInstanceUID"))] = path
                headers.setdefault(series, header)
            else:
                others += 1
        if progress:
            progress(number, len(paths))
    if others:
        log.warning(
            "%s found in %s that are neither images, segmentations nor structure sets: not used.",
            counted(others, "DICOM object"), root,
        )  # fmt: skip
    return _series(images, headers, unusable), drawings


def series_of(drawing: Drawing, series: Iterable[Series]) -> Series:
    """The series that a drawing was made on: the one that it refers to, else the one with its frame of reference.

    Raises:
        AnnotationError: There is none, or there are several.
    """
    own = [one for one in series if one.patient == drawing.patient]
    if drawing.outline.series:
        found = [one for one in own if one.uid in drawing.outline.series]
        how = "that it refers to"
    else:
        found = [one for one in own if one.frame and one.frame == drawing.outline.frame]
        how = "with its frame of reference (it refers to no series)"
    if len(found) != 1:
        raise AnnotationError(
            f"{len(found)} image series {how} found among the {len(own)} in the patient's folder, one expected, for "
            f"{drawing.path}. Put the series that it was drawn on into the patient's folder."
        )
    return found[0]


def annotator_of(drawings: Iterable[Drawing], root: Path, pattern: str | None) -> Callable[[Drawing], str]:
    """The rule by which the path of a drawing names its annotator.

    Args:
        drawings: All of the data set: the rule is the same for all of them.
        root: Of the tree.
        pattern: Regular expression with a group ``annotator``, found in the path below the patient's folder. Default:
            the folder, where every drawing of the data set is the only file of its folder; else the file name.

    Raises:
        DatasetError: The pattern is none, or has no such group.
    """
    if pattern is not None:
        expression = _compiled(pattern)
        return lambda drawing: _matched(expression, drawing, root)
    by_folder = all(
        drawing.path.parent.parent != root and len(list(drawing.path.parent.iterdir())) == 1 for drawing in drawings
    )
    return lambda drawing: safe_name(
        drawing.path.parent.name if by_folder else re.sub(r"\.(dcm|dicom|ima)$", "", drawing.path.name, flags=re.I)
    )


def _matched(expression: re.Pattern[str], drawing: Drawing, root: Path) -> str:
    path = drawing.path.relative_to(root / drawing.patient).as_posix()
    match = expression.search(path)
    if match is None:
        raise AnnotationError(
            f"{path} found, a path with {expression.pattern!r} expected, for {drawing.path}. Change "
            "--annotator-pattern."
        )
    return safe_name(match["annotator"])


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(
            f"--annotator-pattern {pattern!r} found, a regular expression expected: {error}. Mend it."
        ) from None
    if "annotator" not in expression.groupindex:
        raise DatasetError(
            f"--annotator-pattern {pattern!r} found, a named group (?P<annotator>...) expected in it. Add it."
        )
    return expression


def _header(path: Path, root: Path):
    """None for files that are no DICOM. Tags for telling files apart only."""
    if not begins_as_dicom(path):
        if path.name.lower().endswith(DICOM):
            raise ImageError(f"No DICOM found in {path}, whose name says so. Copy it again, or move it away.")
        return None
    if path.parent == root:
        if path.name.upper() == "DICOMDIR":
            return None
        raise DatasetError(f"{path} found in no patient's folder, one folder per patient expected in {root}. Move it.")
    header = read_header(path)
    if "SOPClassUID" not in header or (is_image(header) and "Rows" not in header):
        raise ImageError(f"{path} ends before its image begins: truncated. Copy it again.")
    return header


def _series(images, headers, unusable: Unusable) -> list[Series]:
    """One series each, taken from the first of several folders with the same files."""
    holds: dict[Path, int] = defaultdict(int)
    for folders in images.values():
        for folder in folders:
            holds[folder] += 1
    result = []
    for (patient, uid), folders in images.items():
        first, *copies = sorted(folders)
        with unusable.collected(patient):
            if any(set(folders[copy]) != set(folders[first]) for copy in copies):
                raise ImageError(
                    f"A series found in parts in {len(folders)} folders, in one folder expected: {first}, {copies[0]}. "
                    "Put its files together."
                )
            files = tuple(sorted(folders[first].values()))
            header = headers[patient, uid]
            frame, modality = (str(header.get(tag) or "") for tag in ("FrameOfReferenceUID", "Modality"))
            result.append(Series(patient, uid, files, frame or None, modality, holds[first] == 1))
    return sorted(result, key=lambda series: series.files[0])
