"""What is exported is read back by our own sources and by the other tool with the same labels."""

import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import CacheDataset, load_decathlon_datalist
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from fake_data.discs import write_discs
from fake_data.raw.chase_db1 import write as write_photographs
from fake_data.raw.nnunet import write as write_volumes
from umanet.data.images import read_case, read_labels
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.sources import bids, chase_db1, nnunet
from umanet.errors import ConfigError, DatasetError, OutputError
from umanet.export import export_dataset


@pytest.fixture(params=["discs", "balls", "photographs", "volumes"])
def index(request, tmp_path) -> DatasetIndex:
    if request.param == "photographs":
        return chase_db1.index(write_photographs(tmp_path / "raw"))
    if request.param == "volumes":
        return nnunet.index(write_volumes(tmp_path / "raw", ignored=True))
    return write_discs(tmp_path / "raw", (20, 26) if request.param == "discs" else (10, 12, 8))


def same(index: DatasetIndex, again: DatasetIndex) -> None:
    assert len(index.cases) == len(again.cases)
    for old, new in zip(index.cases, again.cases, strict=True):
        first, second = read_case(old, index), read_case(new, again)
        np.testing.assert_array_equal(first.image.numpy(), second.image.numpy())
        for name in old.annotations:
            ours = first.annotations[index.annotators.index(name)]
            theirs = second.annotations[again.annotators.index(name)]
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        assert set(old.annotations) == set(new.annotations)


def test_nnunet_reads_back_the_same(index, tmp_path):
    folder = export_dataset(index, "nnunet", tmp_path / "out")
    again = nnunet.index(folder)
    same(index, again)
    assert [case.split == "test" for case in index.cases] == [case.split == "test" for case in again.cases]


def test_bids_reads_back_the_same(index, tmp_path):
    folder = export_dataset(index, "bids", tmp_path / "out")
    table = (folder / "derivatives" / "umanet" / "dseg.tsv").read_text()
    assert table.startswith("index\tname\n0\tbackground\n1\t")
    same(index, bids.index(folder, suffixes=index.channels))


def test_values_that_are_ignored_go_to_bids_and_back(tmp_path):
    raw = bids_folder(tmp_path / "raw")
    (raw / "derivatives" / "p" / "dseg.tsv").unlink()
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="lesion", values=(1, 7)))
    index = bids.index(raw, classes=classes, ignore=(255,))
    folder = export_dataset(index, "bids", tmp_path / "out")
    again = bids.index(folder)
    assert again.ignore == (2,) and [c.name for c in again.classes] == ["background", "lesion"]
    same(index, again)
    assert {int(v) for v in read_case(again.cases[0], again).annotations.unique()} == {0, 1, 255}
    declared = (ClassDefinition(name="nothing", values=(0,)), ClassDefinition(name="tumour", values=(1,)))
    renamed = bids.index(folder, classes=declared)
    assert renamed.ignore == (2,) and renamed.classes == declared
    same(index, renamed)


def test_what_no_table_calls_ignored_is_said_by_the_user(tmp_path):
    raw = bids_folder(tmp_path / "raw", values=(0, 1, 255))
    (raw / "derivatives" / "p" / "dseg.tsv").unlink()
    index = bids.index(raw, ignore=(255,))
    assert [c.values for c in index.classes] == [(0,), (1,)] and index.ignore == (255,)


@pytest.mark.parametrize("choice", [{"how": "majority"}, {"how": "single", "annotator": "anna"}])
def test_what_is_ignored_stays_ignored_in_a_fusion_and_in_one_annotation(tmp_path, choice):
    index = bids.index(bids_folder(tmp_path / "raw"))
    again = nnunet.index(export_dataset(index, "nnunet", tmp_path / "out", **choice))
    one = read_case(index.cases[0], index).annotations[0]
    assert (one == 255).any()
    np.testing.assert_array_equal(read_case(again.cases[0], again).annotations[0].numpy(), one.numpy())


def bids_folder(root: Path, values=(0, 1, 7, 255)) -> Path:
    """A patient, drawn by one annotator with each of the values."""
    table = root / "derivatives" / "p" / "dseg.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("index\tname\n1\tlesion\n7\told lesion\n255\tignore\n")
    drawn = np.resize(np.array(values, np.uint8), (6, 5, 4))
    for place, name in ((root, "sub-1_T1w"), (table.parent, "sub-1_desc-anna_dseg")):
        (place / "sub-1" / "anat").mkdir(parents=True)
        nib.save(nib.Nifti1Image(drawn, np.eye(4)), place / "sub-1" / "anat" / f"{name}.nii.gz")
    return root


