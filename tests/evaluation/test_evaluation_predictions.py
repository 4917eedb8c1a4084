"""Predictions of other tools are scored as ours are, and what is wrong with them is said."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from umanet.data.geometry import from_ras
from umanet.data.pictures import write_picture
from umanet.errors import AnnotationError, ConfigError, DatasetError, GeometryError, ImageError, TaskError
from umanet.evaluation import evaluate

RNG = np.random.default_rng(7)


@pytest.fixture
def theirs(tmp_path):
    return tmp_path / "theirs"


def fill(folder, cases=2):
    """Annotated cases with probabilities in sixteenths, and the labels that these make. Returns all maps."""
    made = {}
    for number in range(cases):
        votes = RNG.multinomial(16, [0.5, 0.3, 0.2][: len(folder.classes)], folder.geometry.shape)
        maps = np.moveaxis(votes, -1, 0).astype(np.float32) / 16
        drawn = [RNG.integers(0, len(folder.classes), folder.geometry.shape) for _ in range(3)]
        folder.add(f"c{number}", maps.argmax(axis=0), probabilities=list(maps[1:]), annotations=drawn)
        made[f"c{number}"] = maps
    return made


def save_nifti(folder, path, array):
    """In the order of the file, channels last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, folder.geometry.affine), path)


def stored(folder, maps):
    """Every map as its file has it."""
    return np.stack([np.ascontiguousarray(from_ras(one, folder.geometry)) for one in maps])


def copy_labels(folder, place):
    shutil.copytree(folder.predictions / "labels", place)


def as_channels(folder, place, made):
    """As MONAI's SaveImage writes a softmax."""
    for case, maps in made.items():
        save_nifti(folder, place / f"probabilities/{case}.nii.gz", np.moveaxis(stored(folder, maps), 0, -1))


def as_maps(folder, place, made):
    for case, maps in made.items():
        for name, one in zip(("lung", "heart"), stored(folder, maps)[1:], strict=True):
            save_nifti(folder, place / f"probabilities/{name}/{case}.nii.gz", one)


def as_nnunet(folder, place, made):
    """nnUNetv2_predict --save_probabilities: label maps, and beside them arrays with all axes reversed."""
    copy_labels(folder, place)
    (place / "dataset.json").write_text("{}")
    for case, maps in made.items():
        reversed_axes = np.stack([one.transpose() for one in stored(folder, maps)])
        np.savez_compressed(place / f"{case}.npz", probabilities=reversed_axes.astype(np.float16))


@pytest.mark.parametrize("write", [as_channels, as_maps, as_nnunet])
def test_probabilities_of_other_tools_give_the_scores_of_ours(solid, theirs, write):
    made = fill(solid)
    ours = solid.evaluate()
    write(solid, theirs, made)
    found = evaluate(theirs, solid.index)
    assert found.cases == ours.cases
    assert found.protocol["cases_with_probabilities"] == 2


def test_a_single_channel_is_the_foreground_where_there_is_one_class(flat, theirs):
    flat.add("a", [0, 0, 0, 1], probabilities=[[0, 0.4, 0.5, 0.6]], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]])
    ours = flat.evaluate()
    (theirs / "probabilities").mkdir(parents=True)
    shutil.copy(flat.predictions / "probabilities" / "a_lung.png", theirs / "probabilities" / "a.png")
    found = evaluate(theirs, flat.index)
    assert found.summary["brier"] == ours.summary["brier"]
    # Above one half, and not at it, which 16 bits make a little more than it.
    assert found.cases[0]["mean_dice"] in (ours.cases[0]["mean_dice"], pytest.approx((1 + 4 / 5) / 2))


