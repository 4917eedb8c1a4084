import errno
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from umanet.data.check import check
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition, read_index, write_index
from umanet.data.sources import folder
from umanet.errors import DatasetError

DISC = (np.hypot(*np.mgrid[-8:8, -10:10]) < 6).astype(np.uint8)
GREY = np.arange(320, dtype=np.uint8).reshape(16, 20)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name:
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 2, 1])), path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)


def lay_out(
    root: Path, *, image=GREY, annotation=DISC * 255, suffix=".png", cases=("a", "b"), annotators=("anna", "ben")
):
    for case in cases:
        save(root / "images" / f"{case}{suffix}", image)
        for annotator in annotators:
            save(root / "annotations" / annotator / f"{case}{suffix}", annotation)


def test_the_plain_layout_is_indexed(tmp_path):
    lay_out(tmp_path)
    (tmp_path / "annotations" / "ben" / "b.png").unlink()
    (tmp_path / "images" / ".DS_Store").write_text("")
    index = folder.index(tmp_path)
    assert (index.name, index.spatial_dims, index.channels) == (tmp_path.name, 2, ("grey",))
    assert index.annotators == ("anna", "ben")
    assert [definition.values for definition in index.classes] == [(0,), (255,)]
    assert [set(case.annotations) for case in index.cases] == [{"anna", "ben"}, {"anna"}]
    assert [case.patient for case in index.cases] == ["a", "b"]
    assert read_case(index.cases[1], index).present.tolist() == [True, False]


@pytest.mark.parametrize(
    ("image", "annotation", "suffix", "dims", "channels", "names"),
    [
        (GREY, DISC.astype(bool), ".png", 2, ("grey",), ["background", "foreground"]),
        (GREY.astype(np.uint16) * 99, DISC, ".png", 2, ("grey",), ["background", "foreground"]),
        (np.stack([GREY] * 3, 2), DISC * 2, ".png", 2, ("red", "green", "blue"), ["background", "class_2"]),
        (np.stack([GREY] * 5), np.stack([DISC] * 5), ".tif", 3, ("grey",), ["background", "foreground"]),
        (np.stack([GREY] * 5, 2), np.stack([DISC, DISC * 2], 2).repeat(5, 2)[..., 3:8], ".nii.gz", 3, ("grey",),
         ["background", "class_1", "class_2"]),
        (GREY[..., None], DISC[..., None], ".nii", 2, ("grey",), ["background", "foreground"]),
        (np.zeros((16, 20, 5, 2), np.float32), np.stack([DISC] * 5, 2), ".nii", 3, ("channel_0", "channel_1"),
         ["background", "foreground"]),
    ],
)  # fmt: skip
def test_dimensions_channels_and_classes_are_found(tmp_path, image, annotation, suffix, dims, channels, names):
    lay_out(tmp_path, image=image, annotation=annotation, suffix=suffix)
    index = folder.index(tmp_path)
    assert (index.spatial_dims, index.channels) == (dims, channels)
    assert [definition.name for definition in index.classes] == names
    sample = read_case(index.cases[0], index)
    assert len(sample.image) == len(channels)
    assert sample.annotations.ndim == dims + 1


def test_ones_of_one_annotator_and_255s_of_another_are_one_class(tmp_path):
    lay_out(tmp_path, annotators=("anna",))
    lay_out(tmp_path, annotators=("ben",), annotation=DISC)
    assert folder.index(tmp_path).classes[1] == ClassDefinition(name="foreground", values=(1, 255))


def test_ones_and_255s_in_one_file_are_two_classes(tmp_path):
    both = DISC.copy()
    both[0] = 255
    lay_out(tmp_path, annotation=both)
    assert [definition.name for definition in folder.index(tmp_path).classes] == ["background", "class_1", "class_255"]


def test_given_classes_are_taken_as_they_are(tmp_path):
    lay_out(tmp_path)
    classes = [ClassDefinition(name="background", values=(0,)), ClassDefinition(name="disc", values=(255,))]
    assert folder.index(tmp_path, classes=classes).classes == tuple(classes)


def given(**values):
    return [ClassDefinition(name=name, values=those) for name, those in values.items()]


def test_values_of_given_classes_that_nobody_drew_are_warned_of(tmp_path, caplog):
    lay_out(tmp_path, annotation=DISC)
    folder.index(tmp_path, classes=given(background=(0,), disc=(1,)))
    assert not caplog.records
    folder.index(tmp_path, classes=given(background=(0,), disc=(1, 255), cup=(2,)))
    assert [record.getMessage() for record in caplog.records] == [
        "Of the values of the classes no annotation has 255 (disc), 2 (cup); these hold 0, 1. If that is a slip, mend "
        "--classes."
    ]


