"""DICOM series with SEG and RTSTRUCT: every voxel at its place, every fault named, no tag of a person anywhere."""

import gzip
import json
import logging
import re
import shutil

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from fake_data.dicom import OBLIQUE, write_series
from fake_data.dicom_annotations import in_patient, square, write_rtstruct, write_seg
from fake_data.raw.dicom import write
from umanet.cli.classes import parse_class_names
from umanet.data.dicom import read_series
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition, write_index
from umanet.data.sources.dicom import index
from umanet.errors import ConfigError, DatasetError
from umanet.inference.dicom_seg import write_dicom_seg

rng = np.random.default_rng(0)
SHAPE = (6, 12, 10)


def patient(root, name="P1", shape=SHAPE, **options):
    """A patient with a series whose every voxel has a value of its own: places can be found again by value."""
    values = np.arange(np.prod(shape), dtype=float).reshape(shape) - 1000
    return values, write_series(root / name / "ct", values, **options)


def drawn(found, case=0, annotator="anna"):
    """The labels in the order of the slices as written, found by the values of the image."""
    sample = read_case(found.cases[case], found)
    labels = sample.annotations[found.annotators.index(annotator)].numpy().ravel()
    return labels[np.argsort(sample.image[0].numpy().ravel())].reshape(SHAPE)


def test_sparse_and_shuffled_frames_lie_where_they_say(tmp_path):
    _, datasets = patient(tmp_path / "raw")
    mass, node = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    mass[[1, 4]] = rng.random((2, *SHAPE[1:])) > 0.5
    node[3] = rng.random(SHAPE[1:]) > 0.5
    write_seg(tmp_path / "raw/P1/anna.dcm", datasets, {"Mass": mass, "node": node})
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert [c.name for c in found.classes] == ["background", "Mass", "node"]
    assert found.classes[1].code == "SCT:4147007:Mass"
    assert (drawn(found) == mass + 2 * node).all()
    assert found.cases[0].annotations["anna"] == tmp_path / "files/annotations/anna/P1.nii.gz"


@pytest.mark.parametrize("written", [(0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0), OBLIQUE])
def test_any_orientation_of_the_series_is_kept(tmp_path, written):
    _, datasets = patient(tmp_path / "raw", orientation=tuple(map(float, written)))
    mass = rng.random(SHAPE) > 0.5
    write_seg(tmp_path / "raw/P1/anna.dcm", datasets, {"mass": mass})
    write_rtstruct(tmp_path / "raw/P1/ben.dcm", datasets, {"mass": [square(datasets[2], 1.5, 6.5)]})
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert (drawn(found) == mass).all()
    box = np.zeros(SHAPE, bool)
    box[2, 2:7, 2:7] = True
    assert (drawn(found, annotator="ben") == box).all()


def test_fractions_of_a_half_and_more_belong_to_the_segment(tmp_path, caplog):
    _, datasets = patient(tmp_path / "raw")
    mass = rng.random(SHAPE).astype(np.float32)
    write_seg(tmp_path / "raw/P1/anna.dcm", datasets, {"mass": mass}, fractional=True)
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert (drawn(found) == (np.rint(mass * 255) >= 127.5)).all()
    assert "with 0.5 or more" in caplog.text


def test_our_own_segmentation_comes_back_voxel_by_voxel(tmp_path):
    patient(tmp_path / "raw")
    geometry = read_series(tmp_path / "raw/P1/ct")[1]
    classes = [ClassDefinition(name=n, values=(k,)) for k, n in enumerate(["background", "mass", "node"])]
    labels = rng.integers(0, 3, geometry.shape).astype(np.uint8)
    path = tmp_path / "raw/P1/anna.dcm"
    write_dicom_seg(path, tmp_path / "raw/P1/ct", classes, labels=labels, geometry=geometry, made_by="m")
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert (read_case(found.cases[0], found).annotations[0].numpy() == labels).all()


