"""NRRD and MetaImage files lie where the same NIfTI lies, and go round."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from fake_data.files import GREY, LPS, an_index, rng, saved, saved_nifti
from umanet.data.formats import listed, stem_of
from umanet.data.geometry import grid_difference, ras_affine
from umanet.data.images import (
    file_name,
    read_annotation_values,
    read_image,
    read_labels,
    read_map,
    write_labels,
    write_map,
)
from umanet.errors import AnnotationError, GeometryError, ImageError
from umanet.types import Geometry

TURNED = LPS.copy()
TURNED[:3, :3] = (
    np.array([[0.9848, -0.1736, 0], [0.1736, 0.9848, 0], [0, 0, 1]])
    @ np.array([[1, 0, 0], [0, 0.9397, -0.342], [0, 0.342, 0.9397]])
    @ LPS[:3, :3]
)
SUFFIXES = (".nrrd", ".mha", ".nhdr", ".mhd")


def converted(path, source):
    """A NIfTI file as another program writes it in the type of ``path``."""
    sitk.WriteImage(sitk.ReadImage(str(source)), str(path), useCompression=True)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 1)])
def test_a_volume_is_presented_as_the_same_nifti(tmp_path, suffix, shape):
    source = saved_nifti(tmp_path / "a.nii.gz", rng.random(shape, dtype=np.float32), TURNED)
    values, geometry = read_image([source], None)
    again, same = read_image([converted(tmp_path / f"b{suffix}", source)], None)
    assert np.array_equal(again, values)
    assert same.shape == geometry.shape and same.spacing == pytest.approx(geometry.spacing, rel=1e-5)
    assert grid_difference(geometry, same) is None
    np.testing.assert_allclose(ras_affine(same), ras_affine(geometry), atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 1, 6)])
def test_an_oblique_label_map_goes_round(tmp_path, suffix, shape):
    stored = rng.integers(0, 3, shape, dtype=np.uint8)
    source = converted(tmp_path / f"a{suffix}", saved_nifti(tmp_path / "a.nii", stored, TURNED))
    index = an_index(0, 300, 2, spatial_dims=3 if 1 not in shape else 2)
    _, geometry = read_image([source], index.spatial_dims)
    labels = (read_annotation_values(source, index.spatial_dims)[0]).astype(np.uint8)
    target = tmp_path / file_name("b", geometry)
    write_labels(target, labels, geometry, index.classes)
    assert target.suffix == suffix and np.array_equal(read_labels(target, index, geometry), labels)
    before, after = sitk.ReadImage(str(source)), sitk.ReadImage(str(target))
    assert after.GetSize() == before.GetSize() and after.GetPixelIDTypeAsString() == "16-bit unsigned integer"
    for ask in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(after, ask)(), getattr(before, ask)(), atol=1e-9)
    mapped = rng.random(geometry.shape, dtype=np.float32)
    write_map(target, mapped, geometry)
    assert np.array_equal(read_map(target, index.spatial_dims, geometry), mapped)


def test_a_nifti_image_and_its_nrrd_annotation_are_compared_in_space(tmp_path):
    stored = rng.integers(0, 2, (4, 5, 6), dtype=np.uint8)
    image = saved_nifti(tmp_path / "a.nii.gz", stored, TURNED)
    drawn = converted(tmp_path / "a.nrrd", image)
    index, (values, geometry) = an_index(0, 1, spatial_dims=3), read_image([image], 3)
    assert np.array_equal(read_labels(drawn, index, geometry), values[0])
    moved = sitk.ReadImage(str(drawn))
    moved.SetOrigin([x + 0.4 for x in moved.GetOrigin()])
    sitk.WriteImage(moved, str(drawn))
    with pytest.raises(GeometryError, match="grids whose corners lie"):
        read_labels(drawn, index, geometry)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_file_with_two_axes_is_a_picture_with_spacing(tmp_path, suffix):
    image = sitk.GetImageFromArray(GREY)
    image.SetSpacing((0.5, 0.25))
    image.SetOrigin((3, 4))
    image.SetDirection((0, 1, -1, 0))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    values, geometry = read_image([tmp_path / f"a{suffix}"], None)
    assert np.array_equal(values[0], GREY)
    assert (geometry.spacing, geometry.spacing_is_known, geometry.affine) == ((0.25, 0.5), True, None)
    picture = saved(tmp_path / "a.png", GREY)
    assert grid_difference(geometry, read_image([picture], 2)[1]) is None
    write_map(tmp_path / f"b{suffix}", np.zeros(GREY.shape, np.float32), geometry)
    after = sitk.ReadImage(str(tmp_path / f"b{suffix}"))
    assert after.GetSpacing() == (0.5, 0.25) and after.GetOrigin() == (3, 4) and after.GetDirection() == (0, 1, -1, 0)
    with pytest.raises(GeometryError, match="3D expected"):
        read_image([tmp_path / f"a{suffix}"], 3)
    flat = saved_nifti(tmp_path / "c.nii", GREY[..., None], np.eye(4))
    assert "cannot be compared" in str(grid_difference(geometry, read_image([flat], 2)[1]))


def test_a_stack_of_pictures_can_be_written_as_a_volume(tmp_path):
    write_map(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.float32), Geometry((3, 4, 5), (2.0, 1.0, 0.5), suffix=".tif"))
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    assert (image.GetSize(), image.GetSpacing()) == ((5, 4, 3), (0.5, 1.0, 2.0))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (4, 5, 2)])
def test_components_of_vector_pixels_are_channels(tmp_path, suffix, shape):
    stored = rng.random(shape, dtype=np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(stored, isVector=True), str(tmp_path / f"a{suffix}"))
    values, geometry = read_image([tmp_path / f"a{suffix}"], None)
    assert values.shape == (2, *geometry.shape) and len(geometry.shape) == len(shape) - 1
    assert sorted(values[1].ravel()) == sorted(stored[..., 1].ravel())


def test_a_segmentation_of_slicer_is_read_by_its_label_values_if_it_has_one_layer(tmp_path):
    stored = rng.integers(0, 3, (4, 5, 6), dtype=np.uint8)
    image = sitk.GetImageFromArray(stored)
    image.SetMetaData("Segment0_ID", "Segment_1")
    image.SetMetaData("Segment0_LabelValue", "2")
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    assert stem_of(tmp_path / "a.seg.nrrd") == "a"
    values, geometry = read_annotation_values(tmp_path / "a.seg.nrrd", 3)
    assert np.array_equal(np.unique(values), np.unique(stored)) and geometry.suffix == ".nrrd"
    layers = sitk.GetImageFromArray(np.stack([stored, stored], -1), isVector=True)
    layers.SetMetaData("Segment0_ID", "Segment_1")
    for name in ("b.seg.nrrd", "c.nrrd"):
        sitk.WriteImage(layers, str(tmp_path / name))
        with pytest.raises(ImageError, match=r"in 2 layers found, one expected.*export it to a labelmap"):
            read_annotation_values(tmp_path / name, 3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    path = converted(tmp_path / f"a{suffix}", saved_nifti(tmp_path / "a.nii", rng.random((9, 9, 9), dtype=np.float32)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    said = rf"a\{suffix} cannot be read \(.*\)\. It may be truncated" if share else "an empty file: an unfinished"
    with pytest.raises(ImageError, match=said):
        read_image([path], 3)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_without_its_data_is_named(tmp_path, suffix):
    path = converted(tmp_path / f"a{suffix}", saved_nifti(tmp_path / "n.nii", np.zeros((4, 5, 6), np.uint8)))
    assert [file.name for file in listed(tmp_path)] == [path.name, "n.nii"]
    (data,) = tmp_path.glob("a.*raw*")
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cannot be read"):
        read_image([path], 3)
    data.unlink()
    with pytest.raises(ImageError, match=rf"A header without its data found at .*the file {data.name} expected"):
        read_image([path], 3)


def test_four_axes_and_complex_values_are_refused(tmp_path):
    sitk.WriteImage(sitk.Image([2, 3, 4, 5], sitk.sitkUInt8), str(tmp_path / "a.nrrd"))
    with pytest.raises(GeometryError, match="4 axes found, two or three expected"):
        read_image([tmp_path / "a.nrrd"], None)
    sitk.WriteImage(sitk.Image([2, 3, 4], sitk.sitkComplexFloat32), str(tmp_path / "b.nrrd"))
    with pytest.raises(ImageError, match="complex64 found, numbers expected"):
        read_image([tmp_path / "b.nrrd"], None)
    with pytest.raises(AnnotationError):
        sitk.WriteImage(sitk.GetImageFromArray(rng.random((3, 4, 2)), isVector=True), str(tmp_path / "c.nrrd"))
        read_annotation_values(tmp_path / "c.nrrd", None)


def test_a_nifti_with_two_axes_is_written_with_one_slice(tmp_path):
    _, geometry = read_image([saved_nifti(tmp_path / "a.nii", GREY, TURNED)], 2)
    write_map(tmp_path / "a.nrrd", np.zeros(geometry.shape, np.float32), geometry)
    _, again = read_image([tmp_path / "a.nrrd"], 2)
    assert grid_difference(geometry, again) is None
    assert nib.load(tmp_path / "a.nii").shape == sitk.ReadImage(str(tmp_path / "a.nrrd")).GetSize()[:2]