def test_given_classes_of_which_nobody_drew_any_are_refused(tmp_path):
    lay_out(tmp_path)
    with pytest.raises(DatasetError, match=r"no annotation has 1 \(disc\), 2 \(cup\); these hold 0, 255, at least one"):
        folder.index(tmp_path, classes=given(background=(0,), disc=(1,), cup=(2,)))


def test_classes_may_be_given_where_every_annotation_is_empty(tmp_path, caplog):
    lay_out(tmp_path, annotation=DISC * 0)
    assert len(folder.index(tmp_path, classes=given(background=(0,), disc=(1,))).classes) == 2
    assert "no annotation has 1 (disc); these hold 0." in caplog.text


def test_what_cannot_be_read_is_left_to_the_check_where_classes_are_given(tmp_path):
    lay_out(tmp_path)
    (tmp_path / "annotations" / "ben" / "b.png").write_bytes(b"no picture")
    index = folder.index(tmp_path, classes=given(background=(0,), disc=(255,)))
    assert "unreadable" in {problem.code for problem in check(index).problems}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            GREY,
            r"4 of 4 annotations cannot be used. Found 256 distinct values in .*a\.png, .*; at most 20 whole",
        ),
        (DISC * 0, "Only the value 0 found in all annotations"),
    ],
)
def test_annotations_that_are_no_classes_are_refused(tmp_path, annotation, message):
    lay_out(tmp_path, annotation=annotation)
    with pytest.raises(DatasetError, match=message):
        folder.index(tmp_path)


@pytest.mark.parametrize(("factor", "found"), [(0.5, "0.5"), (-1, "-1"), (np.nan, "nan")])
def test_values_that_are_no_classes_are_refused(tmp_path, factor, found):
    lay_out(tmp_path, image=GREY[..., None], annotation=DISC[..., None] * np.float32(factor), suffix=".nii")
    with pytest.raises(DatasetError, match=rf"Found value {found} in .*a\.nii, value {found} in .*b\.nii"):
        folder.index(tmp_path)


def test_every_annotation_that_cannot_be_used_is_reported_at_once(tmp_path):
    lay_out(tmp_path, cases=[f"{number:02}" for number in range(30)], annotators=("anna",))
    drawn = tmp_path / "annotations" / "anna"
    for number in range(3, 15):
        (drawn / f"{number:02}.png").write_bytes(b"no picture")
    for number in (20, 25):
        save(drawn / f"{number:02}.png", GREY)
    with pytest.raises(DatasetError) as error:
        folder.index(tmp_path)
    message = str(error.value)
    assert message.startswith("14 of 30 annotations cannot be used. ")
    assert message.endswith(" And 2 more.")
    named = [number for number in range(30) if f"anna/{number:02}.png" in message]
    assert named == [*range(3, 13), 20, 25]
    assert "cannot be read" in message and "256 distinct values" in message


def test_files_that_are_alike_in_nothing_have_too_many_values_together(tmp_path):
    lay_out(tmp_path, cases=("a", "b"), annotators=("anna",))
    save(tmp_path / "annotations" / "anna" / "a.png", GREY % 15)
    save(tmp_path / "annotations" / "anna" / "b.png", GREY % 15 + 15)
    with pytest.raises(DatasetError, match="30 distinct values found in all annotations together, at most 20"):
        folder.index(tmp_path)


def test_channels_in_files_of_their_own_are_joined(tmp_path):
    lay_out(tmp_path)
    for path in (tmp_path / "images").iterdir():
        save(path.with_name(f"{path.stem}_0001.png"), 255 - GREY)
        path.rename(path.with_name(f"{path.stem}_0000.png"))
    index = folder.index(tmp_path)
    assert [path.name for path in index.cases[0].image] == ["a_0000.png", "a_0001.png"]
    assert index.channels == ("channel_0", "channel_1")


def test_numbered_cases_are_no_channels(tmp_path):
    lay_out(tmp_path, cases=("image_0001", "image_0002"))
    assert [case.id for case in folder.index(tmp_path).cases] == ["image_0001", "image_0002"]


