import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from fake_data.files import GREY, RGB, an_index, rng, saved, saved_nifti
from umanet.data.images import (
    read_annotation_values,
    read_case,
    read_image,
    read_labels,
)
from umanet.errors import AnnotationError, GeometryError, ImageError
from umanet.types import Case, Geometry


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


def test_missing_files_and_unknown_types_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"No file found at .*gone\.png"):
        read_image([tmp_path / "gone.png"], 2)
    with pytest.raises(ImageError, match=r"File type '.npy' found, one of .nii.gz, .* expected, at .*a\.npy"):
        read_image([tmp_path / "a.npy"], 2)


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
