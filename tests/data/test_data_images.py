import gzip
import os
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from umanet.data.images import (
    file_name,
    read_annotation_values,
    read_case,
    read_image,
    read_labels,
    read_map,
    write_labels,
    write_map,
)
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import AnnotationError, GeometryError, ImageError, OutputError
from umanet.types import Case, Geometry

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (6, 9), dtype=np.uint8)
RGB = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
LPS = np.array([[-0.8, 0, 0, 40.0], [0, 0, -1.5, 30.0], [0, 0.9, 0, -7.0], [0, 0, 0, 1]])
"""Flipped and permuted: file axes point left, superior, posterior."""


def an_index(*values, spatial_dims=2, channels=("grey",), annotators=("ann",)):
    classes = [ClassDefinition(name=f"c{k}", values=v if isinstance(v, tuple) else (v,)) for k, v in enumerate(values)]
    case = Case("a", (Path("a.png"),))
    return DatasetIndex(
        spatial_dims=spatial_dims, channels=channels, classes=tuple(classes), annotators=annotators, cases=(case,)
    )


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def saved_nifti(path, array, affine=LPS, *, unit="mm"):
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.TIFF"])
def test_a_grey_picture_is_read_as_stored(tmp_path, name):
    values, geometry = read_image([saved(tmp_path / name, GREY)], 2)
    assert values.dtype == np.float32
    assert np.array_equal(values, GREY[None])
    assert geometry == Geometry((6, 9), (1.0, 1.0), suffix=(tmp_path / name.lower()).suffix)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_every_usual_compression_of_tiff_is_read(tmp_path, compression):
    values, _ = read_image([saved(tmp_path / "a.tif", GREY, compression=compression)], 2)
    assert np.array_equal(values, GREY[None])


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_colours_come_as_three_channels(tmp_path, name):
    values, geometry = read_image([saved(tmp_path / name, RGB)], 2)
    assert np.array_equal(values, np.moveaxis(RGB, 2, 0))
    assert geometry.shape == (6, 9)


def test_a_jpeg_is_read_in_colour(tmp_path):
    assert read_image([saved(tmp_path / "a.jpg", RGB)], 2)[0].shape == (3, 6, 9)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_of_grey_are_kept(tmp_path, name):
    deep = GREY.astype(np.uint16) * 250 + 3
    assert np.array_equal(read_image([saved(tmp_path / name, deep)], 2)[0], deep[None])


def test_a_palette_picture_is_its_colours_as_an_image_and_its_indices_as_an_annotation(tmp_path):
    indexed = Image.fromarray(GREY % 3)
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    indexed.save(tmp_path / "a.png")
    values, _ = read_image([tmp_path / "a.png"], 2)
    assert np.array_equal(values[0], np.where(GREY % 3 == 1, 255, 0))
    assert np.array_equal(read_annotation_values(tmp_path / "a.png", 2)[0], GREY % 3)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_annotations_of_few_bits_are_not_stretched(tmp_path, bits):
    values = GREY % 2**bits
    saved(tmp_path / "a.png", values.astype(bool) if bits == 1 else values, **({} if bits == 1 else {"bits": bits}))
    assert np.array_equal(read_annotation_values(tmp_path / "a.png", 2)[0], values)


def test_an_opaque_alpha_channel_is_left_out_and_a_transparent_one_refused(tmp_path):
    alpha = np.full((6, 9, 1), 255, np.uint8)
    saved(tmp_path / "a.png", np.concatenate([RGB, alpha], 2))
    assert len(read_image([tmp_path / "a.png"], 2)[0]) == 3
    alpha[0, 0] = 0
    saved(tmp_path / "a.png", np.concatenate([RGB, alpha], 2))
    with pytest.raises(ImageError, match=r"Transparent pixels found.*a\.png.*Remove the alpha channel"):
        read_image([tmp_path / "a.png"], 2)