def test_patterns_find_cases_and_patients_in_other_names(tmp_path):
    for case in ("Image_01L", "Image_01R", "Image_02L", "Image_03L"):
        save(tmp_path / "images" / f"{case}.jpg", np.stack([GREY] * 3, 2))
        save(tmp_path / "annotations" / "observer1" / f"{case}_1stHO.png", DISC.astype(bool))
    index = folder.index(
        tmp_path,
        annotation_pattern=r"(?P<case>.+)_(1st|2nd)HO",
        patient_pattern=r"Image_(?P<patient>\d+)",
        fractions={"train": 0.5, "test": 0.5},
        seed=1,
    )
    assert [case.patient for case in index.cases] == ["01", "01", "02", "03"]
    assert all(case.annotations for case in index.cases)
    assert {case.split for case in index.cases} == {"train", "test"}
    assert index.splits is not None
    assert index.splits.seed == 1


def test_truth_alone_is_enough_to_simulate_from(tmp_path):
    lay_out(tmp_path, annotators=())
    for case in "ab":
        save(tmp_path / "truth" / f"{case}.png", DISC)
    index = folder.index(tmp_path)
    assert index.annotators == ()
    assert index.cases[0].truth == tmp_path / "truth" / "a.png"
    write_index(index, tmp_path / "dataset.json")
    assert read_index(tmp_path / "dataset.json") == index


def add_stray(root):
    save(root / "annotations" / "anna" / "c.png", DISC)


def add_stray_truth(root):
    save(root / "truth" / "c.png", DISC)


def add_second_file(root):
    save(root / "images" / "a.tif", GREY)


def add_loose_annotation(root):
    save(root / "annotations" / "a.png", DISC)


def add_empty_annotator(root):
    (root / "annotations" / "carl").mkdir()


def empty_images(root):
    for path in (root / "images").iterdir():
        path.unlink()


def rename_annotations(root):
    (root / "annotations").rename(root / "labels")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            add_stray,
            r"1 annotation without image found in .*anna, an image each expected: c\.png \(case 'c'\)\. "
            r".*--annotation-pattern",
        ),
        (add_stray_truth, r"1 annotation without image found in .*truth"),
        (add_second_file, r"Two files for case 'a' found, one expected: .*a\.png and .*a\.tif\. Remove one\."),
        (add_loose_annotation, r"File a\.png found in .*annotations, one folder per annotator expected"),
        (add_empty_annotator, "No file found in .*carl, annotations expected"),
        (empty_images, "No image found in .*images"),
        (rename_annotations, "Neither annotations/<annotator>/ nor truth/ with files found.*--annotations and --truth"),
    ],
)
def test_a_layout_that_does_not_fit_is_explained(tmp_path, spoil, message):
    lay_out(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=message):
        folder.index(tmp_path)


def test_new_images_are_indexed_where_classes_are_given(tmp_path):
    lay_out(tmp_path, annotators=())
    with pytest.raises(DatasetError, match="nobody annotated give --classes"):
        folder.index(tmp_path)
    classes = [ClassDefinition(name="background", values=(0,)), ClassDefinition(name="disc", values=(255,))]
    index = folder.index(tmp_path, classes=classes, fractions={"train": 0.5, "test": 0.5})
    write_index(index, tmp_path / "dataset.json")
    assert read_index(tmp_path / "dataset.json") == index
    assert [(case.id, case.annotations, case.split) for case in index.cases] == [("a", {}, None), ("b", {}, None)]
    assert (index.annotators, index.classes) == ((), tuple(classes))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    lay_out(tmp_path)

    def refuse(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DatasetError, match=r"The folder .* cannot be read: Permission denied\. Check the"):
        folder.index(tmp_path)


def test_a_root_that_is_no_folder_is_said_to_be_none(tmp_path):
    with pytest.raises(DatasetError, match=r"No folder found at .*nowhere, a folder with images/CASE.png and"):
        folder.index(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"A file found at .*file, a folder with images/CASE.png and"):
        folder.index(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_pattern": "(?P<case>x.+)"},
            r"File .*a\.png found, a name like '\(\?P<case>x\.\+\)' expected.*change --image-pattern\.",
        ),
        (
            {"annotation_pattern": "(.+)"},
            r"--annotation-pattern '\(\.\+\)' found, a named group \(\?P<case>...\) expected",
        ),
        (
            {"annotation_pattern": "(?P<case>).+"},
            r"Two files for case '' found, .*or tell their cases apart with --annotation-pattern\.",
        ),
        ({"patient_pattern": "["}, r"--patient-pattern '\[' found, a regular expression expected"),
        ({"patient_pattern": "Z"}, r"Case 'a' found, a name with 'Z' expected\. Change --patient-pattern\."),
    ],
)
def test_a_pattern_that_does_not_fit_is_explained(tmp_path, options, message):
    lay_out(tmp_path)
    with pytest.raises(DatasetError, match=message):
        folder.index(tmp_path, **options)