def test_arrays_of_nnunet_for_pictures_have_an_axis_of_one_first(flat, theirs):
    flat.add("a", [0, 0, 1, 1], probabilities=[[0, 0.25, 0.75, 1]], annotations=[[0, 0, 1, 1]])
    ours = flat.evaluate()
    copy_labels(flat, theirs)
    foreground = np.array([[0, 0.25], [0.75, 1]], np.float32)
    np.savez_compressed(theirs / "a.npz", probabilities=np.stack([1 - foreground, foreground])[:, None])
    assert evaluate(theirs, flat.index).summary["brier"]["mean"] == pytest.approx(
        ours.summary["brier"]["mean"], abs=1e-4
    )


def test_labels_may_be_indices_of_classes_if_that_is_said(flat, theirs):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]], truth=[0, 1, 1, 1])
    theirs.mkdir()
    Image.fromarray(np.array([[0, 0], [1, 1]], np.uint8)).save(theirs / "a.png")
    with pytest.raises(
        AnnotationError, match=r"Value 1 found, one of 0, 255 expected, in .*a\.png.*--label-values index"
    ):
        evaluate(theirs, flat.index)
    assert evaluate(theirs, flat.index, label_values="index").cases == flat.evaluate().cases
    with pytest.raises(ConfigError, match=r"--label-values index found with .*predictions\.json"):
        flat.evaluate(label_values="index")


def test_the_whole_layout_is_found_without_a_manifest(flat, theirs):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]], uncertainty=[0, 0.9, 0.1, 0],
             samples=[[0, 0, 1, 1], [1, 1, 1, 1]])  # fmt: skip
    ours = flat.evaluate(uncertainty="written")
    for name in ("labels", "entropy", "samples"):
        shutil.copytree(flat.predictions / name, theirs / name)
    found = evaluate(theirs, flat.index, uncertainty="written")
    assert found.cases == ours.cases and found.protocol == ours.protocol
    assert found.protocol["samples"]["number"] == 2 and found.summary["ncc"]["cases"] == 1


def test_predictions_named_otherwise_are_said_to_be_there(flat, theirs):
    flat.add("a", [0, 0, 1, 1], truth=[0, 0, 1, 1])
    theirs.mkdir()
    shutil.copy(flat.predictions / "labels" / "a.png", theirs / "a_seg.png")
    with pytest.raises(DatasetError, match=r"1 of 1 cases \(a\) found in .*theirs \(it has a_seg\).*name the files as"):
        evaluate(theirs, flat.index)


def made(folder):
    folder.mkdir()
    return folder


def write_tiff(path):
    tifffile.imwrite(path, np.zeros((4, 3, 2), np.uint8), photometric="minisblack")
    return path


def write_volume(folder, place, array, dtype=np.float32):
    save_nifti(folder, place / "c0.nii.gz", np.asarray(array, dtype))