def test_sixteen_bit_colour_png_is_refused_rather_than_cut_to_eight_bits(tmp_path):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 9, 6, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks.items():
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="16-bit colour PNG found"):
        read_image([tmp_path / "a.png"], 2)


def test_a_photograph_turned_by_its_exif_tag_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path / "a.jpg", RGB, exif=exif)
    with pytest.raises(ImageError, match=r"EXIF orientation 6 found, 1 expected"):
        read_image([tmp_path / "a.jpg"], 2)


def test_pages_of_a_tiff_are_slices_and_samples_are_channels(tmp_path):
    stack, colours = np.stack([GREY, GREY + 1]), np.stack([RGB, RGB])
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    tifffile.imwrite(tmp_path / "colours.tif", colours, photometric="rgb")
    values, geometry = read_image([tmp_path / "stack.tif"], None)
    assert np.array_equal(values, stack[None])
    assert geometry.shape == (2, 6, 9)
    assert np.array_equal(read_image([tmp_path / "colours.tif"], 3)[0], np.moveaxis(colours, 3, 0))
    with pytest.raises(GeometryError, match=r"A 3D image of shape \(2, 6, 9\) found, 2D expected"):
        read_image([tmp_path / "stack.tif"], 2)


def test_a_tiff_with_two_images_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY)
        file.write(RGB, photometric="rgb")
    with pytest.raises(ImageError, match="2 images found, one expected"):
        read_image([tmp_path / "a.tif"], 2)


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


def test_a_volume_is_refused_where_2d_is_expected_and_a_slice_where_3d_is(tmp_path):
    volume = saved_nifti(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(GeometryError, match=r"3D image of shape \(4, 5, 6\) found, 2D expected.*separate data sets"):
        read_image([volume], 2)
    with pytest.raises(GeometryError, match=r"2D image .* found, 3D expected"):
        read_image([saved_nifti(tmp_path / "b.nii", np.zeros((4, 5), np.uint8))], 3)
    with pytest.raises(GeometryError, match=r"2D image .* found, 3D expected"):
        read_image([saved(tmp_path / "c.png", GREY)], 3)


def test_channels_of_several_files_are_stacked_in_order_and_must_share_a_grid(tmp_path):
    first, second = saved(tmp_path / "a.png", GREY), saved(tmp_path / "b.png", 255 - GREY)
    assert np.array_equal(read_image([first, second], 2)[0], np.stack([GREY, 255 - GREY]))
    other = saved(tmp_path / "c.png", GREY[:4])
    with pytest.raises(
        GeometryError, match=r"shape \(6, 9\) and shape \(4, 9\) found for channels .*a\.png and .*c\.png"
    ):
        read_image([first, other], 2)


def test_nan_and_infinite_values_are_counted_and_the_file_named(tmp_path):
    bad = np.zeros((4, 5, 6), np.float32)
    bad[0, 0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(ImageError, match=r"3 NaN or infinite values found, .*bad\.nii"):
        read_image([saved_nifti(tmp_path / "bad.nii", bad)], 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.nii", "a.nii.gz"])
def test_truncated_and_foreign_files_are_named(tmp_path, name):
    path = tmp_path / name
    noise = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    saved_nifti(path, noise) if ".nii" in name else saved(path, noise)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"", b"no image at all" * 20):
        path.write_bytes(content)
        with pytest.raises(ImageError, match=f"{name} cannot be read"):
            read_image([path], 2)


def test_a_gzip_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"x" * 5000))
    with pytest.raises(ImageError, match="cannot be read"):
        read_image([tmp_path / "a.nii.gz"], 3)