def test_a_contour_inside_another_and_a_keyhole_are_holes(tmp_path):
    _, datasets = patient(tmp_path / "raw")
    inside = [square(datasets[2], 0.5, 8.5), square(datasets[2], 2.5, 5.5)]
    outer = [(0.5, 0.5), (8.5, 0.5), (8.5, 8.5), (0.5, 8.5)]
    keyhole = [*outer, outer[0], (2.5, 2.5), (2.5, 5.5), (5.5, 5.5), (5.5, 2.5), (2.5, 2.5), outer[0]]
    keyhole = [in_patient(datasets[3], np.array(keyhole))]
    write_rtstruct(tmp_path / "raw/P1/anna.dcm", datasets, {"mass": [*inside, *keyhole]})
    expected = np.zeros(SHAPE, bool)
    expected[2:4, 1:9, 1:9] = True
    expected[2:4, 3:6, 3:6] = False
    assert (drawn(index(tmp_path / "raw", files=tmp_path / "files")) == expected).all()


def test_names_map_to_classes_and_the_last_class_wins_an_overlap(tmp_path, caplog):
    _, datasets = patient(tmp_path / "raw")
    mass = np.ones(SHAPE, bool)
    core = mass.copy()
    core[:, 2:] = False
    write_seg(tmp_path / "raw/P1/anna.dcm", datasets, {"GTV-1": mass, "Core": core, "skin": mass, "BODY": mass})
    classes = parse_class_names(("background=body", "tumour=gtv,gtv-1", "core"))
    found = index(tmp_path / "raw", files=tmp_path / "files", classes=classes)
    assert [c.name for c in found.classes] == ["background", "tumour", "core"]
    assert (drawn(found) == mass + 1 * core).all()
    assert f"P1, anna: {core.sum()} voxels in several classes" in caplog.text
    assert "In no class, so background: skin." in caplog.text


def test_what_an_annotator_never_drew_is_said_and_a_structure_set_takes_no_code_away(tmp_path, caplog):
    _, datasets = patient(tmp_path / "raw")
    mass = np.ones(SHAPE, bool)
    write_seg(tmp_path / "raw/P1/anna.dcm", datasets, {"Mass": mass, "node": mass})
    write_rtstruct(tmp_path / "raw/P1/ben.dcm", datasets, {"mass": [square(datasets[2], 1.5, 6.5)]})
    found = index(tmp_path / "raw", files=tmp_path / "files")
    assert found.classes[1].code == "SCT:4147007:Mass" and found.channels == ("CT",)
    assert "ben never drew node: taken for background." in caplog.text and "--annotator-classes ben=" in caplog.text
    assert "anna never drew" not in caplog.text


def test_annotators_are_folders_files_or_what_the_pattern_says(tmp_path):
    _, datasets = patient(tmp_path / "raw")
    mass = {"mass": np.ones(SHAPE, bool)}
    write_seg(tmp_path / "raw/P1/anna/1-1.dcm", datasets, mass)
    write_seg(tmp_path / "raw/P1/ben/1-1.dcm", datasets, mass)
    assert index(tmp_path / "raw", files=tmp_path / "1").annotators == ("anna", "ben")
    write_seg(tmp_path / "raw/P1/ben/carl", datasets, mass)
    assert index(tmp_path / "raw", files=tmp_path / "2").annotators == ("1-1", "carl")
    pattern = r"^(?P<annotator>\w+)/"
    assert index(tmp_path / "raw", files=tmp_path / "3", annotator_pattern=pattern).annotators == ("anna", "ben")
    with pytest.raises(DatasetError, match="named group"):
        index(tmp_path / "raw", files=tmp_path / "4", annotator_pattern="x")


