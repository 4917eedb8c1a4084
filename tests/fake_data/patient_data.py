"""Words that say who a patient is, in every tag that may, and the search for them in whatever was written."""

import base64
import gzip
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
from PIL import Image

PERSONS = ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "OtherPatientNames")
TEXTS = (
    "PatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "EthnicGroup",
    "Occupation", "AccessionNumber", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
    "StationName", "StudyDescription", "SeriesDescription", "ProtocolName", "StudyID", "DeviceSerialNumber",
    "ImageComments", "MedicalRecordLocator", "RequestedProcedureDescription", "BodyPartExamined",
)  # fmt: skip
DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
XML = ("RequestingSite", "ServicingSite", "DateRequest", "DateService", "servicingRadiologistID", "CtImageFile")


def mark(folder: Path) -> set[bytes]:
    """Put a word of its own into every tag, private ones too, of the DICOM files, and into XML files.

    Returns:
        The words in lower case, and the UIDs.
    """
    words: set[str] = set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.read_bytes()[128:132] == b"DICM":
            words |= _mark_dicom(path)
        elif path.suffix == ".xml":
            text = path.read_text()
            for number, tag in enumerate(XML):
                text = re.sub(f"(<{tag}>)[^<]*", rf"\g<1>zqxml{number:02}", text)
                words.add(f"zqxml{number:02}")
            path.write_text(text)
    return {word.lower().encode() for word in words}


def _mark_dicom(path: Path) -> set[str]:
    dataset = pydicom.dcmread(path)
    words = {str(dataset[name].value) for name in UIDS if name in dataset}
    for number, name in enumerate(PERSONS):
        setattr(dataset, name, f"Zqperson{number:02}^Given")
        words.add(f"zqperson{number:02}")
    for number, name in enumerate(TEXTS):
        setattr(dataset, name, f"ZQTEXT{number:02}")
        words.add(f"zqtext{number:02}")
    for number, name in enumerate(DATES, start=11):
        setattr(dataset, name, f"190302{number}")
        words |= {f"190302{number}", f"1903-02-{number}"}
    dataset.private_block(0x0011, "ZQMAKER", create=True).add_new(1, "LO", "ZQPRIVATE")
    dataset.save_as(path)
    return words | {"zqmaker", "zqprivate"}


def written(folder: Path, words: set[bytes]) -> set[str]:
    """The files that hold one of the words, compressed or not, or are called by one."""
    wide = {word.decode().encode("utf-16-le") for word in words}
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        contents = [name.encode(), *(_contents(path) if path.is_file() else ())]
        if any(word in content.lower() for content in contents for word in words | wide):
            found.add(name)
    return found


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and of what is packed into it: gzip, zip, texts of pictures, data in pages."""
    content = path.read_bytes()
    yield content
    # None of these is written today; whoever starts to must have them searched too.
    assert path.suffix not in {".parquet", ".7z", ".xz", ".bz2", ".zst"}, path
    if path.suffix == ".gz":
        yield gzip.decompress(content)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield from (packed.read(name) for name in packed.namelist())
    elif path.suffix in {".png", ".tif", ".jpg"}:
        with Image.open(path) as picture:
            yield repr((picture.info, dict(picture.getexif()))).encode()
    elif path.suffix == ".html":
        yield from (base64.b64decode(data) for data in re.findall(rb";base64,([A-Za-z0-9+/=]+)", content))
