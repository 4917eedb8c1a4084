"""nnU-Net raw data: annotators from folders, labels and channels from dataset.json."""

import json
import logging
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fake_data.raw.nnunet import LABELS, describe, write
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition
from umanet.data.sources import nnunet
from umanet.errors import DatasetError
from umanet.types import IGNORE


@pytest.fixture
def raw(tmp_path) -> Path:
    return write(tmp_path / "Dataset501_Liver", ignored=True)


def test_annotators_classes_channels_and_the_test_split(raw, caplog):
    with caplog.at_level(logging.WARNING, "umanet"):
        index = nnunet.index(raw)
    assert (index.name, index.annotators, index.channels) == ("Dataset501_Liver", ("anna", "bert"), ("T1", "T2"))
    assert [(c.name, c.values) for c in index.classes] == [("background", (0,)), ("liver", (1,)), ("lesion_cyst", (2,))]
    assert index.ignore == (3,)
    assert [case.split for case in index.cases] == [None] * 8 + ["test"] * 2
    assert "1 case of imagesTs without labels left out: nobody" in caplog.text


def test_voxels_of_both_channels_and_annotators_lie_where_the_files_have_them(raw):
    index = nnunet.index(raw)
    sample = read_case(index.cases[1], index)
    stored = np.asarray(nib.load(raw / "labelsTr_bert" / "scan 01.nii.gz").dataobj)[::-1]
    expected = np.where(stored == 3, IGNORE, stored)
    np.testing.assert_array_equal(sample.annotations[1].numpy(), expected)
    second = np.asarray(nib.load(raw / "imagesTr" / "scan 01_0001.nii.gz").dataobj)[::-1]
    np.testing.assert_array_equal(sample.image[1].numpy(), second)


@pytest.mark.parametrize(
    ("use", "annotators", "truth"),
    [("annotator", ("labelsTr", "anna", "bert"), False), ("truth", ("anna", "bert"), True),
     ("ignore", ("anna", "bert"), False)],
)  # fmt: skip
def test_labels_without_a_name_are_an_annotator_the_truth_or_nothing(raw, use, annotators, truth):
    for part in ("Tr", "Ts"):
        shutil.copytree(raw / f"labels{part}_anna", raw / f"labels{part}")
    index = nnunet.index(raw, labels_tr=use)
    assert index.annotators == annotators
    assert all((case.truth is not None) == truth for case in index.cases)


def test_dataset_json_may_list_the_files(raw):
    (raw / "imagesTr").rename(raw / "elsewhere")
    listed = {
        f"case{n}": {
            "images": [f"elsewhere/scan 0{n}_0000.nii.gz", str(raw / "elsewhere" / f"scan 0{n}_0001.nii.gz")],
            "label": f"labelsTr_anna/scan 0{n}.nii.gz",
        }
        for n in range(8)
    }
    shutil.rmtree(raw / "labelsTr_bert")
    (raw / "labelsTr_anna").rename(raw / "labelsTr")
    listed = json.loads(json.dumps(listed).replace("labelsTr_anna", "labelsTr"))
    describe(raw, dataset=listed)
    index = nnunet.index(raw)
    assert index.annotators == ("labelsTr",)
    assert [path.name for path in index.cases[2].image] == ["scan 02_0000.nii.gz", "scan 02_0001.nii.gz"]
    (raw / "elsewhere" / "scan 03_0000.nii.gz").unlink()
    with pytest.raises(DatasetError, match="1 fault"):
        nnunet.index(raw)
    describe(raw, dataset=listed, numTraining=7)
    assert len(nnunet.index(raw, leave_out=True).cases) == 7


@pytest.mark.parametrize("names", [["R", "G", "B"], ["rgb_to_0_1"] * 3])
def test_one_picture_may_hold_three_channels(tmp_path, names):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(tmp_path / "imagesTr" / "road_0000.png")
    Image.fromarray(np.eye(4, 5, dtype=np.uint8)).save(tmp_path / "labelsTr" / "road.png")
    named = {str(number): name for number, name in enumerate(names)}
    describe(tmp_path, file_ending=".png", channel_names=named, labels={"background": 0, "road": 1}, numTraining=1)
    index = nnunet.index(tmp_path)
    assert (index.spatial_dims, len(index.channels), len(set(index.channels))) == (2, 3, 3)
    assert read_case(index.cases[0], index).image[2, 0, 1] == 5
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "imagesTr" / "road_0000.png")
    with pytest.raises(DatasetError):
        nnunet.index(tmp_path)


