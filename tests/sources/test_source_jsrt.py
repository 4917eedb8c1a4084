"""JSRT: raw files with dark bones, masks of structures that overlap."""

import re
import shutil

import numpy as np
import pytest
import torch

from fake_data.raw.jsrt import SIDE, write
from umanet.data.images import read_case
from umanet.data.sources.jsrt import index, read_radiograph
from umanet.errors import DatasetError, ImageError


def test_masks_are_the_truth_and_bones_are_bright(tmp_path):
    found = index(write(tmp_path / "raw"), tmp_path / "files")
    assert found.annotators == () and len(found.cases) == 12
    sample = read_case(found.cases[0], found)
    assert sample.truth is not None and sample.image.shape == (1, SIDE, SIDE)
    lung, heart, clavicle = (sample.image[0][sample.truth == k].mean() for k in (1, 2, 3))
    assert clavicle > lung + 500 and heart > lung + 500


def test_clavicles_win_over_lungs(tmp_path):
    found = index(write(tmp_path / "raw"), tmp_path / "files")
    truth = read_case(found.cases[0], found).truth
    assert truth is not None and truth.unique().tolist() == [0, 1, 2, 3]


def test_an_annotator_has_the_same_label_maps(tmp_path):
    root = write(tmp_path / "raw")
    truth = index(root, tmp_path / "files")
    drawn = index(root, tmp_path / "other", drawn_as="annotator", split_by_fold=True)
    a, b = read_case(truth.cases[3], truth), read_case(drawn.cases[3], drawn)
    assert a.truth is not None and torch.equal(a.truth, b.annotations[0])
    assert {case.id: case.split for case in drawn.cases if case.id.startswith("JPCLN")} == {
        f"JPCLN{number:03}": (None if number % 2 else "test") for number in range(1, 7)
    }


def test_squares_of_pixels_are_averaged(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    np.array([[0, 2, 4095, 4095], [4, 6, 4095, 4095], [1, 1, 9, 9], [1, 1, 9, 9]], ">u2").tofile(path)
    assert read_radiograph(path, 2).tolist() == [[4092, 0], [4094, 4086]]


def test_a_half_download_and_another_byte_order_are_refused(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    np.zeros(3 * SIDE**2, ">u2").tofile(path)
    with pytest.raises(ImageError, match=r"8388608 \(2048 x 2048 pixels of 2 bytes\) expected"):
        read_radiograph(path, SIDE)
    np.full(SIDE**2, 1000, "<u2").tofile(path)
    with pytest.raises(ImageError, match="0 to 4095 in big-endian order expected"):
        read_radiograph(path, SIDE)


def test_faults_are_named_with_their_image(tmp_path, caplog):
    root = write(tmp_path / "raw")
    (root / "scr/scratch/fold1/masks/heart/JPCLN001.gif").unlink()
    (root / "All247images/JPCLN002.IMG").unlink()
    with pytest.raises(DatasetError, match="2 faults found"):
        index(root, tmp_path / "files")
    assert "JPCLN001: No mask of heart found" in caplog.text
    assert "JPCLN002: Masks without image found" in caplog.text
    assert len(index(root, tmp_path / "other", leave_out=True).cases) == 10


def test_two_files_of_one_name_are_refused(tmp_path, caplog):
    root = write(tmp_path / "raw")
    (root / "copy/left lung").mkdir(parents=True)
    shutil.copy(root / "All247images/JPCLN003.IMG", root / "copy/jpcln003.img")
    shutil.copy(root / "scr/scratch/fold2/masks/heart/JPCLN004.gif", root / "copy/left lung/JPCLN004.gif")
    with pytest.raises(DatasetError, match="faults found"):
        index(root, tmp_path / "files")
    assert re.search(r"JPCLN003: .*JPCLN003\.IMG and .*jpcln003\.img found, one of them expected", caplog.text)
    assert "JPCLN004, left lung: " in caplog.text
    left = {case.id for case in index(root, tmp_path / "other", leave_out=True).cases}
    assert len(left) == 10 and not left & {"JPCLN003", "JPCLN004"}


def test_images_alone_are_refused(tmp_path):
    root = write(tmp_path / "raw")
    with pytest.raises(DatasetError, match=r"No mask found in .* Unpack SCR"):
        index(root / "All247images", tmp_path / "files")
