"""DICOM series are volumes in the patient's space, whatever their files are called."""

import sys
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.uid import HTJ2K, JPEGLSLossless, RLELossless

from fake_data.dicom import OBLIQUE, write_series
from umanet.data.dicom import read_series
from umanet.data.geometry import ras_affine
from umanet.errors import GeometryError, ImageError

rng = np.random.default_rng(0)


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_a_voxel_has_its_value_at_its_place(tmp_path, suffix):
    values = rng.integers(-1000, 1000, (5, 6, 7)).astype(float)
    write_series(tmp_path, values, suffix=suffix)
    read, geometry = read_series(tmp_path)
    affine = ras_affine(geometry)
    assert affine is not None and read.shape == (1, *geometry.shape)
    row, column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    for s, i, j in [(0, 0, 0), (4, 5, 6), (2, 1, 3)]:
        # Rows are PixelSpacing[0] apart, along the second half of the orientation; LPS to RAS.
        place = np.array([-40, 15, -120]) + j * 0.7 * row + i * 0.8 * column + s * 2.5 * np.cross(row, column)
        voxel = np.linalg.inv(affine) @ [-place[0], -place[1], place[2], 1]
        assert np.allclose(voxel[:3], voxel[:3].round(), atol=1e-3)
        assert read[(0, *voxel[:3].round().astype(int))] == values[s, i, j]


def test_a_missing_slice_is_no_volume(tmp_path):
    write_series(tmp_path, np.zeros((5, 6, 7)))
    sorted(tmp_path.iterdir())[2].unlink()
    with pytest.raises(GeometryError, match="no regular volume"):
        read_series(tmp_path)


def test_two_series_in_a_folder_are_told_apart_by_a_file(tmp_path):
    write_series(tmp_path, np.full((3, 4, 4), 7.0))
    first = sorted(tmp_path.iterdir())[0]
    write_series(tmp_path, np.full((6, 4, 4), 9.0), position=(0, 0, 0), suffix=".ima")
    with pytest.raises(ImageError, match="2 series found"):
        read_series(tmp_path)
    values, geometry = read_series(first)
    assert geometry.shape == (4, 4, 3) and (values == 7).all()


def test_a_truncated_file_is_named_without_its_contents(tmp_path):
    write_series(tmp_path, np.zeros((3, 4, 4)))
    path = sorted(tmp_path.iterdir())[0]
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ImageError) as caught:
        read_series(tmp_path)
    assert "SECRET" not in str(caught.value).upper()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_compressed_pixels_are_read_as_uncompressed_ones(tmp_path, syntax):
    values = rng.integers(-1000, 1000, (4, 16, 16)).astype(float)
    write_series(tmp_path / "plain", values)
    write_series(tmp_path / "small", values)
    for path in (tmp_path / "small").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax)
        dataset.save_as(path)
    assert (read_series(tmp_path / "small")[0] == read_series(tmp_path / "plain")[0]).all()


@pytest.mark.parametrize("files", [1, 3])
def test_an_encoding_that_nothing_decodes_is_said(tmp_path, files):
    write_series(tmp_path, np.zeros((files, 16, 16)))
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.file_meta.TransferSyntaxUID = HTJ2K
        dataset.save_as(path)
    with pytest.raises(ImageError, match=r"cannot be decoded.*uncompressed transfer syntax") as caught:
        read_series(tmp_path)
    assert "SECRET" not in str(caught.value).upper()


@pytest.mark.parametrize("package", ["pydicom", "highdicom"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch, package):
    write_series(tmp_path, np.zeros((3, 4, 4)))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImageError, match=r"pip install 'umanet\[dicom\]'"):
        read_series(tmp_path)


def test_odd_tags_are_neither_warned_of_nor_logged(tmp_path, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path, np.zeros((3, 4, 4)), series="SECRET")
    caplog.clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_series(tmp_path)
    assert not said and not caplog.text
