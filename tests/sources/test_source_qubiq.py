"""QUBIQ: channels of brain tumours, gaps of the official files, and tasks as classes."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from fake_data.raw.qubiq import write
from umanet.data.images import read_case
from umanet.data.sources.qubiq import index, nested_labels
from umanet.errors import DatasetError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write(tmp_path_factory.mktemp("qubiq") / "raw")


def test_validation_is_the_test_split_and_training_is_split_later(raw, tmp_path):
    found = index(raw, tmp_path / "files", dataset="kidney")
    assert [case.split for case in found.cases] == [None] * 8 + ["test"] * 2
    assert found.cases[0].id == "Training_case01" and len({case.id for case in found.cases}) == 10
    assert not (tmp_path / "files").exists()


def test_a_folder_of_one_data_set_needs_no_flag(raw, tmp_path):
    assert index(raw / "kidney", tmp_path / "files").name == "QUBIQ kidney"


def test_training_and_validation_may_lie_in_two_unpacked_archives(raw, tmp_path):
    for archive, part in (("training_data_v3", "Training"), ("validation_data", "Validation")):
        target = tmp_path / archive / "kidney" / part
        target.parent.mkdir(parents=True)
        target.symlink_to(raw / "kidney" / part)
    # rglob does not follow links: the folders above them are real.
    assert len(index(tmp_path, tmp_path / "files", dataset="kidney").cases) == 10


@pytest.mark.parametrize("first", [False, True])
def test_channels_along_an_axis_become_channels(raw, tmp_path, first):
    root = tmp_path / "brain-tumor"
    shutil.copytree(raw / "brain-tumor", root)
    path = root / "Training/case02/image.nii.gz"
    stored = nib.load(path).get_fdata()
    if first:
        nib.save(nib.Nifti1Image(np.moveaxis(stored, 2, 0), np.eye(4)), path)
    found = index(root, tmp_path / "files", task="1")
    sample = read_case(found.cases[1], found)
    assert sample.image.shape == (4, 40, 44) and len(found.channels) == 4
    assert np.allclose(sample.image.numpy(), np.moveaxis(stored, 2, 0), atol=1e-3)


def test_a_case_of_five_annotators_is_kept(raw, tmp_path):
    found = index(raw, tmp_path / "files", dataset="prostate", task="2")
    assert len(found.annotators) == 6 and len(found.cases[1].annotations) == 5
    assert read_case(found.cases[1], found).present.tolist() == [True] * 5 + [False]


def test_empty_annotations_are_kept(raw, tmp_path):
    found = index(raw, tmp_path / "files", dataset="brain-tumor", task="3")
    sample = read_case(found.cases[0], found)
    assert sample.present.all() and not sample.annotations.any()


def test_all_tasks_are_nested_classes(raw, tmp_path):
    found = index(raw, tmp_path / "files", dataset="brain-tumor", task="all")
    sample = read_case(found.cases[1], found)
    assert [c.name for c in found.classes] == ["background", "task01", "task02", "task03"]
    assert sample.annotations[0].unique().tolist() == [0, 1, 2, 3]


def test_where_a_missing_task_may_lie_voxels_are_ignored():
    outer, inner = np.array([False, True, True, True]), np.array([False, False, False, True])
    assert nested_labels([outer, None], (4,)).tolist() == [0, 255, 255, 255]
    assert nested_labels([None, inner], (4,)).tolist() == [255, 255, 255, 2]
    assert nested_labels([outer, None, inner], (4,)).tolist() == [0, 255, 255, 3]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "kidney, prostate found in .* Choose it with --dataset"),
        ({"dataset": "prostat"}, "Data set 'prostat' found, .* Did you mean 'prostate'"),
        ({"dataset": "pancreas"}, "the folder pancreas expected"),
        ({"dataset": "prostate"}, "Tasks 1, 2 found in prostate, one expected. Choose it with --task"),
        ({"dataset": "prostate", "task": "3"}, "Task '3' found, one of 1, 2 or all expected"),
    ],
)
def test_what_is_not_there_is_named(raw, tmp_path, flags, message):
    with pytest.raises(DatasetError, match=message):
        index(raw, tmp_path / "files", **flags)


def test_a_renamed_folder_is_named(tmp_path):
    root = write(tmp_path / "raw", training=2, validation=1)
    (root / "kidney/Training").rename(root / "kidney/training")
    with pytest.raises(DatasetError, match=r"Folder 'training' found in .* Did you mean 'Training'"):
        index(root, tmp_path / "files", dataset="kidney")


def test_two_files_of_one_annotation_are_refused(tmp_path, caplog):
    root = write(tmp_path / "raw")
    path = root / "kidney/Training/case01/task01_seg02.nii.gz"
    shutil.copy(path, path.with_name("task1_seg2.nii.gz"))
    with pytest.raises(DatasetError, match="1 fault found"):
        index(root, tmp_path / "files", dataset="kidney")
    assert "Training_case01, 1, 2: " in caplog.text and "task1_seg2.nii.gz found, one of them expected" in caplog.text


def test_a_case_without_image_is_refused_or_left_out(tmp_path, caplog):
    root = write(tmp_path / "raw", training=2, validation=1)
    (root / "kidney/Training/case01/image.nii.gz").unlink()
    with pytest.raises(DatasetError, match="1 fault found"):
        index(root, tmp_path / "files", dataset="kidney")
    assert "Training_case01: No image.nii.gz found" in caplog.text
    assert len(index(root, tmp_path / "files", dataset="kidney", leave_out=True).cases) == 2
