"""A prediction of a DICOM series is a DICOM segmentation of that series, voxel by voxel."""

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from fake_data.dicom import write_series
from umanet.data.dicom import read_series
from umanet.data.index import ClassDefinition
from umanet.errors import OutputError
from umanet.inference.dicom_seg import write_dicom_seg
from umanet.types import Geometry

CLASSES = tuple(ClassDefinition(name=n, values=(k,)) for k, n in enumerate(["background", "mass", "lungs", "bits"]))
rng = np.random.default_rng(0)


def series(folder, shape=(5, 12, 9), **options):
    datasets = write_series(folder, rng.integers(-1000, 1000, shape).astype(float), **options)
    return datasets, read_series(folder)[1]


def place(affine_lps, slice_, row, column):
    return (np.asarray(affine_lps) @ [slice_, row, column, 1])[:3]


def test_labels_are_read_back_by_another_reader_at_the_same_places(tmp_path):
    datasets, geometry = series(tmp_path / "ct")
    labels = rng.integers(0, 3, geometry.shape).astype(np.uint8)
    labels[:, :, 0] = 0
    path = write_dicom_seg(
        tmp_path / "out.dcm", tmp_path / "ct", CLASSES, labels=labels, geometry=geometry, made_by="m"
    )
    seg = hd.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)
    # The affine and the axes of the file are one description of the place, those of our geometry the other.
    from umanet.data.geometry import ras_affine

    inverse = np.linalg.inv(ras_affine(geometry))
    for index in np.ndindex(*volume.spatial_shape):
        lps = place(volume.affine, *index)
        voxel = inverse @ [-lps[0], -lps[1], lps[2], 1]
        assert np.abs(voxel[:3] - voxel[:3].round()).max() < 1e-3
        assert volume.array[index] == labels[tuple(voxel[:3].round().astype(int))]
    assert volume.frame_of_reference_uid == datasets[0].FrameOfReferenceUID
    assert {s.ReferencedSOPInstanceUID for s in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence} == {
        d.SOPInstanceUID for d in datasets
    }


def test_segments_say_what_they_are_and_who_made_them(tmp_path):
    _, geometry = series(tmp_path / "ct")
    classes = (*CLASSES, ClassDefinition(name="own", values=(4,), code="99ME:17:Own thing"))
    labels = np.zeros(geometry.shape, np.uint8)
    path = write_dicom_seg(
        tmp_path / "out.dcm", tmp_path / "ct", classes, labels=labels, geometry=geometry, made_by="uma-net abc"
    )
    seg = hd.seg.segread(path)
    found = [seg.get_segment_description(n) for n in seg.segment_numbers]
    assert [(s.segment_label, s.segmented_property_type.meaning) for s in found] == [
        ("mass", "Mass"), ("lungs", "Lung"), ("bits", "Tissue"), ("own", "Own thing"),
    ]  # fmt: skip
    assert [s.segmented_property_category.meaning for s in found][:3] == [
        "Morphologically Abnormal Structure", "Anatomical Structure", "Tissue",
    ]  # fmt: skip
    assert found[0].SegmentAlgorithmName == "umanet uma-net abc"
    # Nothing was found, and that is said for every voxel.
    assert seg.get_volume().array.shape == (5, 12, 9, 4) and not seg.get_volume().array.any()


def test_probabilities_are_read_back_to_half_a_step(tmp_path):
    _, geometry = series(tmp_path / "ct")
    probabilities = rng.dirichlet(np.ones(4), geometry.shape).astype(np.float32).transpose(3, 0, 1, 2)
    path = write_dicom_seg(
        tmp_path / "p.dcm", tmp_path / "ct", CLASSES, probabilities=probabilities, geometry=geometry, made_by="m"
    )
    seg = hd.seg.segread(path)
    assert seg.segmentation_type.value == "FRACTIONAL" and seg.segmentation_fractional_type.value == "PROBABILITY"
    from umanet.data.geometry import from_ras

    for k in (1, 2, 3):
        found = seg.get_volume(segment_numbers=[k]).array[..., 0]
        stored = from_ras(probabilities[k], geometry).transpose(2, 1, 0)
        volume = seg.get_volume()
        if (np.linalg.inv(volume.affine) @ (np.diag([-1, -1, 1, 1]) @ geometry.affine))[0, 2] < 0:
            stored = stored[::-1]
        assert np.abs(found - stored).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("placed", [True, False])
def test_a_picture_has_a_segmentation_of_one_frame(tmp_path, placed):
    write_series(tmp_path / "cr", rng.integers(0, 1000, (1, 12, 9)).astype(float))
    file = next((tmp_path / "cr").iterdir())
    if not placed:
        dataset = pydicom.dcmread(file)
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PatientName"):
            delattr(dataset, name)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
        dataset.save_as(file)
    geometry = read_series(file)[1]
    labels = rng.integers(0, 4, geometry.shape).astype(np.uint8)
    path = write_dicom_seg(tmp_path / "out.dcm", file, CLASSES, labels=labels, geometry=geometry, made_by="m")
    frames = pydicom.dcmread(path).pixel_array
    assert (frames == np.stack([labels == k for k in (1, 2, 3)])).all()


def test_what_is_no_dicom_or_has_changed_is_refused(tmp_path):
    _, geometry = series(tmp_path / "ct")
    labels = np.zeros(geometry.shape, np.uint8)
    write = {"labels": labels, "geometry": geometry, "made_by": "m"}
    with pytest.raises(OutputError, match="a DICOM image expected"):
        picture = {**write, "geometry": Geometry(geometry.shape, geometry.spacing)}
        write_dicom_seg(tmp_path / "o.dcm", tmp_path / "ct", CLASSES, **picture)
    sorted((tmp_path / "ct").iterdir())[0].unlink()
    with pytest.raises(OutputError, match=r"4 slices .* found .* 5 of"):
        write_dicom_seg(tmp_path / "o.dcm", tmp_path / "ct", CLASSES, **write)
    assert not (tmp_path / "o.dcm").exists()


def test_a_series_without_study_is_refused_without_quoting_it(tmp_path):
    _, geometry = series(tmp_path / "ct")
    for file in (tmp_path / "ct").iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.StudyInstanceUID
        dataset.save_as(file)
    with pytest.raises(OutputError, match="without StudyInstanceUID") as caught:
        write_dicom_seg(
            tmp_path / "o.dcm", tmp_path / "ct", CLASSES, labels=np.zeros(geometry.shape, np.uint8), geometry=geometry,
            made_by="m",
        )  # fmt: skip
    assert "SECRET" not in str(caught.value).upper()


def test_two_series_in_a_folder_are_told_apart_by_the_file(tmp_path):
    series(tmp_path / "ct")
    file = sorted((tmp_path / "ct").iterdir())[0]
    write_series(tmp_path / "ct", np.zeros((3, 4, 4)), suffix=".other", series=generate_uid())
    geometry = read_series(file)[1]
    labels = np.ones(geometry.shape, np.uint8)
    path = write_dicom_seg(tmp_path / "o.dcm", file, CLASSES, labels=labels, geometry=geometry, made_by="m")
    assert hd.seg.segread(path).get_volume().spatial_shape == (5, 12, 9)
