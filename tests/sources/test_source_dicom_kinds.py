"""Kinds of DICOM that are rarer than a series of slices with a BINARY segmentation, and lie as truly."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from fake_data.dicom import write_enhanced, write_series
from fake_data.dicom_annotations import square, write_labelmap, write_rtstruct, write_seg
from umanet.data.dicom import read_series
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition
from umanet.data.sources.dicom import index
from umanet.errors import DatasetError
from umanet.inference.dicom_seg import write_dicom_seg

rng = np.random.default_rng(0)
SHAPE = (6, 12, 10)
CLASSES = tuple(ClassDefinition(name=name, values=(k,)) for k, name in enumerate(("background", "mass", "node")))


def numbered(shape=SHAPE):
    """Every voxel has a value of its own: places can be found again by value."""
    return np.arange(np.prod(shape), dtype=float).reshape(shape) - 1000


def drawn(found, annotator):
    """The labels in the order in which the values were numbered."""
    sample = read_case(found.cases[0], found)
    labels = sample.annotations[found.annotators.index(annotator)].numpy().ravel()
    return labels[np.argsort(sample.image[0].numpy().ravel())]


@pytest.mark.parametrize("empty", [False, True], ids=["every slice drawn", "some slices empty"])
def test_frames_of_a_labelmap_hold_segment_numbers(tmp_path, empty):
    slices = write_series(tmp_path / "raw/P1/ct", numbered())
    labels = rng.integers(0, 3, SHAPE)
    labels[[0, 3]] *= not empty
    seg = write_labelmap(tmp_path / "raw/P1/anna.dcm", slices, labels, ["mass", "node"])
    assert seg.SegmentationType == "LABELMAP" and 0 in [item.SegmentNumber for item in seg.SegmentSequence]
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert [c.name for c in found.classes] == ["background", "mass", "node"]
    assert (drawn(found, "anna") == labels.ravel()).all()


def test_an_enhanced_image_is_the_series_of_its_frames(tmp_path):
    slices = write_series(tmp_path / "ct", numbered())
    enhanced = write_enhanced(tmp_path / "raw/P1/ct/a.dcm", slices)
    for one, other in zip(read_series(tmp_path / "ct"), read_series(tmp_path / "raw/P1/ct"), strict=True):
        np.testing.assert_allclose(getattr(one, "affine", one), getattr(other, "affine", other), atol=1e-6)
    mask = rng.random(SHAPE) > 0.5
    write_seg(tmp_path / "raw/P1/anna.dcm", [enhanced], {"mass": mask[::-1]})  # in the order of its frames
    write_rtstruct(tmp_path / "raw/P1/bert.dcm", [enhanced], {"mass": [square(one, 1.5, 6.5) for one in slices]})
    _, geometry = read_series(tmp_path / "raw/P1/ct")
    ours = rng.integers(0, 2, geometry.shape).astype(np.uint8)
    write_dicom_seg(
        tmp_path / "raw/P1/carl.dcm", tmp_path / "raw/P1/ct", CLASSES[:2], labels=ours, geometry=geometry, made_by="m"
    )
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert (drawn(found, "anna") == mask.ravel()).all()
    inside = np.zeros(SHAPE, int)
    inside[:, 2:7, 2:7] = 1
    assert (drawn(found, "bert") == inside.ravel()).all()
    sample = read_case(found.cases[0], found)
    assert (sample.annotations[found.annotators.index("carl")].numpy() == ours).all()


@pytest.fixture(params=["placed", "radiograph"])
def picture(request, tmp_path):
    """One file; a radiograph lies nowhere in the patient."""
    (dataset,) = write_series(tmp_path / "raw/P1/dx", numbered((1, *SHAPE[1:])))
    path = next((tmp_path / "raw/P1/dx").iterdir())
    if request.param == "radiograph":
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SliceThickness"):
            delattr(dataset, name)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "ours"])
def test_a_picture_has_a_segmentation_of_one_frame(tmp_path, picture, kind):
    dataset, labels = pydicom.dcmread(picture), rng.integers(0, 3, SHAPE[1:]).astype(np.uint8)
    path = tmp_path / "raw/P1/anna.dcm"
    if kind == "ours":
        _, geometry = read_series(picture)
        write_dicom_seg(path, picture, CLASSES, labels=labels, geometry=geometry, made_by="m")
    elif kind == "LABELMAP":
        write_labelmap(path, [dataset], labels[None], ["mass", "node"])
    else:
        write_seg(path, [dataset], {"mass": labels[None] == 1, "node": labels[None] == 2})
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert found.spatial_dims == 2 and (drawn(found, "anna") == labels.ravel()).all()


def test_contours_on_a_picture_are_refused(tmp_path, picture, caplog):
    dataset = pydicom.dcmread(picture)
    dataset.FrameOfReferenceUID = dataset.get("FrameOfReferenceUID") or generate_uid()
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, 0]
    write_rtstruct(tmp_path / "raw/P1/anna.dcm", [dataset], {"mass": [square(dataset, 1, 4)]})
    with pytest.raises(DatasetError):
        index(tmp_path / "raw", files=tmp_path / "files")
    assert "Contours found for a picture" in caplog.text