def test_several_series_of_a_patient_are_cases_of_one_patient(tmp_path):
    root = tmp_path / "raw"
    for name in ("first", "second"):
        datasets = write_series(root / "P1" / name, np.zeros(SHAPE))
        write_seg(root / "P1" / f"a_{name}.dcm", datasets, {"mass": np.ones(SHAPE, bool)})
    write_series(root / "P1" / "localizer", np.zeros((1, 8, 8)))
    found = index(root, files=tmp_path / "files", annotator_pattern="(?P<annotator>a)_")
    assert [(c.id, c.patient) for c in found.cases] == [("P1_first", "P1"), ("P1_second", "P1")]


def test_two_series_in_a_folder_are_two_cases(tmp_path):
    root = tmp_path / "raw"
    for number, suffix in enumerate((".a", ".b")):
        datasets = write_series(root / "P1/ct", np.full(SHAPE, 1.0 * number), suffix=suffix)
        write_seg(root / f"P1/s{number}/anna.dcm", datasets, {"mass": np.full(SHAPE, number, bool)})
    found = index(root, files=tmp_path / "files", annotator_pattern="(?P<annotator>anna)")
    assert [c.id for c in found.cases] == ["P1_1", "P1_2"]
    for case in found.cases:
        sample = read_case(case, found)
        assert (sample.image[0] == sample.annotations[0]).all()


def test_new_images_need_classes_only(tmp_path):
    patient(tmp_path / "raw")
    with pytest.raises(DatasetError, match="No SEG and no RTSTRUCT found"):
        index(tmp_path / "raw", files=tmp_path / "files")
    found = index(tmp_path / "raw", files=tmp_path / "files", classes={"mass": ["mass"]})
    assert [c.id for c in found.cases] == ["P1"] and found.annotators == ()


def without_frame(root, datasets):
    path = root / "P1/bad.dcm"
    seg = write_seg(path, datasets, {"mass": np.ones(SHAPE, bool)})
    del seg.FrameOfReferenceUID
    seg.save_as(path)


def other_frame(root, datasets):
    path = root / "P1/bad.dcm"
    seg = write_seg(path, datasets, {"mass": np.ones(SHAPE, bool)})
    seg.FrameOfReferenceUID = generate_uid()
    seg.save_as(path)


def between_slices(root, datasets):
    path = root / "P1/bad.dcm"
    seg = write_seg(path, datasets, {"mass": np.ones(SHAPE, bool)})
    for group in seg.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [*place.ImagePositionPatient[:2], place.ImagePositionPatient[2] + 1.2]
    seg.save_as(path)


def outside(root, datasets):
    path = root / "P1/bad.dcm"
    seg = write_seg(path, datasets, {"mass": np.ones(SHAPE, bool)})
    for group in seg.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [*place.ImagePositionPatient[:2], place.ImagePositionPatient[2] + 2.5]
    seg.save_as(path)


def other_series(root, datasets):
    other = write_series(root.parent / "elsewhere", np.zeros(SHAPE))
    write_seg(root / "P1/bad.dcm", other, {"mass": np.ones(SHAPE, bool)})


def truncated(root, datasets):
    path = root / "P1/bad.dcm"
    write_seg(path, datasets, {"mass": np.ones(SHAPE, bool)})
    path.write_bytes(path.read_bytes()[:-40])


def truncated_early(root, datasets):
    path = root / "P1/bad.dcm"
    write_seg(path, datasets, {"mass": np.ones(SHAPE, bool)})
    path.write_bytes(path.read_bytes()[:700])


def truncated_contours(root, datasets):
    path = root / "P1/bad.dcm"
    write_rtstruct(path, datasets, {"mass": [square(datasets[1], 1, 4)]})
    path.write_bytes(path.read_bytes()[:-80])


def contour_above(root, datasets):
    points = square(datasets[5], 1, 4) + [0, 0, 10]
    write_rtstruct(root / "P1/bad.dcm", datasets, {"mass": [points]})


def contour_aside(root, datasets):
    write_rtstruct(root / "P1/bad.dcm", datasets, {"mass": [square(datasets[1], 1, 40)]})


