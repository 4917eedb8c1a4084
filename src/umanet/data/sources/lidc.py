"""LIDC-IDRI: chest CT of 1010 patients, nodules of 3 mm and more outlined by up to four anonymous readers.

The download: ``LIDC-IDRI-0001/<study>/<series>/*.dcm`` with the XML file of the series (``069.xml``) beside its slices,
or all XML files apart. Radiographs (DX, CR) lie in series of their own and are passed over. ``reader1`` is the first
session of a file, not one person.

Outlines run along the first pixels *outside* a nodule, so these do not belong to it; what an outline with
``inclusion`` FALSE encloses is cut out. How outlines become voxels and how those of several readers are grouped to one
nodule: ``lidc_nodules``.

Reference:
    Armato et al.: The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): A Completed
    Reference Database of Lung Nodules on CT Scans. Medical Physics 38(2), 2011. DOI 10.1118/1.3528204
    Data: The Cancer Imaging Archive. DOI 10.7937/K9/TCIA.2015.LO9QL9SX
"""

import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umanet.data.dicom import read_header
from umanet.data.formats import begins_as_dicom, listed
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources.lidc_nodules import Boundary, Nodule, grouped, largest_slice
from umanet.data.sources.lidc_scan import (
    Box,
    Scan,
    box_around,
    dicom_files,
    read_scan,
    said_small,
    write_crop,
    write_mask,
)
from umanet.data.sources.lidc_xml import MOST_READERS, is_of_radiograph, read_reading
from umanet.data.sources.raw_folder import Unusable, raw_folder, require_cases
from umanet.errors import DatasetError
from umanet.types import Case

HOLDS = "the folders LIDC-IDRI-0001, LIDC-IDRI-0002 and so on"
PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
READERS = tuple(f"reader{number + 1}" for number in range(MOST_READERS))
CLASSES = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="nodule", values=(1,)))
log = logging.getLogger("umanet")

Xml = Mapping[str, Sequence[Path]]
"""Series instance UID to files."""


@dataclass(frozen=True)
class Choices:
    """What is made of the scans.

    Attributes:
        what: ``crops``: a case per nodule; ``scans``: a case per series, in which an annotation has all nodules of a
            reader, and is empty for a reader who outlined none.
        dims: 3, or 2 for crops of the slice on which readers agree on most pixels.
        side: Of crops, in pixels.
        margin: Slices above and below the nodule in 3D crops, where there are some.
        least_annotations: Readers who must have outlined a nodule for it to be a case.
        unmarked: Readers of the series who did not outline a nodule have no annotation of it (``absent``) or an
            ``empty`` one. Those who marked it as smaller than 3 mm have none in either case.
        boundary: Whether the pixels of an outline belong to what it encloses; by LIDC's definition they do not.
    """

    what: Literal["crops", "scans"] = "crops"
    dims: Literal[2, 3] = 3
    side: int = 128
    margin: int = 2
    least_annotations: int = 1
    unmarked: Literal["absent", "empty"] = "absent"
    boundary: Boundary = "exclude"


def index(
    root: Path,
    files: Path,
    *,
    choices: Choices | None = None,
    xml: Path | None = None,
    leave_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Convert the scans, one at a time, and index what was made of them. There are no official splits.

    Args:
        root: Holds the patients' folders, or the folder ``LIDC-IDRI`` that does.
        files: Folder to make for crops and masks.
        choices: What to make; None is the default of each.
        xml: Folder with the XML files, where they do not lie beside the slices.
        leave_out: Go on without series that cannot be used.
        progress: Called with the patients done and those there are.

    Raises:
        DatasetError: Not this layout, contradicting choices, or series that cannot be used.
    """
    choices = _checked(choices or Choices())
    root = raw_folder(root, HOLDS)
    unusable = Unusable(leave_out=leave_out)
    patients = _patients(root, unusable)
    passed: Counter[str] = Counter()
    readings = _by_series(raw_folder(xml, "the XML files of LIDC-IDRI"), unusable, passed) if xml else {}
    cases: list[Case] = []
    for done, patient in enumerate(patients):
        numbers = itertools.count(1)
        series = _series(patient)
        if not series:
            unusable.add(
                patient.name, f"No DICOM and no XML file found below {patient}, a CT series expected. Copy it again."
            )
        for folder in series:
            with unusable.collected(str(folder.relative_to(root))):
                scan = _scan(folder, readings, choices, passed)
                if scan:
                    cases.extend(_cases(scan, patient.name, numbers, files, choices, unusable, passed))
                del scan  # before the next is read
        if progress:
            progress(done + 1, len(patients))
    _say(passed)
    unusable.settle("series")
    require_cases(cases, root, f"{HOLDS}, with nodules that {choices.least_annotations} or more readers outlined,")
    return DatasetIndex(
        name="LIDC-IDRI",
        spatial_dims=choices.dims,
        channels=("CT",),
        classes=CLASSES,
        annotators=tuple(name for name in READERS if any(name in case.annotations for case in cases)),
        annotators_are_identified=False,
        cases=tuple(cases),
    )


def _checked(choices: Choices) -> Choices:
    if choices.what == "scans" and choices.dims == 2:
        raise DatasetError(
            "Whole scans in 2D found, 3D expected: most slices show no nodule. Give --dims 3, or --what crops for "
            "slices of nodules."
        )
    if choices.side < 1 or choices.margin < 0 or not 1 <= choices.least_annotations <= MOST_READERS:
        raise DatasetError(
            f"A side of {choices.side}, a margin of {choices.margin} and {choices.least_annotations} annotations at "
            f"least found; 1 or more, 0 or more and 1 to {MOST_READERS} expected. Mend --side, --margin or "
            "--least-annotations."
        )
    return choices


def _patients(root: Path, unusable: Unusable) -> list[Path]:
    """The patients' folders, which the download puts into ``manifest-<number>/LIDC-IDRI``."""
    for parent in (root, root / "LIDC-IDRI", *sorted(root.glob("manifest-*/LIDC-IDRI"))):
        folders = [path for path in (listed(parent) if parent.is_dir() else []) if path.is_dir()]
        found = [path for path in folders if PATIENT.fullmatch(path.name)]
        if found:
            for path in folders:
                if path not in found:
                    message = f"This folder found in {parent}, only LIDC-IDRI-0001 and so on expected. "
                    unusable.add(path.name, message + "Give it the name of the official download, or move it away.")
            return found
    require_cases((), root, HOLDS)
    return []


def _series(patient: Path) -> list[Path]:
    """The folders below a patient's that hold DICOM or XML files."""
    folders = [patient, *(path for path in sorted(patient.rglob("*")) if path.is_dir())]
    return [folder for folder in folders if _xml_in(folder) or any(map(begins_as_dicom, listed(folder)))]


def _xml_in(folder: Path) -> list[Path]:
    return [path for path in listed(folder) if path.is_file() and path.name.lower().endswith(".xml")]


def _by_series(folder: Path, unusable: Unusable, passed: Counter[str]) -> Xml:
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name.lower().endswith(".xml")):
        with unusable.collected(str(path.relative_to(folder))):
            if is_of_radiograph(path):
                passed["XML file of a radiograph"] += 1
            else:
                found.setdefault(read_reading(path).series, []).append(path)
    return found


