"""CHASE_DB1: eyes of a child stay together, and files may lie in folders."""

import re
import shutil

import pytest

from fake_data.raw.chase_db1 import write
from umanet.data.sources.chase_db1 import index
from umanet.errors import DatasetError


def test_both_eyes_are_cases_of_one_child(tmp_path):
    found = index(write(tmp_path / "raw"))
    assert found.annotators == ("observer1", "observer2")
    assert [(case.id, case.patient) for case in found.cases[:3]] == [
        ("Image_01L", "01"),
        ("Image_01R", "01"),
        ("Image_02L", "02"),
    ]


def test_sorted_into_folders_it_is_the_same(tmp_path):
    root = write(tmp_path / "raw")
    before = index(root)
    for path in sorted(root.glob("*HO.png")):
        folder = root / "annotations" / path.stem[-5:]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    after = index(root)
    assert [c.id for c in after.cases] == [c.id for c in before.cases]
    assert all(set(c.annotations) == {"observer1", "observer2"} for c in after.cases)


def test_an_annotation_without_image_is_refused_or_left_out(tmp_path, caplog):
    root = write(tmp_path / "raw")
    (root / "Image_02R.jpg").unlink()
    with pytest.raises(DatasetError, match="1 fault found"):
        index(root)
    assert "Image_02R: Annotations without image found" in caplog.text
    assert len(index(root, leave_out=True).cases) == 11


def test_two_files_of_one_name_are_refused(tmp_path, caplog):
    root = write(tmp_path / "raw")
    (root / "copy").mkdir()
    shutil.copy(root / "Image_01L.jpg", root / "copy" / "Image_01L.jpg")
    shutil.copy(root / "Image_02L_1stHO.png", root / "copy" / "Image_02L_1stHO.png")
    with pytest.raises(DatasetError, match="3 faults found"):
        index(root)
    assert re.search(r"Image_01L: .*Image_01L\.jpg and .*Image_01L\.jpg found, one of them expected", caplog.text)
    cases = {case.id: case for case in index(root, leave_out=True).cases}
    assert "Image_01L" not in cases and list(cases["Image_02L"].annotations) == ["observer2"]


def test_the_real_files_are_read(data_root):
    found = index(data_root / "chase-db1")
    assert (len(found.cases), len({case.patient for case in found.cases})) == (28, 14)
    assert all(len(case.annotations) == 2 for case in found.cases)