def test_regions_are_refused_unless_classes_are_given(raw):
    describe(raw, labels={"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, regions_class_order=[1, 2])
    with pytest.raises(DatasetError, match=r"Region-based labels found \('whole' is \[1, 2\]\).*--classes"):
        nnunet.index(raw)
    classes = [ClassDefinition(name=n, values=(k,)) for k, n in enumerate(("background", "rim", "core"))]
    index = nnunet.index(raw, classes=classes)
    assert [c.name for c in index.classes] == ["background", "rim", "core"]
    assert index.ignore == (3,)


def no_json(raw):
    (raw / "dataset.json").unlink()


def no_channel(raw):
    (raw / "imagesTr" / "scan 00_0001.nii.gz").unlink()


def a_gap(raw):
    (raw / "imagesTr" / "scan 00_0001.nii.gz").rename(raw / "imagesTr" / "scan 00_0002.nii.gz")


def no_image(raw):
    for path in (raw / "imagesTr").glob("scan 00*"):
        path.unlink()


def bare(raw):
    for path in raw.glob("labelsTr_*/scan 00.nii.gz"):
        path.unlink()


def stray(raw):
    (raw / "imagesTr" / "notes.txt").write_text("x")


def fewer(raw):
    describe(raw, numTraining=99)


def twice(raw):
    for number in range(2):
        shutil.copy(raw / "imagesTs" / f"scan 08_000{number}.nii.gz", raw / "imagesTr")
    shutil.copy(raw / "labelsTs_anna" / "scan 08.nii.gz", raw / "labelsTr_anna")


@pytest.mark.parametrize(
    ("spoil", "message", "left"),
    [
        (no_json, "No dataset.json found in", None),
        (lambda raw: describe(raw, channel_names={"0": "a", "2": "b"}), "channel_names .* found", None),
        (lambda raw: describe(raw, labels=[1]), "labels .* found", None),
        (lambda raw: shutil.rmtree(raw / "imagesTr"), "No folder 'imagesTr' found", None),
        (no_channel, "1 channel found .*2 .T1, T2. expected", 9),
        (a_gap, "Channels 0000, 0002 found", 9),
        (no_image, "No image found for", 9),
        (bare, "No annotation found", 9),
        (stray, "Another type than .nii.gz found", 10),
        (fewer, "8 training cases found, numTraining says 99", 10),
        (twice, "Found in imagesTr and in imagesTs", 10),
    ],
)
def test_what_is_wrong_is_said_and_left_out_on_demand(raw, caplog, spoil, message, left):
    spoil(raw)
    with pytest.raises(DatasetError) as caught, caplog.at_level(logging.WARNING, "umanet"):
        nnunet.index(raw)

    assert re.search(message, f"{caplog.text} {caught.value}", re.DOTALL)
    if left is None:
        with pytest.raises(DatasetError):
            nnunet.index(raw, leave_out=True)
    else:
        assert len(nnunet.index(raw, leave_out=True).cases) == left


def test_the_first_fold_is_the_split_and_a_bad_list_of_folds_is_refused(raw):
    names = [case.id for case in nnunet.index(raw).cases if case.split is None]
    path = raw / "splits_final.json"
    folds = [{"train": names[2:], "val": names[:2]}, {"train": names[:2], "val": names[2:]}]
    path.write_text(json.dumps(folds))
    splits = {case.id: case.split for case in nnunet.index(raw).cases}
    assert [splits[name] for name in names] == ["validation"] * 2 + ["train"] * 6 and "test" in splits.values()
    path.write_text(json.dumps([{"train": names, "val": names[:1]}]))
    with pytest.raises(DatasetError, match=f"{names[0]!r} found in train and in val of the first fold"):
        nnunet.index(raw)
    path.write_text("{}")
    with pytest.raises(DatasetError, match="No list of folds"):
        nnunet.index(raw)


def test_the_labels_of_version_one_are_read(raw):
    labels = {str(value): name for name, value in LABELS.items()}
    describe(raw, labels=labels)
    assert nnunet.index(raw).ignore == (3,)
