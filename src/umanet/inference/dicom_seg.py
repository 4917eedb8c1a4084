"""Predictions as DICOM segmentations (SEG), beside the series that they were made from.

A SEG belongs to the patient and study of its source, so it carries their tags: it is as confidential as the source.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from umanet.data.dicom import LPS_TO_RAS, quoting_no_tag, read_dataset, series_files
from umanet.data.files import whole_file
from umanet.data.formats import DICOM
from umanet.data.geometry import from_ras
from umanet.data.index import ClassDefinition
from umanet.errors import OutputError
from umanet.inference.dicom_codes import coded
from umanet.types import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime",
)  # fmt: skip
"""Tags that DICOM wants, if only without a value; files from which the patient was removed often lack them."""
LONGEST_TEXT = 64
"""Characters of a DICOM long string."""


def write_dicom_seg(
    path: Path,
    source: Path,
    classes: Sequence[ClassDefinition],
    *,
    labels: UInt8[np.ndarray, "*spatial"] | None = None,
    probabilities: Float32[np.ndarray, "K *spatial"] | None = None,
    geometry: Geometry,
    made_by: str,
) -> Path:
    """Write a SEG with one segment per class (not the background), class ``k`` as segment number ``k``.

    Every frame is written, empty ones too: whoever reads the file gets the whole volume, and a class of which nothing
    was found is there. Probabilities are rounded to multiples of 1/255.

    Args:
        path: The file to write, ``.dcm``.
        source: The image that was predicted: a folder with one series, or a file of the series.
        classes: As predicted, background first. Their ``code``, else their name, says what they are.
        labels: Class indices, for a BINARY segmentation.
        probabilities: In [0, 1], for a FRACTIONAL one (of the kind PROBABILITY).
        geometry: Of the prediction, from reading ``source``.
        made_by: The method and the model, for the name of the algorithm. Cut after 64 characters.

    Raises:
        OutputError: ``source`` is no DICOM image, has other slices by now, or lacks tags that a SEG needs; or the
            file cannot be written.
        ImageError: ``source`` cannot be read.
        ValueError: Not exactly one of ``labels`` and ``probabilities``.
    """
    if (labels is None) == (probabilities is None):
        raise ValueError("Exactly one of labels and probabilities expected.")
    if geometry.suffix != DICOM:
        raise OutputError(
            f"An image of type {geometry.suffix} found at {source}, a DICOM image expected, for the DICOM segmentation "
            f"{path}. Predict the DICOM series itself, or write other files."
        )
    datasets = _source(source, geometry)
    if labels is not None:
        segments = np.stack([_as_stored(labels == k, geometry) for k in range(1, len(classes))], -1).astype(np.uint8)
    else:
        assert probabilities is not None
        segments = np.stack([_as_stored(map_, geometry) for map_ in probabilities[1:]], -1).clip(0, 1)
    pixels = segments if geometry.affine is None else _volume(segments, geometry, datasets[0])
    with quoting_no_tag(source):
        try:
            result = _segmentation(datasets, pixels, classes, made_by, binary=labels is not None)
        except (AttributeError, ValueError, TypeError) as error:
            # highdicom names attributes, and seldom quotes them: the kind of error is enough to search with.
            raise OutputError(
                f"No DICOM segmentation can be made of the series at {source} ({type(error).__name__} from highdicom): "
                "it lacks tags that DICOM requires, or they contradict each other. Write NIfTI, or mend the series."
            ) from error
        with whole_file(path) as temporary:
            result.save_as(temporary)
    return path


def _source(source: Path, geometry: Geometry) -> "list[Dataset]":
    files = series_files(source)
    datasets = [read_dataset(file, stop_before_pixels=True) for file in files]
    slices = 1 if geometry.file_shape is None else geometry.file_shape[2]
    frames = int(datasets[0].get("NumberOfFrames", 1)) if len(datasets) == 1 else len(datasets)
    rows_columns = geometry.shape if geometry.file_shape is None else geometry.file_shape[1::-1]
    found = (datasets[0].get("Rows"), datasets[0].get("Columns"))
    if frames != slices or found != tuple(rows_columns):
        raise OutputError(
            f"{frames} slices of {found} pixels found in the series at {source}, {slices} of {tuple(rows_columns)} "
            "expected, as it was predicted. Predict it again."
        )
    for dataset in datasets:
        missing = [name for name in REQUIRED if not dataset.get(name)]
        if missing:
            raise OutputError(
                f"A DICOM file without {missing[0]} found in the series at {source}, which a segmentation must refer "
                "to. Write NIfTI, or mend the series."
            )
        for name in MAY_BE_EMPTY:
            if name not in dataset:
                setattr(dataset, name, "")
    return datasets


def _as_stored(values: Shaped[np.ndarray, "*spatial"], geometry: Geometry) -> Shaped[np.ndarray, "slices rows columns"]:
    """RAS+ axis order -> slices, rows, columns: a volume's file order is columns, rows, slices."""
    return values[None] if geometry.affine is None else from_ras(values, geometry).transpose(2, 1, 0)


def _volume(segments: Shaped[np.ndarray, "slices rows columns segments"], geometry: Geometry, like: "Dataset") -> Any:
    import highdicom as hd

    assert geometry.affine is not None
    return hd.Volume(
        segments,
        (LPS_TO_RAS @ geometry.affine)[:, [2, 1, 0, 3]],
        coordinate_system="PATIENT",
        frame_of_reference_uid=like.get("FrameOfReferenceUID"),
        channels={"SegmentNumber": list(range(1, segments.shape[-1] + 1))},
    )


def _segmentation(
    datasets: "list[Dataset]", pixels: Any, classes: Sequence[ClassDefinition], made_by: str, *, binary: bool
) -> "Dataset":
    import highdicom as hd
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(
        name=f"umanet {made_by}"[:LONGEST_TEXT],
        family=codes.cid7162.ArtificialIntelligence,
        version=version("umanet"),
        source="umanet",
    )
    descriptions = []
    for number, definition in enumerate(classes[1:], start=1):
        category, kind = coded(definition)
        descriptions.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=definition.name[:LONGEST_TEXT],
                segmented_property_category=hd.sr.CodedConcept(*category),
                segmented_property_type=hd.sr.CodedConcept(*kind),
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
            )
        )
    return hd.seg.Segmentation(
        source_images=datasets,
        pixel_array=pixels,
        segmentation_type="BINARY" if binary else "FRACTIONAL",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="umanet",
        manufacturer_model_name="umanet",
        software_versions=version("umanet"),
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Predicted by umanet",
        series_description="umanet " + ("labels" if binary else "probabilities"),
        omit_empty_frames=False,
    )
