"""Volumes go round: shape, affine, space and units."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from fake_data.files import LPS, an_index, rng, saved_nifti
from umanet.data.images import (
    read_image,
    read_labels,
    write_labels,
    write_map,
)
from umanet.errors import ImageError


@pytest.mark.parametrize(
    ("shape", "dims"), [((4, 5, 6), 3), ((4, 5, 1), 2), ((1, 5, 6), 2), ((4, 5), 2), ((4, 5, 1), 3)]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_nifti_label_map_goes_round_with_shape_affine_and_units_unchanged(tmp_path, shape, dims, suffix):
    stored = rng.integers(0, 3, shape, dtype=np.uint8)
    source = saved_nifti(tmp_path / f"a{suffix}", stored)
    index = an_index(0, 1, 2, spatial_dims=dims)
    _, geometry = read_image([source], dims)
    labels = read_labels(source, index, geometry)
    assert labels.ndim == dims
    write_labels(tmp_path / f"b{suffix}", labels, geometry, index.classes)
    before, after = nib.load(source), nib.load(tmp_path / f"b{suffix}")
    assert np.array_equal(np.asarray(after.dataobj), stored)
    assert after.shape == shape
    assert np.array_equal(after.affine, before.affine)
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units()[0] == "mm"
    assert after.get_data_dtype() == np.uint8
    assert np.allclose(after.header.get_qform(), before.affine, atol=1e-4)


MNI = np.array([[2, 0, 0, -90.0], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


def forms(image):
    header = image.header
    return {
        "codes": (int(header["qform_code"]), int(header["sform_code"])),
        "qform": header.get_qform(coded=True)[0],
        "sform": header.get_sform(coded=True)[0],
        "affine": image.affine,
        "zooms": header.get_zooms(),
    }


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5)])
@pytest.mark.parametrize(
    ("qform", "sform"),
    [((None, 0), (None, 0)), ((LPS, 1), (None, 0)), ((LPS, 2), (LPS, 2)), ((LPS, 1), (MNI, 4)), ((None, 0), (MNI, 3))],
)
def test_the_space_that_a_nifti_is_in_is_kept(tmp_path, shape, qform, sform):
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), None)
    image.header.set_zooms((1.5, 2, 3)[: len(shape)])
    image.header.set_xyzt_units("mm")
    image.set_sform(*sform)
    image.set_qform(*(qform if qform[1] or not sform[1] else (sform[0], 0)))
    nib.save(image, tmp_path / "a.nii")
    _, geometry = read_image([tmp_path / "a.nii"], len(shape))
    write_map(tmp_path / "b.nii", np.zeros(geometry.shape, np.float32), geometry)
    before, after = (forms(nib.load(tmp_path / name)) for name in ("a.nii", "b.nii"))
    assert before["codes"] == (qform[1], sform[1])
    for key, value in before.items():
        np.testing.assert_allclose(*([-1] if v is None else v for v in (after[key], value)), atol=1e-5, err_msg=key)


def test_an_unusable_qform_beside_an_sform_is_left_out(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), MNI)
    image.set_qform(MNI, 1)
    image.header["quatern_b"] = image.header["quatern_c"] = 1
    nib.save(image, tmp_path / "a.nii")
    _, geometry = read_image([tmp_path / "a.nii"], 3)
    assert (geometry.qform, geometry.codes) == (None, (0, 2))
    assert np.array_equal(geometry.affine, MNI)


def test_a_sheared_nifti_keeps_its_affine_and_gets_no_qform(tmp_path):
    sheared = LPS.copy()
    sheared[0, 1] = 0.4
    source = saved_nifti(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8), sheared)
    _, geometry = read_image([source], 3)
    write_map(tmp_path / "b.nii", np.zeros(geometry.shape, np.float32), geometry)
    after = nib.load(tmp_path / "b.nii")
    assert np.array_equal(after.affine, nib.load(source).affine)
    assert after.header["qform_code"] == 0


def test_spacing_is_unknown_only_without_unit_and_with_ones(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    for affine, unit, known in [(np.eye(4), "unknown", False), (np.eye(4), "mm", True), (LPS, "unknown", True)]:
        _, geometry = read_image([saved_nifti(tmp_path / "a.nii", array, affine, unit=unit)], 3)
        assert geometry.spacing_is_known is known
    assert geometry.spacing == pytest.approx((0.8, 1.5, 0.9))


def test_microns_become_millimetres(tmp_path):
    affine = np.diag([500.0, 500, 2000, 1])
    _, geometry = read_image([saved_nifti(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8), affine, unit="micron")], 3)
    assert geometry.spacing == (0.5, 0.5, 2.0)


@pytest.mark.parametrize(("shape", "dims"), [((4, 5, 6, 2), 3), ((4, 5, 6, 1, 2), 3), ((4, 5, 1, 2), 2)])
def test_the_last_axis_of_a_nifti_holds_channels(tmp_path, shape, dims):
    stored = rng.normal(size=shape).astype(np.float32)
    values, geometry = read_image([saved_nifti(tmp_path / "a.nii", stored, np.eye(4))], dims)
    assert values.shape == (2, *shape[:dims])
    assert np.array_equal(values[1].reshape(shape[:3]), stored[..., 1].reshape(shape[:3]))
    assert geometry.file_shape == shape[:3]


def test_scaled_values_of_a_nifti_are_those_of_its_header(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2, -1000)
    nib.save(image, tmp_path / "a.nii")
    assert np.array_equal(read_image([tmp_path / "a.nii"], 3)[0][0], nib.load(tmp_path / "a.nii").get_fdata())


def test_a_gzip_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"x" * 5000))
    with pytest.raises(ImageError, match="cannot be read"):
        read_image([tmp_path / "a.nii.gz"], 3)


def test_a_nifti_without_an_invertible_affine_is_refused(tmp_path):
    path = saved_nifti(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8))
    image = nib.load(path, mmap=False)
    image.header["srow_z"] = 0
    header = image.header.binaryblock
    path.write_bytes(header + path.read_bytes()[len(header) :])
    with pytest.raises(ImageError, match="An affine without inverse found"):
        read_image([path], 3)


def test_colour_values_of_a_nifti_are_refused(tmp_path):
    colour = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageError, match=r"Values of type .* found, numbers expected"):
        read_image([saved_nifti(tmp_path / "a.nii", colour)], 3)
