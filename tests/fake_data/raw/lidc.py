"""LIDC-IDRI as it is downloaded: a folder per patient, study and series; DICOM slices with the XML file beside them.

Every patient has a nodule by all four readers (outlined on three slices) and one by readers 1, 2 and 4, whose first
outline is with a hole; those with even numbers have one by readers 2 and 3. Reader 3 sets a point, a nodule below 3 mm,
and reader 1 marks what is no nodule. The second patient has a radiograph with an XML file of its own.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from fake_data.dicom import write_series

SHAPE = (10, 64, 64)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CHARACTERISTICS = (
    "subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation", "texture",
    "malignancy",
)  # fmt: skip
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<LidcReadMessage uid="1.3.6.1.4.1.14519.5.2.1.6279.6001.1307390687803.0" xmlns="http://www.nih.gov" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xsi:schemaLocation="http://www.nih.gov http://troll.rad.med.umich.edu/lidc/LidcReadMessage.xsd">\n'
)

Points = Sequence[tuple[int, int]]


def circle(column: float, row: float, radius: float) -> Points:
    """Pixels along a circle, each beside the one before: the edge map of what lies within."""
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    steps = [(round(column + radius * np.cos(a)), round(row + radius * np.sin(a))) for a in angles]
    return [point for number, point in enumerate(steps) if point != steps[number - 1]]


def roi(image: FileDataset, points: Points, *, inclusion: str = "TRUE", uid: str | None = None) -> str:
    edges = "".join(f"<edgeMap>\n<xCoord>{x}</xCoord>\n<yCoord>{y}</yCoord>\n</edgeMap>\n" for x, y in points)
    return (
        f"<roi>\n<imageZposition>{float(image.ImagePositionPatient[2])} </imageZposition>\n"
        f"<imageSOP_UID>{uid or image.SOPInstanceUID}</imageSOP_UID>\n<inclusion>{inclusion}</inclusion>\n"
        f"{edges}</roi>\n"
    )


def nodule(name: str, rois: str, *, small: bool = False) -> str:
    ratings = "".join(f"<{kind}>3</{kind}>\n" for kind in CHARACTERISTICS)
    characteristics = "" if small else f"<characteristics>\n{ratings}</characteristics>\n"
    return f"<unblindedReadNodule>\n<noduleID>{name}</noduleID>\n{characteristics}{rois}</unblindedReadNodule>\n"


def non_nodule(name: str, image: FileDataset) -> str:
    return (
        f"<nonNodule>\n<nonNoduleID>{name}</nonNoduleID>\n"
        f"<imageZposition>{float(image.ImagePositionPatient[2])} </imageZposition>\n"
        f"<imageSOP_UID>{image.SOPInstanceUID}</imageSOP_UID>\n"
        "<locus>\n<xCoord>8</xCoord>\n<yCoord>9</yCoord>\n</locus>\n</nonNodule>\n"
    )


def message(series: str, sessions: Sequence[str]) -> str:
    """A whole file; ``sessions`` are what each reader marked."""
    readings = "".join(
        "<readingSession>\n<annotationVersion>3.12</annotationVersion>\n"
        f"<servicingRadiologistID>anonymous</servicingRadiologistID>\n{marks}</readingSession>\n"
        for marks in sessions
    )
    return (
        f"{HEAD}<ResponseHeader>\n<Version>1.8.1</Version>\n<MessageId>1148851</MessageId>\n"
        "<DateRequest>2005-11-03</DateRequest>\n<TimeRequest>12:25:11</TimeRequest>\n"
        "<RequestingSite>removed</RequestingSite>\n<ServicingSite>removed</ServicingSite>\n"
        "<TaskDescription>Second unblinded read</TaskDescription>\n<CtImageFile>removed</CtImageFile>\n"
        f"<SeriesInstanceUid>{series}</SeriesInstanceUid>\n<DateService>2005-11-03</DateService>\n"
        "<TimeService>12:25:40</TimeService>\n<ResponseDescription>1 - Reading complete</ResponseDescription>\n"
        "<StudyInstanceUID>1.3.6.1.4.1.14519.5.2.1.6279.6001.1</StudyInstanceUID>\n</ResponseHeader>\n"
        f"{readings}</LidcReadMessage>\n"
    )


def write_scan(folder: Path, sessions, *, seed: int = 0, name: str = "069.xml") -> list[FileDataset]:
    """A CT series with its XML file; ``sessions`` makes of the slices what each reader marked."""
    images = write_series(folder, _lung(seed), spacing=(2.5, 0.7, 0.7), orientation=AXIAL)
    text = message(str(images[0].SeriesInstanceUID), sessions(images))
    (folder / name).write_bytes(text.encode())
    return images


def write(folder: Path, *, patients: int = 8) -> Path:
    for number in range(1, patients + 1):
        study = folder / "LIDC-IDRI" / f"LIDC-IDRI-{number:04}" / f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{number}"
        write_scan(study / f"{study.name}.5", lambda images, number=number: _sessions(images, number), seed=number)
        if number == 2:
            write_radiograph(study.with_name(f"{study.name}0") / "1.3.6.1.4.1.14519.5.2.1.6279.6001.77")
    return folder


def write_radiograph(folder: Path) -> None:
    image = write_series(folder, np.zeros((1, 30, 32)))[0]
    image.Modality, image.SOPClassUID = "DX", DigitalXRayImageStorageForPresentation
    image.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    image.save_as(next(folder.glob("*.dcm")), enforce_file_format=True)
    (folder / "070.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<IdriReadMessage uid="1.3.6.1" xmlns="http://www.nih.gov/idri">\n'
        "<ResponseHeader>\n<CTSeriesInstanceUid>1.3</CTSeriesInstanceUid>\n"
        f"<CXRSeriesInstanceUid>{image.SeriesInstanceUID}</CXRSeriesInstanceUid>\n</ResponseHeader>\n"
        "<CXRreadingSession>\n</CXRreadingSession>\n</IdriReadMessage>\n"
    )


def _sessions(images: list[FileDataset], number: int) -> list[str]:
    def disc(column: float, row: float, radius: float, slices: Sequence[int]) -> str:
        return "".join(roi(images[k], circle(column, row, radius)) for k in slices)

    hole = roi(images[6], circle(44, 40, 3), inclusion="FALSE")
    by_four = [nodule(f"Nodule 00{r}", disc(18 + r, 20, 6 + r % 2, (2, 3, 4))) for r in range(4)]
    by_three = {r: nodule(f"1479{r}", hole + disc(44, 40 + r % 2, 8 - r / 2, (6, 7))) for r in (0, 1, 3)}
    by_two = {r: nodule(f"IL057_{r}", disc(20, 46 + r, 5, (7, 8))) for r in (1, 2) if number % 2 == 0}
    extra = {
        0: non_nodule("Non 1", images[1]),
        2: nodule("Small 1", roi(images[0], [(50, 8)]), small=True),
    }
    return [by_four[r] + by_three.get(r, "") + by_two.get(r, "") + extra.get(r, "") for r in range(4)]


def _lung(seed: int) -> np.ndarray:
    """Soft discs in air, in Hounsfield units, that are not quite where anybody outlined them."""
    rng = np.random.default_rng(seed)
    slices, rows, columns = np.indices(SHAPE)
    values = rng.normal(-800, 30, SHAPE)
    for depth, row, column in ((3, 20, 19), (7, 40, 44), (7, 47, 20)):
        inside = (rows - row) ** 2 + (columns - column) ** 2 + (4 * (slices - depth)) ** 2 < 36
        values[inside] += 750
    return values