def _scan(folder: Path, readings: Xml, choices: Choices, passed: Counter[str]) -> Scan | None:
    """None where the folder holds no CT."""
    slices = dicom_files(folder)
    if not slices:
        raise DatasetError(f"An XML file without DICOM files found in {folder}, a CT series expected. Copy it again.")
    header = read_header(slices[0])
    kind = str(header.get("Modality", "unknown"))
    if kind != "CT":
        passed["series of a radiograph (DX, CR)" if kind in ("DX", "CR") else "series of another kind than CT"] += 1
        return None
    files = _xml_in(folder) or readings.get(str(header.get("SeriesInstanceUID")), [])
    if len(files) != 1:
        found = f"{len(files)} XML files" if files else "No XML file"
        raise DatasetError(
            f"{found} found for the CT series in {folder}, one expected. Copy it beside the slices and remove others, "
            "or name the folder of all XML files with --xml."
        )
    return read_scan(folder, read_reading(files[0]), choices.boundary, passed)


def _cases(
    scan: Scan,
    patient: str,
    numbers: Iterator[int],
    files: Path,
    choices: Choices,
    unusable: Unusable,
    passed: Counter[str],
) -> list[Case]:
    """``numbers`` go on from scan to scan of a patient; nodules that are not wanted have one too."""
    if choices.what == "scans":
        return [_whole(f"{patient}_scan-{next(numbers)}", patient, scan, files)]
    cases = []
    for group in grouped(scan.nodules, scan.affine):
        name = f"{patient}_nodule-{next(numbers)}"
        if len(group) < choices.least_annotations:
            passed["nodule that too few outlined"] += 1
            continue
        with unusable.collected(name):
            cases.append(_crop(name, patient, group, scan, files, choices))
    return cases


def _whole(name: str, patient: str, scan: Scan, files: Path) -> Case:
    annotations = {}
    for number, reader in enumerate(READERS[: scan.readers]):
        annotations[reader] = files / "annotations" / reader / f"{name}.nii.gz"
        write_mask(annotations[reader], [nodule for nodule in scan.nodules if nodule.reader == number], scan)
    return Case(name, (scan.folder,), annotations, patient=patient)


def _crop(name: str, patient: str, group: Sequence[Nodule], scan: Scan, files: Path, choices: Choices) -> Case:
    box = _box(group, scan, choices)
    image = files / "images" / f"{name}.nii.gz"
    write_crop(image, scan, box)
    annotations = {}
    for number, reader in enumerate(READERS[: scan.readers]):
        own = [nodule for nodule in group if nodule.reader == number]
        if own or (choices.unmarked == "empty" and not said_small(number, group, scan)):
            annotations[reader] = files / "annotations" / reader / f"{name}.nii.gz"
            write_mask(annotations[reader], own, scan, box)
    return Case(name, (image,), annotations, patient=patient)


def _box(group: Sequence[Nodule], scan: Scan, choices: Choices) -> Box:
    if choices.dims == 2:
        here = largest_slice(group)
        return box_around(group, scan, choices.side, (here, here))
    slices = [int(k) for nodule in group for k in nodule.voxels[:, 2]]
    return box_around(group, scan, choices.side, (min(slices) - choices.margin, max(slices) + choices.margin))


def _say(passed: Counter[str]) -> None:
    """One line, of what is no fault and yet not in the result."""
    found = [f"{count} x {what}" for what, count in sorted(passed.items()) if count]
    if found:
        log.info("Passed over, or read otherwise than usual: %s.", ", ".join(found))
