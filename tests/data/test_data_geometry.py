import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from umanet.data.geometry import from_ras, grid_difference, ras_affine, resample, resample_labels, to_ras, working_shape
from umanet.data.images import read_image
from umanet.errors import GeometryError
from umanet.types import Geometry


def geometry_of(affine, shape, path, spatial_dims=3):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    return read_image([path], spatial_dims)[1]


def oblique(flips=(-1, 1, -1), order=(2, 0, 1), spacing=(0.7, 1.1, 2.5)):
    """Voxels to millimetres of a file whose axes are permuted, flipped and turned by some degrees."""
    turn = np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag(np.multiply(flips, spacing)))[:, order]
    affine[:3, 3] = (-31.5, 12.25, 80)
    return affine


def test_going_to_ras_and_back_changes_nothing(tmp_path):
    geometry = geometry_of(oblique(), (4, 5, 6), tmp_path / "a.nii")
    stored = np.arange(120).reshape(4, 5, 6)
    assert to_ras(stored, geometry).shape == geometry.shape == (5, 6, 4)
    assert np.array_equal(from_ras(to_ras(stored, geometry), geometry), stored)


def test_ras_order_is_that_of_nibabel(tmp_path):
    image = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), oblique())
    nib.save(image, tmp_path / "a.nii")
    values, geometry = read_image([tmp_path / "a.nii"], 3)
    expected = nib.as_closest_canonical(image)
    assert np.array_equal(values[0], expected.get_fdata())
    assert np.allclose(ras_affine(geometry), expected.affine, atol=1e-5)
    assert np.allclose(geometry.spacing, expected.header.get_zooms(), atol=1e-5)


def test_one_grid_stored_in_two_orders_is_the_same_grid(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), oblique())
    first = geometry_of(image.affine, image.shape, tmp_path / "a.nii")
    turned = nib.as_closest_canonical(image)
    second = geometry_of(turned.affine, turned.shape, tmp_path / "b.nii")
    assert first.file_shape != second.file_shape
    assert grid_difference(first, second) is None


def test_rounding_of_a_header_is_tolerated_and_a_shift_by_a_voxel_is_not(tmp_path):
    first = geometry_of(oblique(), (4, 5, 6), tmp_path / "a.nii")
    rounded = geometry_of(oblique().round(4), (4, 5, 6), tmp_path / "b.nii")
    shifted = oblique()
    shifted[0, 3] += 0.7
    assert grid_difference(first, rounded) is None
    assert grid_difference(first, geometry_of(shifted, (4, 5, 6), tmp_path / "c.nii")) == (
        "grids whose corners lie 0.7 mm apart (tolerance 0.035 mm)"
    )


def test_shapes_and_file_types_that_differ_are_named(tmp_path):
    png = Geometry((4, 5), (1.0, 1.0), suffix=".png")
    nifti = geometry_of(np.eye(4), (4, 5, 1), tmp_path / "a.nii", spatial_dims=2)
    assert grid_difference(png, Geometry((4, 6), (1.0, 1.0), suffix=".png")) == "shape (4, 5) and shape (4, 6)"
    assert grid_difference(png, nifti) == "a .png and a .nii file, whose axis orders cannot be compared"
    assert grid_difference(png, png) is None


@pytest.mark.parametrize(
    ("known", "longest", "spacing", "expected"),
    [
        (True, None, None, (100, 50, 20)),
        (True, None, (1.0, 2.0, 2.0), (100, 25, 50)),
        (False, None, (1.0, 2.0, 2.0), (100, 50, 20)),
        (True, 50, None, (50, 25, 10)),
        (True, 200, None, (100, 50, 20)),
        (True, 50, (1.0, 2.0, 2.0), (50, 12, 25)),
        (True, 2, None, (2, 1, 1)),
    ],
)
def test_the_working_shape_follows_spacing_then_the_longest_side(known, longest, spacing, expected):
    geometry = Geometry((100, 50, 20), (1.0, 1.0, 5.0), spacing_is_known=known)
    assert working_shape(geometry, longest, spacing) == expected


