"""A made-up CT series, slice by slice, as scanners write them: names without order, oblique, in Hounsfield units."""

import copy
import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

OBLIQUE = (0.9848, 0.1736, 0.0, -0.1736, 0.9848, 0.0)
"""Turned by ten degrees about the body's axis."""


def write_series(
    folder: Path,
    values: np.ndarray,
    *,
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.7),
    orientation: tuple[float, ...] = OBLIQUE,
    position: tuple[float, float, float] = (-40.0, 15.0, -120.0),
    series: str | None = None,
    study: str | None = None,
    frame: str | None = None,
    suffix: str = ".dcm",
) -> list[FileDataset]:
    """Write ``values`` (slices, rows, columns), in Hounsfield units, one file a slice, in an order that means nothing.

    Returns:
        The data sets, in the order of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = series or generate_uid(), study or generate_uid(), frame or generate_uid()
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    written = []
    for number, plane in enumerate(values):
        name = f"{(number * 7919) % 10007:05}{suffix}"
        where = np.array(position) + number * spacing[0] * normal
        dataset = _slice(plane, (spacing[1], spacing[2]), spacing[0], orientation, where, number)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = series, study, frame
        dataset.save_as(folder / name, enforce_file_format=True)
        written.append(dataset)
    return written


def _slice(plane, spacing, thickness, orientation, where, number) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20200102", "101112", ""
    dataset.StudyID, dataset.SeriesNumber, dataset.ReferringPhysicianName = "1", 1, ""
    dataset.Modality, dataset.Manufacturer = "CT", "made up"
    dataset.PositionReferenceIndicator = ""
    # Instance numbers run against the slices: whoever sorts by them is wrong.
    dataset.InstanceNumber = 1000 - number
    dataset.ImagePositionPatient = [round(float(x), 6) for x in where]
    dataset.ImageOrientationPatient = list(orientation)
    dataset.PixelSpacing, dataset.SliceThickness = list(spacing), thickness
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.ContentDate = datetime.date(2020, 1, 2).strftime("%Y%m%d")
    dataset.PixelData = (np.rint(plane) + 1024).astype("<u2").tobytes()
    return dataset


def write_enhanced(path: Path, slices: list[FileDataset]) -> FileDataset:
    """One file with all slices, the last one first: an enhanced (multi-frame) CT image."""
    result = copy.deepcopy(slices[0])
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    result.SOPInstanceUID = result.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    result.SeriesInstanceUID, result.NumberOfFrames = generate_uid(), len(slices)
    groups = {
        "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    }
    result.SharedFunctionalGroupsSequence = [Dataset()]
    for group, names in groups.items():
        held = Dataset()
        for name in names:
            setattr(held, name, result[name].value)
            delattr(result, name)
        setattr(result.SharedFunctionalGroupsSequence[0], group, [held])
    del result.ImagePositionPatient
    frames = list(reversed(slices))
    result.PerFrameFunctionalGroupsSequence = [_frame(one, number) for number, one in enumerate(frames, 1)]
    organisation, dimension = Dataset(), Dataset()
    organisation.DimensionOrganizationUID = dimension.DimensionOrganizationUID = generate_uid()
    dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer = 0x00200032, 0x00209113
    result.DimensionOrganizationSequence, result.DimensionIndexSequence = [organisation], [dimension]
    result.PixelData = b"".join(one.PixelData for one in frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save_as(path, enforce_file_format=True)
    return result


def _frame(of: FileDataset, number: int) -> Dataset:
    frame, place, content = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient, content.DimensionIndexValues = of.ImagePositionPatient, [number]
    frame.PlanePositionSequence, frame.FrameContentSequence = [place], [content]
    return frame