BAD_LABELS = {
    "one map of probabilities": (
        lambda solid, place, maps: write_volume(solid, place, stored(solid, maps)[1] / 2 + 0.1),
        AnnotationError, r"Value 0\.1.* found, one of 0, 255, 3, 4 expected, in .*c0.* into probabilities/CLASS/",
    ),
    "all maps of probabilities": (
        lambda solid, place, maps: write_volume(solid, place, np.moveaxis(stored(solid, maps), 0, -1)),
        AnnotationError, r"3 volumes in one file found.*c0.* with a channel per class, probabilities/",
    ),
    "another value": (
        lambda solid, place, maps: write_volume(solid, place, np.full(solid.geometry.file_shape, 7), np.uint8),
        AnnotationError, r"Value 7 found, one of 0, 255, 3, 4 expected, in .*c0\.nii\.gz\. Mend the file",
    ),
    "another shape": (
        lambda solid, place, maps: write_volume(solid, place, np.zeros((4, 3, 3)), np.uint8),
        GeometryError, r"shape \(4, 3, 2\) and shape \(4, 3, 3\) found for the image and prediction .*c0",
    ),
    "another type of file": (
        lambda solid, place, maps: shutil.copy(write_tiff(place.parent / "c0.tif"), made(place)),
        GeometryError, r"a \.nii\.gz and a \.tif file, whose axis orders cannot be compared found for .*c0\.tif",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_what_is_no_label_map_of_the_image_is_refused(solid, theirs, kind):
    write, error, message = BAD_LABELS[kind]
    write(solid, theirs, fill(solid, cases=1)["c0"])
    with pytest.raises(error, match=message):
        evaluate(theirs, solid.index)


def test_a_label_map_that_lies_elsewhere_is_refused(solid, theirs):
    fill(solid, cases=1)
    shifted = solid.geometry.affine + np.array([[0, 0, 0, 1.0], *np.zeros((3, 4))])
    theirs.mkdir()
    nib.save(nib.Nifti1Image(np.zeros(solid.geometry.file_shape, np.uint8), shifted), theirs / "c0.nii.gz")
    with pytest.raises(GeometryError, match=r"corners lie 1 mm apart .* prediction .*c0"):
        evaluate(theirs, solid.index)


BAD_PROBABILITIES = {
    "a class too few": (
        lambda solid, place, maps: as_channels(solid, place, {"c0": maps[1:]}),
        ImageError, r"Probabilities of 2 classes found, of 3 expected, in .*c0.* background first",
    ),
    "outside": (
        lambda solid, place, maps: as_channels(solid, place, {"c0": maps * 16}),
        ImageError, r"Values from \d+ to \d+ found, probabilities in \[0, 1\] expected, in .*c0",
    ),
    "NaN": (
        lambda solid, place, maps: as_channels(solid, place, {"c0": maps * np.nan}),
        ImageError, r"NaN found, probabilities in \[0, 1\] expected, in .*c0",
    ),
    "another class": (
        lambda solid, place, maps: (place / "probabilities/lang").mkdir(parents=True),
        TaskError, r"Probabilities of 'lang' found, of background, lung, heart expected.*Did you mean 'lung'",
    ),
    "a class without map": (
        lambda solid, place, maps: (as_maps(solid, place, {"c0": maps}), shutil.rmtree(place / "probabilities/heart")),
        DatasetError, r"Probabilities of lung found, of heart expected, for .*lung/c0",
    ),
    "another shape": (
        lambda solid, place, maps: save_nifti(solid, place / "probabilities/c0.nii.gz", np.zeros((4, 3, 1, 3))),
        GeometryError, r"shape \(4, 3, 2\) and shape \(4, 3, 1\) found for the image and map .*c0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_PROBABILITIES)
def test_what_holds_no_probabilities_of_the_classes_is_refused(solid, theirs, kind):
    write, error, message = BAD_PROBABILITIES[kind]
    theirs.mkdir()
    write(solid, theirs, fill(solid, cases=1)["c0"])
    with pytest.raises(error, match=message):
        evaluate(theirs, solid.index)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"no archive", ImageError, r"c0\.npz cannot be read .* 'probabilities' as nnU-Net writes it expected"),
        ({"softmax": np.zeros((3, 2, 3, 4))}, ImageError, r"c0\.npz cannot be read .*probabilities"),
        ({"probabilities": np.float32(0.5)}, ImageError, r"shape \(\) and type float32 found, numbers .* in .*c0\.npz"),
        ({"probabilities": np.full((3, 2, 3, 4), "a")}, ImageError, r"type <U1 found, numbers with an axis of classes"),
        ({"probabilities": np.array([{}], object)}, ImageError, r"c0\.npz cannot be read .*pickle"),
        (
            {"probabilities": np.zeros((3, 4, 3, 2))},
            GeometryError,
            r"shape \(2, 3, 4\) found, \(4, 3, 2\) expected, in",
        ),
        ({"probabilities": np.zeros((2, 2, 3, 4))}, ImageError, r"Probabilities of 2 classes found, of 3 expected"),
    ],
)
def test_what_is_no_array_of_nnunet_is_refused(solid, theirs, content, error, message):
    fill(solid, cases=1)
    copy_labels(solid, theirs)
    path = theirs / "c0.npz"
    path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
    with pytest.raises(error, match=message):
        evaluate(theirs, solid.index)


def test_whole_numbers_in_nifti_are_what_they_say_and_not_parts_of_65535(solid, theirs):
    drawn = np.arange(24).reshape(solid.geometry.shape) % 3
    solid.add("c0", drawn, annotations=[drawn])
    masks = np.stack([drawn == k for k in range(3)])
    for kind in (np.uint16, np.uint8, np.int32):
        as_maps(solid, theirs, {"c0": masks.astype(kind)})
        assert evaluate(theirs, solid.index).summary["mean_dice"]["mean"] == 1
        as_maps(solid, theirs, {"c0": masks.astype(kind) * kind(255)})
        with pytest.raises(ImageError, match=r"Values from 0 to 255 found, probabilities in \[0, 1\] expected"):
            evaluate(theirs, solid.index)


@pytest.mark.parametrize(("suffix", "highest"), [(".png", 1), (".png", 255), (".tif", 1)])
def test_a_mask_in_a_picture_of_16_bits_is_no_map_of_probabilities(flat, theirs, suffix, highest):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]])
    path = theirs / "probabilities" / "lung" / f"a{suffix}"
    write_picture(path, np.array([[0, 0], [highest, highest]], np.uint16))
    with pytest.raises(ImageError, match=rf"16 bits with values of at most {highest} found, 0 to 65535 for 0 to 1"):
        evaluate(theirs, flat.index)
    write_picture(path, np.array([[0, 0], [65535, 65535]], np.uint16))
    assert evaluate(theirs, flat.index).summary["mean_dice"]["mean"] == 1


