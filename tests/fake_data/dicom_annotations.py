"""Made-up SEG and RTSTRUCT objects of a made-up series, as other programs write them."""

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid


def write_seg(
    path: Path, datasets: list[FileDataset], masks: dict[str, np.ndarray], *, fractional: bool = False, seed: int = 0
) -> Dataset:
    """Masks by label, each (slices, rows, columns); empty frames are omitted, the others are in no order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    algorithm = hd.AlgorithmIdentificationSequence("made up", codes.cid7162.ArtificialIntelligence, "1")
    seg = hd.seg.Segmentation(
        source_images=datasets,
        pixel_array=np.stack(list(masks.values()), -1).astype(np.float32 if fractional else np.uint8),
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(k, label, codes.SCT.Tissue, codes.SCT.Mass, "AUTOMATIC", algorithm)
            for k, label in enumerate(masks, start=1)
        ],
        series_instance_uid=generate_uid(), series_number=5, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="made up", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    order = np.random.default_rng(seed).permutation(len(frames))
    seg.PerFrameFunctionalGroupsSequence = Sequence([seg.PerFrameFunctionalGroupsSequence[n] for n in order])
    seg.PixelData = frames[order].tobytes() if fractional else pack_bits(frames[order].ravel())
    seg.save_as(path)
    return seg


def write_labelmap(path: Path, datasets: list[FileDataset], labels: np.ndarray, names: list[str]) -> Dataset:
    """Labels (slices, rows, columns): a frame per slice that holds segment numbers, and the background's segment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seg = hd.seg.Segmentation(
        source_images=datasets,
        pixel_array=labels.astype(np.uint8),
        segmentation_type="LABELMAP",
        segment_descriptions=[
            hd.seg.SegmentDescription(k, name, codes.SCT.Tissue, codes.SCT.Mass, "MANUAL")
            for k, name in enumerate(names, start=1)
        ],
        series_instance_uid=generate_uid(), series_number=5, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="made up", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    seg.save_as(path)
    return seg


def write_rtstruct(
    path: Path, datasets: list[FileDataset], contours: dict[str, list[np.ndarray]], *, kind: str = "CLOSED_PLANAR"
) -> Dataset:
    """ROI names to contours, each an array (points, 3) in millimetres, LPS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    result.SOPClassUID, result.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    result.PatientName, result.PatientID, result.Modality = "Secret^Name", "SECRET-ID", "RTSTRUCT"
    result.StudyInstanceUID, result.SeriesInstanceUID = datasets[0].StudyInstanceUID, generate_uid()
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = datasets[0].SeriesInstanceUID
    study.ReferencedSOPInstanceUID, study.RTReferencedSeriesSequence = datasets[0].StudyInstanceUID, [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = datasets[0].FrameOfReferenceUID, [study]
    result.ReferencedFrameOfReferenceSequence = [frame]
    result.StructureSetROISequence, result.ROIContourSequence = Sequence(), Sequence()
    for number, (name, found) in enumerate(contours.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = datasets[0].FrameOfReferenceUID
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for points in found:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{x:.6g}" for x in np.asarray(points).ravel()]
            drawn.ContourSequence.append(contour)
        result.StructureSetROISequence.append(roi)
        result.ROIContourSequence.append(drawn)
    result.save_as(path, enforce_file_format=True)
    return result


def in_patient(dataset: FileDataset, pixels: np.ndarray) -> np.ndarray:
    """Points (x, y) in pixels of a slice, (0, 0) its first centre, in millimetres (LPS)."""
    row, column = np.array(dataset.ImageOrientationPatient[:3]), np.array(dataset.ImageOrientationPatient[3:])
    spacing, pixels = np.array(dataset.PixelSpacing, float), np.asarray(pixels, float)
    return (
        np.array(dataset.ImagePositionPatient, float)
        + pixels[:, :1] * spacing[1] * row
        + pixels[:, 1:] * spacing[0] * column
    )


def square(dataset: FileDataset, first: float, last: float) -> np.ndarray:
    return in_patient(dataset, np.array([(first, first), (last, first), (last, last), (first, last)]))