def test_names_are_those_that_the_specification_of_bids_has(index, tmp_path):
    folder = export_dataset(index, "bids", tmp_path / "out")
    # Entities in the order of the specification's appendix: sub, acq, desc; letters and digits only.
    image = re.compile(r"sub-([A-Za-z0-9]+)/anat/sub-\1(_acq-[A-Za-z0-9]+)?_[A-Za-z0-9]+\.nii\.gz")
    label = (
        r"derivatives/(umanet|truth)/sub-([A-Za-z0-9]+)/anat/sub-\2(_acq-[A-Za-z0-9]+)?_desc-[A-Za-z0-9]+_dseg.nii.gz"
    )
    for path in folder.rglob("*.nii.gz"):
        name = path.relative_to(folder).as_posix()
        assert image.fullmatch(name) or re.fullmatch(label, name), name
    described = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("dataset_description.json")}
    assert described == {".", "derivatives/umanet"} | ({"derivatives/truth"} if index.cases[0].truth else set())
    for path in folder.rglob("dataset_description.json"):
        said = json.loads(path.read_text())
        assert {"Name", "BIDSVersion", "DatasetType"} <= set(said)
        assert ("GeneratedBy" in said) == (said["DatasetType"] == "derivative")


# MONAI warns of decoders that are not installed, whatever it is to load.
@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
def test_monai_loads_the_list(index, tmp_path):
    path = export_dataset(index, "monai", tmp_path / "out")
    lists = [key for key, value in json.loads(path.read_text()).items() if isinstance(value, list)]
    entries = [entry for key in lists for entry in load_decathlon_datalist(path, data_list_key=key)]
    assert len(entries) == sum(len(case.annotations) for case in index.cases)
    keys = ("image", "label")
    load = Compose([LoadImaged(keys), EnsureChannelFirstd(keys, strict_check=False)])
    for loaded, entry in zip(CacheDataset(entries, load, num_workers=1, progress=False), entries, strict=True):
        assert loaded["image"].shape[1:] == loaded["label"].shape[1:], entry
        case = next(case for case in index.cases if case.id == entry["case"])
        drawn = read_case(case, index).annotations[index.annotators.index(entry["annotator"])]
        ours = np.where(drawn == 255, len(index.classes), drawn)
        values, counts = np.unique(loaded["label"], return_counts=True)
        # MONAI turns pictures: the histogram is what stays.
        assert (values.astype(int).tolist(), counts.tolist()) == tuple(
            x.tolist() for x in np.unique(ours, return_counts=True)
        )


@pytest.fixture
def split(tmp_path) -> DatasetIndex:
    """Six discs with a truth of their own: three for training, one for validation, two for testing."""
    index = write_discs(tmp_path / "raw")
    parts = ("train", "train", "train", "validation", "test", "test")
    return index.model_copy(
        update={"cases": tuple(replace(case, split=part) for case, part in zip(index.cases, parts, strict=True))}
    )


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def truth_of(index: DatasetIndex, number: int) -> np.ndarray:
    truth = index.cases[number].truth
    assert truth is not None
    return read_labels(truth, index)


def test_nnunet_gets_the_split_and_the_truth_of_test_cases(split, tmp_path, caplog):
    folder = export_dataset(split, "nnunet", tmp_path / "out", how="union")
    assert json.loads((folder / "splits_final.json").read_text()) == [
        {"train": ["disc0", "disc1", "disc2"], "val": ["disc3"]}
    ]
    np.testing.assert_array_equal(picture(folder / "labelsTs" / "disc4.png"), truth_of(split, 4))
    fused = picture(folder / "labelsTs_consensus" / "disc4.png")
    assert (fused >= truth_of(split, 4)).all() and (fused > truth_of(split, 4)).any()
    assert len(list((folder / "labelsTr").iterdir())) == 4
    assert "The truth of 4 cases for training is not exported" in caplog.text


def test_nnunet_trains_on_the_truth_or_on_one_annotator_where_asked(split, tmp_path):
    folder = export_dataset(split, "nnunet", tmp_path / "truth", how="truth")
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("labels")) == ["labelsTr", "labelsTs"]
    np.testing.assert_array_equal(picture(folder / "labelsTr" / "disc0.png"), truth_of(split, 0))
    folder = export_dataset(split, "nnunet", tmp_path / "carl", how="single", annotator="carl")
    drawn = read_labels(split.cases[2].annotations["carl"], split)
    np.testing.assert_array_equal(picture(folder / "labelsTr" / "disc2.png"), drawn)
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == ["disc0_0000.png", "disc2_0000.png"]
    assert sorted(path.name for path in (folder / "labelsTs_carl").iterdir()) == ["disc4.png"]