def test_missing_files_and_unknown_types_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"No file found at .*gone\.png"):
        read_image([tmp_path / "gone.png"], 2)
    with pytest.raises(ImageError, match=r"File type '.npy' found, one of .nii.gz, .* expected, at .*a\.npy"):
        read_image([tmp_path / "a.npy"], 2)


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


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, (1, 255))])
def test_file_values_become_class_indices(tmp_path, values):
    index = an_index(*values)
    value = values[1][1] if isinstance(values[1], tuple) else values[1]
    stored = np.where(GREY > 99, value, 0).astype(np.uint8)
    labels = read_labels(saved(tmp_path / "a.png", stored), index)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, GREY > 99)


def test_a_value_without_class_is_named(tmp_path):
    path = saved(tmp_path / "a.png", np.where(GREY > 99, 7, 0).astype(np.uint8))
    with pytest.raises(AnnotationError, match=r"Value 7 found, one of 0, 255 expected, in .*a\.png\. Add the value"):
        read_labels(path, an_index(0, 255))


def test_fractions_and_nan_in_an_annotation_are_values_without_class(tmp_path):
    stored = np.zeros((4, 5, 1), np.float32)
    stored[0], stored[1] = 0.5, np.nan
    with pytest.raises(AnnotationError, match=r"Value 0\.5, nan found"):
        read_labels(saved_nifti(tmp_path / "a.nii", stored), an_index(0, 1))


def test_whole_numbers_stored_as_floats_are_classes(tmp_path):
    stored = (np.arange(20).reshape(4, 5, 1) % 3).astype(np.float32)
    labels = read_labels(saved_nifti(tmp_path / "a.nii", stored, np.eye(4)), an_index(0, 1, 2))
    assert np.array_equal(labels, stored[..., 0])


def test_a_jpeg_annotation_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="JPEG annotation found, a lossless file expected"):
        read_labels(saved(tmp_path / "a.jpg", GREY), an_index(0, 1))


def test_an_annotation_in_grey_colours_is_read_and_one_in_colours_refused(tmp_path):
    grey = np.repeat((GREY > 99).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(read_labels(saved(tmp_path / "a.png", grey), an_index(0, 1)), GREY > 99)
    with pytest.raises(AnnotationError, match="3 channels that differ found"):
        read_labels(saved(tmp_path / "a.png", RGB), an_index(0, 1))


def test_an_annotation_on_another_grid_is_refused(tmp_path):
    _, geometry = read_image([saved(tmp_path / "a.png", GREY)], 2)
    small = saved(tmp_path / "b.png", np.zeros((3, 9), np.uint8))
    with pytest.raises(GeometryError, match=r"shape \(6, 9\) and shape \(3, 9\) found for the image and .*b\.png"):
        read_labels(small, an_index(0, 1), geometry)
    volume = np.zeros((5, 5, 5), np.uint8)
    _, geometry = read_image([saved_nifti(tmp_path / "a.nii", volume)], 3)
    with pytest.raises(GeometryError, match="mm apart"):
        read_labels(saved_nifti(tmp_path / "b.nii", volume, np.eye(4) * 2), an_index(0, 1, spatial_dims=3), geometry)


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


def test_an_absent_annotator_has_zeros_and_is_not_present(tmp_path):
    image = saved(tmp_path / "image.png", GREY)
    drawn = saved(tmp_path / "b.png", (GREY > 99).astype(np.uint8) * 255)
    index = an_index(0, 255, annotators=("a", "b"))
    sample = read_case(Case("x", (image,), {"b": drawn}, truth=drawn), index)
    assert sample.present.tolist() == [False, True]
    assert not sample.annotations[0].any()
    assert torch.equal(sample.annotations[1], torch.from_numpy(GREY > 99).to(torch.uint8))
    assert torch.equal(sample.truth, sample.annotations[1])
    assert sample.image.shape == (1, 6, 9)


def test_other_channels_than_the_index_says_are_refused(tmp_path):
    image = saved(tmp_path / "image.png", RGB)
    with pytest.raises(ImageError, match=r"3 channels found, 1 \(grey\) expected, in case 'x'"):
        read_case(Case("x", (image,)), an_index(0, 1))
