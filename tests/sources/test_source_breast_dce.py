"""MAMA-MIA: phases, subtractions, official test cases, and what a partial or broken download says."""

import logging
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fake_data.raw.breast_dce import CASES, TEST, write
from umanet.data.images import read_case
from umanet.data.sources.breast_dce import index
from umanet.errors import ConfigError, DatasetError


@pytest.fixture
def raw(tmp_path) -> Path:
    return write(tmp_path / "raw")


def test_phases_and_their_difference_are_channels(raw, tmp_path):
    found = index(raw, files=tmp_path / "files")
    assert found.channels == ("phase0", "phase1", "phase1-phase0")
    assert [case.id for case in found.cases] == list(CASES)
    sample = read_case(found.cases[0], found)
    assert np.allclose(sample.image[2], sample.image[1] - sample.image[0])
    assert float(sample.image[2].min()) < 0
    inside = sample.annotations[found.annotators.index("expert")] == 1
    assert sample.image[2][inside].mean() > 150 > 50 > sample.image[2][~inside].mean()
    written = nib.load(tmp_path / "files" / "images" / "DUKE_001_phase1-phase0.nii.gz")
    phase = nib.load(found.cases[0].image[1])
    assert written.get_data_dtype() == np.int16
    assert np.allclose(written.affine, phase.affine) and written.shape == phase.shape


def test_the_official_test_cases_stay_and_every_case_is_a_patient(raw, tmp_path):
    found = index(raw, files=tmp_path / "files", channels=("1",))
    assert {case.id for case in found.cases if case.split == "test"} == set(TEST)
    assert {case.split for case in found.cases if case.id not in TEST} == {None}
    assert {case.patient for case in found.cases} == set(CASES)
    assert not (tmp_path / "files").exists()


def test_a_case_that_lacks_a_phase_is_named_and_may_be_left_out(raw, tmp_path):
    with pytest.raises(DatasetError, match="faults found in the raw data"):
        index(raw, files=tmp_path / "files", channels=("phase2-phase0",))
    found = index(raw, files=tmp_path / "files", channels=("phase2-phase0",), leave_out=True)
    assert found.channels == ("phase2-phase0",)
    assert 0 < len(found.cases) < len(CASES)


def test_a_missing_phase_is_said_with_those_that_are_there(raw, tmp_path, caplog):
    (raw / "images" / "NACT_01" / "nact_01_0001.nii.gz").unlink()
    with caplog.at_level(logging.WARNING, "umanet"), pytest.raises(DatasetError):
        index(raw, files=tmp_path / "files")
    assert "NACT_01: Phases 0, 2, 3 found, 1 expected too" in caplog.text


def test_an_annotation_without_image_is_refused(raw, tmp_path, caplog):
    (raw / "segmentations" / "expert" / "duke_001.nii.gz").rename(raw / "segmentations" / "expert" / "duke_999.nii.gz")
    with caplog.at_level(logging.WARNING, "umanet"), pytest.raises(DatasetError, match="1 fault found"):
        index(raw, files=tmp_path / "files")
    assert "duke_999 by expert: An annotation without image found" in caplog.text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("images/DUKE_001/duke_001_0000.nii.gz", "DUKE_001_0000.nii"),
        ("segmentations/expert/duke_001.nii.gz", "duke_001.nii"),
    ],
)
def test_two_files_of_one_phase_or_annotation_are_refused(raw, tmp_path, caplog, first, second):
    (raw / first).with_name(second).write_bytes(b"another")
    (raw / "images" / CASES[-1]).rename(raw / "images" / CASES[-1].swapcase())
    (raw / "images" / CASES[-1]).mkdir()
    with pytest.raises(DatasetError, match="faults found"):
        index(raw, files=tmp_path / "files")
    assert re.search(f"{second}.* found, one expected", caplog.text)
    assert f"{CASES[-1]} and {CASES[-1].swapcase()} found, one expected" in caplog.text
    found = index(raw, files=tmp_path / "other", leave_out=True)
    assert CASES[-1] not in [case.id for case in found.cases]
    if "images" in first:
        assert "DUKE_001" not in [case.id for case in found.cases]
    else:
        assert "expert" not in next(case for case in found.cases if case.id == "DUKE_001").annotations


def test_a_partial_download_is_counted_and_images_alone_are_imported(raw, tmp_path, caplog):
    (raw / "segmentations").rename(tmp_path / "elsewhere")
    (raw / "images" / "DUKE_019").rename(tmp_path / "DUKE_019")
    with caplog.at_level(logging.WARNING, "umanet"):
        found = index(raw, files=tmp_path / "files", channels=("1-0",))
    assert found.annotators == () and len(found.cases) == len(CASES) - 1
    assert "1 case of train_test_splits.csv without images." in caplog.text
    assert "the cases have no annotations" in caplog.text


def test_a_renamed_folder_of_annotations_is_named(raw, tmp_path, caplog):
    (raw / "segmentations" / "expert").rename(raw / "segmentations" / "experts")
    with caplog.at_level(logging.WARNING, "umanet"):
        found = index(raw, files=tmp_path / "files", channels=("1",))
    assert found.annotators == ("automatic",)
    assert "Folder experts passed over" in caplog.text and "Folder expert not found" in caplog.text


def test_a_file_of_another_case_is_passed_over_and_said(raw, tmp_path, caplog):
    folder = raw / "images" / "NACT_01"
    (folder / "nact_01_0000.nii.gz").rename(folder / "nact_99_0000.nii.gz")
    with caplog.at_level(logging.WARNING, "umanet"):
        index(raw, files=tmp_path / "files", channels=("1",))
    assert "no phase of their case: 1 file" in caplog.text and "nact_99_0000.nii.gz" in caplog.text


def test_phases_on_different_grids_are_not_subtracted(raw, tmp_path, caplog):
    path = raw / "images" / "DUKE_002" / "duke_002_0001.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[:-1], image.affine, image.header), path)
    with caplog.at_level(logging.WARNING, "umanet"), pytest.raises(DatasetError):
        index(raw, files=tmp_path / "files")
    assert "DUKE_002: shape" in caplog.text and "the same grid expected" in caplog.text


@pytest.mark.parametrize("channels", [("first",), ("1-1",), ("0", "0"), ()])
def test_channels_that_are_none_are_refused(raw, tmp_path, channels):
    with pytest.raises(ConfigError, match="--channels"):
        index(raw, files=tmp_path / "files", channels=channels)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("train,test\nDUKE_001,DUKE_002\n", "train, test found, the columns train_split and test_split expected"),
        ("train_split,test_split\nDUKE_001,duke_001\n", "'duke_001' found in both splits"),
    ],
)
def test_a_split_file_of_another_form_is_refused(raw, tmp_path, content, words):
    (raw / "train_test_splits.csv").write_text(content)
    with pytest.raises(DatasetError, match=words):
        index(raw, files=tmp_path / "files")
