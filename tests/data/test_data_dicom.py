"""DICOM series are volumes in the patient's space, whatever their files are called."""

import numpy as np
import pytest

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