def test_a_spacing_with_another_number_of_axes_is_refused():
    with pytest.raises(GeometryError, match=r"Spacing \(1.0, 1.0\) found, 3 positive millimetres expected"):
        working_shape(Geometry((4, 5, 6), (1.0, 1.0, 1.0)), spacing=(1.0, 1.0))


@pytest.mark.parametrize(("shape", "larger"), [((8, 6), (16, 12)), ((8, 6, 4), (16, 12, 8))])
def test_resampling_keeps_constants_and_gives_the_shape(shape, larger):
    values = torch.full((2, *shape), 3.0)
    for target in (larger, tuple(n // 2 for n in shape)):
        for mode in ("linear", "nearest"):
            result = resample(values, target, mode)
            assert result.shape == (2, *target)
            assert torch.allclose(result, torch.tensor(3.0))
    assert resample(values, shape) is values


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 16)])
def test_shrinking_averages(shape):
    stripes = torch.zeros(1, *shape)
    stripes[:, :, ::2] = 1
    assert torch.allclose(resample(stripes, tuple(n // 8 for n in shape)), torch.tensor(0.5), atol=0.05)


def test_resampling_in_2d_is_that_of_pytorch_and_the_same_in_every_slice_of_3d():
    values = torch.rand(2, 12, 9)
    for target in [(5, 7), (30, 4), (12, 20)]:
        expected = F.interpolate(values[None], target, mode="bilinear", antialias=True)[0]
        assert torch.allclose(resample(values, target), expected, atol=1e-6)
        slices = resample(values[:, None].expand(2, 3, 12, 9), (3, *target))
        assert torch.allclose(slices, expected[:, None].expand_as(slices), atol=1e-6)


def test_labels_on_their_own_grid_stay_as_they_are():
    labels = torch.randint(0, 3, (2, 7, 9))
    assert torch.equal(resample_labels(labels, (7, 9), 3), labels.to(torch.uint8))


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 16)])
def test_labels_keep_their_classes_and_their_volume(shape):
    labels = torch.zeros(1, *shape, dtype=torch.int64)
    labels[:, 4:12, 4:12] = 2
    for scale in (0.5, 2):
        target = tuple(int(n * scale) for n in shape)
        result = resample_labels(labels, target, 3)
        assert set(result.unique().tolist()) == {0, 2}
        assert (result == 2).float().mean().item() == pytest.approx((labels == 2).float().mean().item(), rel=0.15)


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 32)])
def test_a_line_of_three_quarters_of_a_large_voxel_survives_in_it(shape):
    for start in (16, 17):
        labels = torch.zeros(1, *shape, dtype=torch.int64)
        labels[:, :, start : start + 3] = 1
        result = resample_labels(labels, tuple(n // 4 for n in shape), 2)
        assert result[:, :, 4].all()
        assert result.float().mean() == 1 / 8


@pytest.mark.parametrize(
    ("maps", "before", "after"), [(1, (256, 250), (64, 61)), (3, (9, 7), (20, 3)), (2, (1, 8), (1, 3))]
)
def test_pictures_are_resampled_as_torch_does_it(maps, before, after):
    values = torch.rand(maps, *before)
    expected = F.interpolate(values[None].repeat(1, 2, 1, 1), after, mode="bilinear", antialias=True)[0, :maps]
    torch.testing.assert_close(resample(values, after), expected, atol=1e-5, rtol=1e-5)


def test_shrunk_labels_cover_as_much_as_before():
    labels = torch.zeros(1, 256, 256, dtype=torch.uint8)
    labels[:, 60:160, 60:160] = 1
    share = resample_labels(labels, (64, 64), 2).float().mean()
    assert abs(share - labels.float().mean()) < 0.01
