"""CURVAS: splits from folders, two editions told apart, cases that lack a file."""

import numpy as np
import pytest

from fake_data.raw.curvas import write, write_case
from umanet.data.images import read_case
from umanet.data.sources.curvas import index
from umanet.errors import DatasetError


def test_splits_are_those_of_the_folders(tmp_path):
    found = index(write(tmp_path / "raw"))
    assert [case.split for case in found.cases if case.split] == ["test"] * 2 + ["validation"] * 2
    assert found.name == "CURVAS 2024" and [c.name for c in found.classes][1:] == ["pancreas", "kidney", "liver"]
    assert read_case(found.cases[0], found).annotations.unique().tolist() == [0, 1, 2, 3]


def test_a_folder_in_one_of_its_own_name_is_that_split(tmp_path):
    write_case(tmp_path / "testing_set/testing_set/UKCHLL001", np.random.default_rng(0))
    assert index(tmp_path / "testing_set").cases[0].split == "test"


def test_five_annotators_are_the_second_edition(tmp_path):
    write_case(tmp_path / "raw/case1", np.random.default_rng(0), annotators=5, classes=1)
    found = index(tmp_path / "raw")
    assert found.name == "CURVAS 2025" and len(found.annotators) == 5
    assert [c.name for c in found.classes] == ["background", "pdac"]
    with pytest.raises(DatasetError, match=r"annotation_5.nii.gz found .* Mend --edition"):
        index(tmp_path / "raw", edition="2024")


def test_a_case_without_image_is_refused_or_left_out(tmp_path, caplog):
    root = write(tmp_path / "raw")
    (root / "training_set/UKCHLL002/image.nii.gz").unlink()
    with pytest.raises(DatasetError, match="1 fault found"):
        index(root)
    assert "UKCHLL002: No image.nii.gz found" in caplog.text
    assert len(index(root, leave_out=True).cases) == 9


def test_a_missing_annotation_is_an_absent_annotator(tmp_path):
    root = write(tmp_path / "raw")
    (root / "training_set/UKCHLL002/annotation_2.nii.gz").unlink()
    found = index(root)
    case = next(case for case in found.cases if case.id == "UKCHLL002")
    assert read_case(case, found).present.tolist() == [True, False, True]


def test_the_same_case_twice_is_refused(tmp_path):
    root = write(tmp_path / "raw")
    write_case(root / "copy/UKCHLL001", np.random.default_rng(0))
    with pytest.raises(DatasetError, match="Case UKCHLL001 found in"):
        index(root)
