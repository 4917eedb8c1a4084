"""What is exported is read back by our own sources and by the other tool with the same labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from monai.data import load_decathlon_datalist
from PIL import Image

from fake_data.discs import write_discs
from fake_data.raw.chase_db1 import write as write_photographs
from fake_data.raw.nnunet import write as write_volumes
from umanet.data.images import read_case, read_labels
from umanet.data.index import DatasetIndex
from umanet.data.sources import bids, chase_db1, nnunet
from umanet.errors import ConfigError, OutputError
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
    if not index.ignore:
        same(index, bids.index(folder, suffixes=index.channels))


def test_monai_loads_the_list(index, tmp_path):
    path = export_dataset(index, "monai", tmp_path / "out")
    lists = [key for key in ("training", "validation", "test") if key in json.loads(path.read_text())]
    entries = [entry for key in lists for entry in load_decathlon_datalist(path, data_list_key=key)]
    assert len(entries) == sum(len(case.annotations) for case in index.cases)
    for entry in entries:
        images = [entry["image"]] if isinstance(entry["image"], str) else entry["image"]
        assert all(Path(file).is_file() for file in (*images, entry["label"]))


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
