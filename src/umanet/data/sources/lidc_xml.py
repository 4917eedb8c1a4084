"""The XML files of LIDC-IDRI: what up to four readers marked in one CT series.

Root ``LidcReadMessage`` in the namespace ``http://www.nih.gov``; ``ResponseHeader/SeriesInstanceUid`` names the series;
a ``readingSession`` per reader, with ``unblindedReadNodule`` and ``nonNodule``. Nodules of 3 mm and more have a ``roi``
per slice, whose ``edgeMap`` elements are the pixels of an outline, in order; smaller ones have a single point.
Radiographs have files of their own (``IdriReadMessage`` in ``http://www.nih.gov/idri``).

Nothing else is read: no characteristics, no dates, no names of readers or sites.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from jaxtyping import Int64

from umanet.errors import DatasetError

CT_ROOT = "{http://www.nih.gov}LidcReadMessage"
RADIOGRAPH_ROOT = "{http://www.nih.gov/idri}IdriReadMessage"
NAMESPACE = {"n": "http://www.nih.gov"}
MOST_READERS = 4


@dataclass(frozen=True)
class Outline:
    """A ``roi``: pixels around a region of one slice, or a single point.

    Attributes:
        slice: SOP instance UID of the slice.
        z: Of the slice's image position, in millimetres.
        included: False where the region is cut out of the nodule.
        points: Column and row of each pixel, counted from 0.
    """

    slice: str
    z: float
    included: bool
    points: Int64[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Mark:
    """A nodule as one reader, counted from 0, marked it."""

    reader: int
    outlines: tuple[Outline, ...]

    @property
    def is_outlined(self) -> bool:
        """Some outline has more than a point: the nodule measures 3 mm or more. Points beside it are stray marks."""
        return any(len(outline.points) > 1 for outline in self.outlines)


@dataclass(frozen=True)
class Reading:
    """One file.

    Attributes:
        series: Instance UID of the CT series.
        readers: How many sessions there are; a reader may have marked nothing.
        marks: Of all readers, in the order of the file.
        others: Number of marks at what is no nodule.
    """

    series: str
    readers: int
    marks: tuple[Mark, ...]
    others: int


def read_reading(path: Path) -> Reading:
    """Read a file.

    Raises:
        DatasetError: Truncated, with a document type (it may hold entities that grow without end), of a radiograph, of
            another format, or with more than four readers.
    """
    root = _root(path)
    if root.tag == RADIOGRAPH_ROOT:
        raise DatasetError(f"The XML of a radiograph found at {path}, that of a CT series expected. Copy it again.")
    if root.tag != CT_ROOT:
        raise DatasetError(
            f"The element {root.tag[:80]!r} found, {CT_ROOT!r} expected, in {path}. Take the file of the official "
            "download."
        )
    try:
        sessions = root.findall("n:readingSession", NAMESPACE)
        marks = [
            Mark(reader, tuple(_outline(roi) for roi in nodule.findall("n:roi", NAMESPACE)))
            for reader, session in enumerate(sessions)
            for nodule in session.findall("n:unblindedReadNodule", NAMESPACE)
        ]
        series = _text(root, "n:ResponseHeader/n:SeriesInstanceUid")
    except ValueError as error:
        raise DatasetError(f"{error} in {path}. Take the file of the official download.") from None
    if not 0 < len(sessions) <= MOST_READERS:
        raise DatasetError(f"{len(sessions)} readingSession found, 1 to {MOST_READERS} expected, in {path}. Mend it.")
    return Reading(series, len(sessions), tuple(marks), len(root.findall(".//n:nonNodule", NAMESPACE)))


def is_of_radiograph(path: Path) -> bool:
    """Whether a file belongs to a DX or CR series.

    Raises:
        DatasetError: As ``read_reading``.
    """
    return _root(path).tag == RADIOGRAPH_ROOT


def _root(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
        # ElementTree expands entities; a parser of our own looks for their declaration first.
        guard = expat.ParserCreate()
        guard.StartDoctypeDeclHandler = _refuse_document_type
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}. Check the permissions.") from None
    except (expat.ExpatError, ElementTree.ParseError) as error:
        raise DatasetError(f"{path} is no valid XML ({error}). It may be truncated: copy it again.") from None
    except _DocumentTypeFound:
        raise DatasetError(
            f"A document type (DOCTYPE) found in {path}, none expected: LIDC files have none, and entities in it may "
            "be harmful. Take the file of the official download."
        ) from None


class _DocumentTypeFound(Exception):
    pass


def _refuse_document_type(*_: object) -> NoReturn:
    raise _DocumentTypeFound


def _outline(roi: ElementTree.Element) -> Outline:
    points = [(_number(edge, "xCoord"), _number(edge, "yCoord")) for edge in roi.findall("n:edgeMap", NAMESPACE)]
    included = _text(roi, "n:inclusion").upper()
    if included not in ("TRUE", "FALSE"):
        raise ValueError(f"inclusion {included[:20]!r} found, TRUE or FALSE expected,")
    try:
        z = float(_text(roi, "n:imageZposition"))
    except ValueError:
        raise ValueError("An imageZposition that is no number found, millimetres expected,") from None
    return Outline(_text(roi, "n:imageSOP_UID"), z, included == "TRUE", np.array(points, np.int64).reshape(-1, 2))


def _number(element: ElementTree.Element, name: str) -> int:
    text = _text(element, f"n:{name}")
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} {text[:20]!r} found, a whole number of pixels expected,") from None


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path, default="", namespaces=NAMESPACE).strip()
    if not text:
        raise ValueError(f"No {path.replace('n:', '')} found, one expected,")
    return text