def test_who_draws_some_classes_is_exported_with_these_only(split, tmp_path):
    several = (*split.classes, ClassDefinition(name="ring", values=(7,)))
    index = split.model_copy(update={"classes": several, "annotator_classes": {"carl": ("ring",)}})
    for name, classes in (("anna", ["background", split.classes[1].name, "ring"]), ("carl", ["background", "ring"])):
        folder = export_dataset(index, "nnunet", tmp_path / name, how="single", annotator=name)
        assert list(json.loads((folder / "dataset.json").read_text())["labels"]) == classes
    # No ring is really there: of the truth nothing is left for who draws rings.
    assert not picture(folder / "labelsTs" / "disc4.png").any()


def test_nnunet_keeps_the_split_there_and_back(split, tmp_path):
    again = nnunet.index(export_dataset(split, "nnunet", tmp_path / "out"))
    assert {case.id: case.split for case in again.cases} == {case.id: case.split for case in split.cases}


def test_monai_gets_the_split_and_the_truth_as_label_of_test_cases(split, tmp_path):
    path = export_dataset(split, "monai", tmp_path / "out")
    for key, cases in {"training": "012", "validation": "3", "test": "45"}.items():
        entries = load_decathlon_datalist(path, data_list_key=key)
        assert {entry["case"] for entry in entries} == {f"disc{number}" for number in cases}
    assert [Path(entry["label"]).parent.name for entry in entries] == ["truth", "truth"]
    np.testing.assert_array_equal(picture(Path(entries[0]["label"])), truth_of(split, 4))
    drawn = load_decathlon_datalist(path, data_list_key="test_annotations")
    assert [(entry["case"], entry["annotator"]) for entry in drawn] == [
        ("disc4", "anna"), ("disc4", "bert"), ("disc4", "carl"), ("disc5", "anna"), ("disc5", "bert"),
    ]  # fmt: skip


def test_bids_has_the_truth_as_a_derivative_of_its_own_that_is_read_back_as_truth(split, tmp_path):
    folder = export_dataset(split, "bids", tmp_path / "out")
    again = bids.index(folder, suffixes=split.channels)
    assert again.annotators == split.annotators
    for old, new in zip(split.cases, again.cases, strict=True):
        assert new.truth is not None and "truth" in new.truth.relative_to(folder).parts
        np.testing.assert_array_equal(read_labels(new.truth, again), read_labels(old.truth, split))


def test_a_fusion_is_one_consecutive_label_map_per_case(tmp_path):
    index = chase_db1.index(write_photographs(tmp_path / "raw"))
    folder = export_dataset(index, "nnunet", tmp_path / "out", how="union", number=7)
    assert folder.name == "Dataset007_CHASE_DB1"
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "imagesTr", "labelsTr"]
    assert not (tmp_path / "out" / ".fusing").exists()
    case = index.cases[0]
    drawn = [read_labels(path, index) for path in case.annotations.values()]
    written = np.asarray(Image.open(folder / "labelsTr" / f"{case.id}.png"))
    np.testing.assert_array_equal(written, np.maximum(*drawn))


def test_bad_requests_leave_nothing(tmp_path):
    index = write_discs(tmp_path / "raw")
    with pytest.raises(ConfigError, match=r"--to nnunet2 found.*'nnunet'"):
        export_dataset(index, "nnunet2", tmp_path / "out")
    with pytest.raises(ConfigError, match="--id 1000 found"):
        export_dataset(index, "nnunet", tmp_path / "out", number=1000)
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError):
        export_dataset(index, "monai", tmp_path / "raw")
    named = index.model_copy(update={"cases": (replace(index.cases[0], id="left_seg"),)})
    with pytest.raises(DatasetError, match="'left_seg' found, one that does not end with _seg expected"):
        export_dataset(named, "nnunet", tmp_path / "out")
    export_dataset(named, "monai", tmp_path / "monai")


def test_annotations_without_a_truth_and_a_truth_without_annotations_are_told_apart(split, tmp_path):
    bare = [replace(case, annotations={}) for case in split.cases]
    with pytest.raises(DatasetError, match=r"No annotation found in all splits.*--with truth exports it"):
        export_dataset(split.model_copy(update={"cases": tuple(bare)}), "nnunet", tmp_path / "out")
    bare = [replace(case, truth=None) for case in split.cases]
    with pytest.raises(DatasetError, match="No truth found in split 'train'"):
        export_dataset(
            split.model_copy(update={"cases": tuple(bare)}), "bids", tmp_path / "out", how="truth", split="train"
        )
    case = replace(split.cases[0], annotations={"truth": split.cases[0].annotations["anna"]})
    both = split.model_copy(update={"cases": (case,), "annotators": ("truth",)})
    with pytest.raises(DatasetError, match="annotator name 'truth' found, another one expected"):
        export_dataset(both, "bids", tmp_path / "out")
    assert not (tmp_path / "out").exists()
