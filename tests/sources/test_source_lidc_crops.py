"""What is particular to re-released crops of LIDC-IDRI."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_data.raw import lidc_crops as fake
from umanet.data.check import check
from umanet.data.sources.lidc_crops import index
from umanet.errors import DatasetError


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return fake.write(tmp_path / "raw", patients=4)


def test_patients_come_from_names_and_readers_are_anonymous(raw: Path):
    found = index(raw)
    assert {case.id: case.patient for case in found.cases}["LIDC-IDRI-0002_nodule-1"] == "LIDC-IDRI-0002"
    assert len(found.cases) == 6 and len({case.patient for case in found.cases}) == 4
    assert found.annotators == ("reader1", "reader2", "reader3", "reader4")
    assert not found.annotators_are_identified
    assert [definition.name for definition in found.classes] == ["background", "nodule"]


def test_a_reader_without_a_file_is_absent(raw: Path):
    (raw / "annotations" / "reader2" / "LIDC-IDRI-0001_nodule-0.png").unlink()
    assert tuple(index(raw).cases[0].annotations) == ("reader1", "reader3", "reader4")


def test_masks_of_0_and_255_are_the_same(raw: Path):
    for path in (raw / "annotations").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint8) * 255).save(path)
    assert index(raw).classes[1].values == (255,)


def test_masks_with_more_values_are_refused(raw: Path):
    path = raw / "annotations" / "reader1" / "LIDC-IDRI-0001_nodule-0.png"
    Image.fromarray(np.full((48, 48), 2, np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r"The values 0, 1, 2 found .* 0 and 1, or 0 and 255, expected"):
        index(raw)


def test_names_without_a_patient_are_refused(raw: Path):
    for path in raw.rglob("LIDC-IDRI-0001_nodule-0.png"):
        path.rename(path.with_name("nodule-0.png"))
    with pytest.raises(DatasetError, match="Case 'nodule-0' found"):
        index(raw)


def test_an_archive_is_refused(tmp_path: Path):
    (tmp_path / "crops.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="An archive found"):
        index(tmp_path / "crops.zip")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "dims"), [("lidc-2d", 2), ("lidc-3d", 3)])
def test_real_crops_have_no_fault_but_identical_annotations(data_root: Path, name: str, dims: int):
    if not (data_root / name).is_dir():
        pytest.skip(f"No {name} in the folder of real data.")
    found = index(data_root / name)
    assert found.spatial_dims == dims and len(found.annotators) == 4
    assert {problem.code for problem in check(found).problems} == {"identical-annotations"}
