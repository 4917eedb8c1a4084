"""Label maps and probability maps as files in the geometry and type of the input."""

import os

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from fake_data.files import GREY, an_index, rng, saved, saved_nifti
from umanet.data.images import (
    file_name,
    read_annotation_values,
    read_image,
    read_labels,
    read_map,
    write_labels,
    write_map,
)
from umanet.data.pictures import read_picture_values, write_picture
from umanet.errors import OutputError
from umanet.types import Geometry


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_written_pictures_of_labels_hold_the_first_value_of_each_class(tmp_path, suffix):
    index = an_index(0, (300, 1))
    labels = (GREY > 99).astype(np.uint8)
    path = tmp_path / "deep" / f"a{suffix}"
    write_labels(path, labels, Geometry((6, 9), (1.0, 1.0), suffix=suffix), index.classes)
    assert np.array_equal(read_annotation_values(path, 2)[0], labels.astype(int) * 300)
    assert np.array_equal(read_labels(path, index), labels)


@pytest.mark.parametrize(
    ("resolution", "kept"),
    [((300, 150, 2), (300, 150, 2)), ((0.4, 40.5, 3), (0.4, 40.5, 3)), ((2, 1, 1), (2, 1, 1)), ((1, 1, 1), None)],
)
@pytest.mark.parametrize("shape", [(6, 9), (3, 6, 9)])
def test_the_resolution_of_a_tiff_is_carried_to_outputs(tmp_path, resolution, kept, shape):
    path = tmp_path / "a.tif"
    said = {"resolution": resolution[:2], "resolutionunit": resolution[2]}
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack", **said)
    _, geometry = read_image([path], len(shape))
    assert geometry.resolution == kept
    write_map(path, np.zeros(shape, np.float32), geometry)
    assert read_image([path], len(shape))[1].resolution == kept


def test_the_resolution_of_a_png_is_carried_to_outputs(tmp_path):
    def dots_per_inch(path):
        with Image.open(path) as picture:
            return picture.info.get("dpi")

    path, classes = saved(tmp_path / "a.png", GREY, dpi=(300, 72)), an_index(0, 1).classes
    write_labels(tmp_path / "b.png", GREY // 255, read_image([path], 2)[1], classes)
    assert dots_per_inch(path) is not None
    assert dots_per_inch(tmp_path / "b.png") == dots_per_inch(path)
    without = saved(tmp_path / "c.jpg", GREY, dpi=(300, 300))
    write_labels(tmp_path / "d.png", GREY // 255, read_image([without], 2)[1], classes)
    assert dots_per_inch(tmp_path / "d.png") is None


@pytest.mark.parametrize("tags", [{}, {282: 0.0, 283: 1.0}, {282: 7.0}, {282: 7.0, 283: 7.0, 296: 9}])
def test_tags_that_give_no_resolution_are_left_out(tmp_path, tags):
    path = saved(tmp_path / "a.tif", GREY, tiffinfo=tags)
    assert read_image([path], 2)[1].resolution is None


def test_negative_class_values_fit_nifti_and_not_png(tmp_path):
    classes = an_index(0, -1, spatial_dims=3).classes
    labels = np.ones((2, 2), np.uint8)
    with pytest.raises(OutputError, match=r"Class values \[0, -1\] found"):
        write_labels(tmp_path / "a.png", labels, Geometry((2, 2), (1.0, 1.0), suffix=".png"), classes)
    write_labels(tmp_path / "a.nii", labels, Geometry((2, 2), (1.0, 1.0), suffix=".nii"), classes)
    assert (np.asarray(nib.load(tmp_path / "a.nii").dataobj) == -1).all()


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 1 / 65535), (".tif", 0), (".nii.gz", 0), (".nii", 0)])
def test_maps_go_round(tmp_path, suffix, tolerance):
    values = rng.random((6, 9), dtype=np.float32)
    values[0, :2] = 0, 1
    path = tmp_path / f"a{suffix}"
    write_map(path, values, Geometry((6, 9), (1.0, 1.0), suffix=suffix))
    back = read_map(path, 2)
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= tolerance


def test_a_map_of_an_oblique_volume_lies_on_the_grid_of_the_volume(tmp_path):
    source = saved_nifti(tmp_path / "a.nii", rng.random((4, 5, 6), dtype=np.float32))
    values, geometry = read_image([source], 3)
    write_map(tmp_path / "b.nii", values[0], geometry)
    assert np.array_equal(nib.load(tmp_path / "b.nii").get_fdata(), nib.load(source).get_fdata())


def test_a_map_out_of_range_is_not_written(tmp_path):
    for values in (np.array([[1.5]]), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="0 to 1 expected"):
            write_map(tmp_path / "a.png", values, Geometry((1, 1), (1.0, 1.0), suffix=".png"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [(".jpg", ".png"), (".jpeg", ".png"), (".bmp", ".png"), (".tif", ".tif"), (".nii.gz", ".nii.gz")],
)
def test_outputs_have_the_type_of_the_input_unless_it_is_lossy(suffix, expected):
    assert file_name("case.1", Geometry((1, 1), (1.0, 1.0), suffix=suffix)) == f"case.1{expected}"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="The superuser may write anywhere.")
def test_a_folder_without_permission_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="could not be written"):
        write_map(tmp_path / "a.png", np.zeros((2, 2)), Geometry((2, 2), (1.0, 1.0), suffix=".png"))


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.png could not be written"):
        write_map(tmp_path / "file" / "a.png", np.zeros((2, 2)), Geometry((2, 2), (1.0, 1.0), suffix=".png"))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", GREY)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_map(path, np.zeros((6, 9)), Geometry((6, 9), (1.0, 1.0), suffix=".png"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_maps_are_packed_quickly_and_label_maps_tightly(tmp_path):
    for kind, level in ((np.uint16, 0x01), (np.uint8, 0x9C)):
        values = np.random.default_rng(0).integers(0, 200, (64, 64), kind)
        write_picture(tmp_path / "a.png", values)
        data = (tmp_path / "a.png").read_bytes()
        packed = data[data.index(b"IDAT") + 4 :]
        assert (packed[0] & 0x0F, packed[1]) == (8, level)  # deflate, and what zlib's header says of its effort
        np.testing.assert_array_equal(read_picture_values(tmp_path / "a.png")[0][0], values)
