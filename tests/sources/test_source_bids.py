"""BIDS: which annotation belongs to which image, and what labels are called."""

import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fake_data.raw.bids import SHAPE, save, write
from umanet.data.images import read_case
from umanet.data.sources import bids
from umanet.errors import DatasetError

PIPELINE = Path("derivatives") / "manual drawing"


@pytest.fixture
def raw(tmp_path) -> Path:
    return write(tmp_path / "raw")


def test_sessions_are_cases_of_one_patient_and_derivatives_are_no_images(raw):
    index = bids.index(raw)
    assert index.annotators == ("anna", "bert")
    assert [(case.id, case.patient) for case in index.cases[:3]] == [
        ("sub-01_ses-a_acq-mprage", "01"), ("sub-01_ses-b_acq-mprage", "01"), ("sub-02_ses-a_acq-mprage", "02"),
    ]  # fmt: skip
    assert len(index.cases) == 10
    assert not any("derivatives" in path.parts for case in index.cases for path in case.image)
    assert [(c.name, c.values) for c in index.classes] == [
        ("background", (0,)), ("White matter", (1,)), ("lesion", (2,)),
    ]  # fmt: skip


def test_suffixes_are_channels_in_the_order_given(raw):
    index = bids.index(raw, suffixes=("FLAIR", "T1w"))
    assert index.channels == ("FLAIR", "T1w")
    sample = read_case(index.cases[0], index)
    for channel, suffix in enumerate(("FLAIR", "T1w")):
        path = raw / "sub-01" / "ses-a" / "anat" / f"sub-01_ses-a_acq-mprage_{suffix}.nii.gz"
        np.testing.assert_array_equal(sample.image[channel].numpy(), np.asarray(nib.load(path).dataobj))
    stored = raw / PIPELINE / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_space-orig_desc-bert_dseg.nii.gz"
    np.testing.assert_array_equal(sample.annotations[1].numpy(), np.asarray(nib.load(stored).dataobj))


@pytest.mark.parametrize("inside", [Path("derivatives"), PIPELINE])
def test_the_derivatives_may_be_named_instead(raw, inside):
    shutil.rmtree(raw / "derivatives" / "fast")
    assert [case.id for case in bids.index(raw / inside).cases] == [case.id for case in bids.index(raw).cases]


def test_another_entity_and_masks_without_a_table(raw):
    for path in (raw / PIPELINE).rglob("*_dseg.nii.gz"):
        path.rename(path.with_name(path.name.replace("desc-", "rater-").replace("_dseg", "_mask")))
    index = bids.index(raw, annotator_entity="rater", annotations_suffix="mask")
    assert index.annotators == ("anna", "bert")
    assert [c.name for c in index.classes] == ["background", "class_1", "class_2"]


def no_image(raw):
    (raw / "sub-05" / "anat" / "sub-05_acq-mprage_T1w.nii.gz").unlink()


def ambiguous(raw):
    save(raw / "sub-05" / "anat" / "sub-05_acq-other_T1w.nii.gz", np.zeros(SHAPE))


def twice(raw):
    folder = raw / PIPELINE / "sub-05" / "anat"
    shutil.copy(folder / "sub-05_space-orig_desc-anna_dseg.nii.gz", folder / "sub-05_desc-anna_dseg.nii.gz")


def nameless(raw):
    folder = raw / PIPELINE / "sub-05" / "anat"
    shutil.copy(folder / "sub-05_space-orig_desc-anna_dseg.nii.gz", folder / "sub-05_dseg.nii.gz")


def bare(raw):
    shutil.rmtree(raw / PIPELINE / "sub-05")


@pytest.mark.parametrize(
    ("spoil", "message", "left"),
    [
        (no_image, "No image with its entities found", 9),
        (ambiguous, "2 images (sub-05_acq-mprage, sub-05_acq-other) with its entities found", 9),
        (twice, "Two annotations of 'anna' found", 10),
        (nameless, "No entity desc found", 10),
        (bare, "sub-05_acq-mprage: No annotation found", 9),
    ],
)
def test_what_is_wrong_is_said_and_left_out_on_demand(raw, caplog, spoil, message, left):
    spoil(raw)
    with pytest.raises(DatasetError, match="found in the raw data and named above"):
        bids.index(raw)
    assert message in caplog.text
    with caplog.at_level(logging.ERROR):
        assert len(bids.index(raw, leave_out=True).cases) == left


def test_a_missing_channel_is_said(raw, caplog):
    (raw / "sub-05" / "anat" / "sub-05_acq-mprage_FLAIR.nii.gz").unlink()
    with pytest.raises(DatasetError):
        bids.index(raw, suffixes=("T1w", "FLAIR"))
    assert "No image found, one sub-05_acq-mprage_FLAIR expected" in caplog.text


def test_unknown_suffixes_name_those_that_are_there(raw):
    with pytest.raises(DatasetError, match=r"No image sub-\*_bold found in .*only FLAIR, T1w; .*--suffix"):
        bids.index(raw, suffixes=("bold",))


def test_without_a_suffix_the_only_kind_of_image_is_taken_and_of_several_one_is_to_be_named(raw, tmp_path):
    for path in raw.glob("sub-*/**/*_T1w.nii.gz"):
        path.rename(path.with_name(path.name.replace("T1w", "bold")))
    with pytest.raises(DatasetError, match=r"Images FLAIR, bold found in .*raw, .*as in --suffix FLAIR bold\."):
        bids.index(raw)
    for path in raw.glob("sub-*/**/*_FLAIR.nii.gz"):
        path.unlink()
    assert bids.index(raw).channels == ("bold",)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scan.nii.gz").touch()
    with pytest.raises(
        DatasetError, match=r"No image named as BIDS has it found in .*other, .*`umanet import folder` takes"
    ):
        bids.index(tmp_path / "other")


@pytest.mark.parametrize(
    ("table", "message"),
    [("index\tname\n2\ttumour\n", "Label 2 found as 'lesion' in"), ("value\tlabel\n2\tx\n", "cannot be read found"),
     ("index\tname\ntwo\tx\n", "cannot be read found")],
)  # fmt: skip
def test_tables_that_contradict_or_lack_columns_are_refused(raw, table, message):
    (raw / PIPELINE / "desc-bert_dseg.tsv").write_text(table)
    with pytest.raises(DatasetError, match=message):
        bids.index(raw)