def contour_across(root, datasets):
    points = square(datasets[1], 1, 4)
    points[2, 2] += 5
    write_rtstruct(root / "P1/bad.dcm", datasets, {"mass": [points]})


def points_only(root, datasets):
    contours = {"mass": [square(datasets[1], 1, 4)]}
    write_rtstruct(root / "P1/bad.dcm", datasets, contours, kind="OPEN_PLANAR")


FAULTS = {
    without_frame: "No frame of reference found",
    other_frame: "not the image's",
    between_slices: "off the image's grid",
    outside: "voxels outside of the image",
    other_series: "0 image series that it refers to",
    truncated: "truncated",
    truncated_early: "truncated",
    truncated_contours: "truncated|numbers found",
    contour_above: "above or below the image",
    contour_aside: "leaves the image at the side",
    contour_across: "through several slices",
    points_only: "enclose nothing",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_cannot_be_used_is_named_and_left_out_on_request(tmp_path, caplog, fault):
    root = tmp_path / "raw"
    _, datasets = patient(root)
    good = np.zeros(SHAPE, bool)
    good[2] = True
    write_seg(root / "P1/anna.dcm", datasets, {"mass": good})
    fault(root, datasets)
    with pytest.raises(DatasetError, match="--leave-out"):
        index(root, files=tmp_path / "1")
    assert re.search(FAULTS[fault], caplog.text) and "SECRET" not in caplog.text.upper()
    found = index(root, files=tmp_path / "2", leave_out=True)
    assert (drawn(found) == good).all()
    bad = found.cases[0].annotations.get("bad")
    assert (bad is not None) == (fault is points_only)


def test_a_missing_slice_makes_a_case_unusable(tmp_path, caplog):
    root = tmp_path / "raw"
    for name in ("P1", "P2"):
        _, datasets = patient(root, name)
        write_seg(root / name / "anna.dcm", datasets, {"mass": np.ones(SHAPE, bool)})
    written = {f.name: pydicom.dcmread(f).ImagePositionPatient[2] for f in (root / "P1/ct").iterdir()}
    (root / "P1/ct" / sorted(written, key=lambda name: written[name])[2]).unlink()
    assert [c.id for c in index(root, files=tmp_path / "files", leave_out=True).cases] == ["P2"]
    assert "P1: " in caplog.text and "no regular volume" in caplog.text


def test_a_series_in_parts_is_named_and_a_copy_of_it_is_not_twice(tmp_path, caplog):
    root = tmp_path / "raw"
    _, datasets = patient(root)
    write_seg(root / "P1/anna.dcm", datasets, {"mass": np.ones(SHAPE, bool)})
    shutil.copytree(root / "P1/ct", root / "P1/ct2")
    assert [c.id for c in index(root, files=tmp_path / "1").cases] == ["P1"]
    next((root / "P1/ct2").iterdir()).unlink()
    with pytest.raises(DatasetError):
        index(root, files=tmp_path / "2")
    assert "in parts in 2 folders" in caplog.text


def test_no_tag_of_a_person_is_written_or_said(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "umanet")
    found = index(write(tmp_path / "raw"), files=tmp_path / "files")
    write_index(found, tmp_path / "dataset.json")
    texts = [caplog.text.encode(), (tmp_path / "dataset.json").read_bytes()]
    texts += [gzip.decompress(path.read_bytes()) for path in (tmp_path / "files").rglob("*.nii.gz")]
    assert len(texts) == 2 + 8 + 4
    for text in texts:
        assert not any(word in text.upper() for word in (b"SECRET", b"19700101", b"20200102"))
    assert json.loads((tmp_path / "dataset.json").read_text())["annotators"] == ["anna", "ben"]


@pytest.mark.parametrize("text", ["=GTV", "mass=", "mass=a,A"])
def test_bad_class_names_are_refused(text):
    with pytest.raises(ConfigError, match="--classes"):
        parse_class_names((text, "other=b") if text != "mass=a,A" else ("mass=a", "other=A"))