def test_our_own_map_of_a_class_that_is_nowhere_likely_is_read(flat):
    flat.add("a", [0, 0, 0, 0], probabilities=[[0, 1e-3, 2e-3, 0]], annotations=[[0, 0, 1, 1]])
    assert flat.evaluate().summary["soft_dice"]["mean"] == 0


def test_probabilities_of_some_cases_only_are_refused(flat):
    flat.add("a", [0, 0, 1, 1], probabilities=[[0, 0, 1, 1]], annotations=[[0, 0, 1, 1]])
    flat.add("b", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]])
    with pytest.raises(DatasetError, match=r"No probabilities of 1 of 2 cases \(b\) found in .*though of the others"):
        flat.evaluate()


def test_other_numbers_of_samples_are_refused(flat):
    mask = [0, 0, 1, 1]
    flat.add("a", mask, annotations=[mask], samples=[mask, mask])
    flat.add("b", mask, annotations=[mask], samples=[mask])
    with pytest.raises(DatasetError, match=r"1 sample of b and 2 of a found in .*same number for all"):
        flat.evaluate()


def test_an_uncertainty_that_is_not_finite_is_named(flat, theirs):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]])
    copy_labels(flat, theirs)
    write_picture(theirs / "entropy" / "a.tif", np.array([[0, np.nan], [1, 2]], np.float32))
    with pytest.raises(ImageError, match=r"NaN or infinity found, finite numbers expected, in .*entropy.a\.tif"):
        evaluate(theirs, flat.index, uncertainty="written")


def test_indices_are_advised_only_where_values_may_be_some(solid, theirs):
    fill(solid, cases=1)
    write_volume(solid, theirs, np.full(solid.geometry.file_shape, -1), np.int16)
    with pytest.raises(AnnotationError, match=r"Value -1 found.*Mend the file, or add the value to a class"):
        evaluate(theirs, solid.index)


def test_an_uncertainty_that_is_not_there_is_refused(flat, theirs):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]])
    copy_labels(flat, theirs)
    with pytest.raises(DatasetError, match=r"No map of uncertainty found for .*a\.png, one in entropy/ expected"):
        evaluate(theirs, flat.index, uncertainty="written")
