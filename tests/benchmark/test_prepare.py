"""The script that prepares data sets for the suites of the project."""

import importlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from umanet.__main__ import main
from umanet.benchmark import read_suite
from umanet.data.images import read_annotation_values, read_image
from umanet.data.index import read_index
from umanet.errors import DatasetError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def prepare():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("prepare")


@pytest.fixture(scope="module")
def phantoms(prepare, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("phantoms")
    prepare.prepare_phantoms(output, 5, 0)
    return output


def values(path: Path, spatial_dims: int) -> np.ndarray:
    return read_annotation_values(path, spatial_dims)[0]


@pytest.mark.parametrize(
    ("name", "channels", "annotators"),
    [("breast-dce", 3, 6), ("brain-tumor-1", 4, 5), ("brain-tumor-2", 4, 4), ("brain-tumor-3", 4, 3)],
)
def test_phantoms_are_data_sets_with_a_truth_and_splits(phantoms, name, channels, annotators):
    index = read_index(phantoms / f"{name}.json")
    assert [len(index.select(split)) for split in ("train", "validation", "test")] == [2, 1, 2]
    assert (len(index.channels), len(index.annotators)) == (channels, annotators)
    for case in index.cases:
        image, geometry = read_image(case.image, index.spatial_dims)
        assert len(image) == channels and len(case.annotations) == annotators
        assert values(case.truth, index.spatial_dims).shape == geometry.shape
        assert geometry.spacing_is_known and values(case.truth, index.spatial_dims).max() == 1
    assert main(["check", str(phantoms / f"{name}.json")]) == 0


def test_the_tasks_of_a_brain_are_nested_and_drawn_by_other_annotators(phantoms):
    of_tasks = [read_index(phantoms / f"brain-tumor-{task}.json") for task in (1, 2, 3)]
    for whole, core, enhancing in zip(*(index.cases for index in of_tasks), strict=True):
        truths = [values(case.truth, 2) for case in (whole, core, enhancing)]
        assert (truths[0] >= truths[1]).all() and (truths[1] >= truths[2]).all()
        assert whole.id == core.id == enhancing.id and whole.split == core.split
        assert set(whole.annotations.values()).isdisjoint(core.annotations.values())


def test_a_lesion_lies_where_its_annotations_and_its_uptake_are(phantoms):
    index = read_index(phantoms / "breast-dce.json")
    for case in index.cases:
        lesion = values(case.truth, 3) > 0
        uptake = read_image(case.image, 3)[0][-1]
        assert uptake[lesion].mean() > 2 * uptake[~lesion].mean()
        found = values(case.annotations["multi-otsu"], 3) > 0
        assert found[lesion].mean() > found[~lesion].mean()


def test_a_tumour_is_where_the_image_shows_it(phantoms):
    for case in read_index(phantoms / "brain-tumor-3.json").cases:
        enhancing, with_contrast = values(case.truth, 2) > 0, read_image(case.image, 2)[0][1]
        assert with_contrast[enhancing].mean() > 1.5 * with_contrast[~enhancing].mean()


def test_what_is_there_is_not_made_again(prepare, phantoms):
    before = {path: path.stat().st_mtime_ns for path in phantoms.rglob("*.png")}
    content = (phantoms / "breast-dce.json").read_bytes()
    prepare.prepare_phantoms(phantoms, 5, 0)
    assert before and before == {path: path.stat().st_mtime_ns for path in phantoms.rglob("*.png")}
    assert (phantoms / "breast-dce.json").read_bytes() == content


def test_other_phantoms_want_another_folder(prepare, phantoms):
    with pytest.raises(DatasetError, match=r"'cases': 5, 'seed': 0.* found .* 'seed': 1.* expected"):
        prepare.prepare_phantoms(phantoms, 5, 1)


@pytest.fixture
def readers(tmp_path) -> Path:
    data, rng = tmp_path / "data", np.random.default_rng(0)
    for name in (f"LIDC-IDRI-{patient:04}_{nodule}" for patient in range(1, 6) for nodule in (1, 2)):
        for place in ("images", *(f"annotations/reader{number}" for number in (1, 2, 3, 4))):
            for folder in ("lidc-2d", "lidc-3d"):
                (data / folder / place).mkdir(parents=True, exist_ok=True)
            high = 200 if place == "images" else 1
            Image.fromarray(rng.integers(0, high, (70, 72), np.uint8, endpoint=True)).save(
                data / "lidc-2d" / place / f"{name}.png"
            )
            volume = rng.integers(0, high, (72, 70, 6), np.uint8, endpoint=True)
            nib.save(nib.Nifti1Image(volume, np.eye(4)), data / "lidc-3d" / place / f"{name}.nii.gz")
    for place, tail in (("images", ""), ("annotations/observer1", "_1stHO"), ("annotations/observer2", "_2ndHO")):
        (data / "chase-db1" / place).mkdir(parents=True)
        for eye in (f"{number:02}{side}" for number in range(1, 6) for side in "LR"):
            picture = rng.integers(0, 1, (20, 22) if tail else (20, 22, 3), np.uint8, endpoint=True)
            Image.fromarray(picture).save(data / "chase-db1" / place / f"Image_{eye}{tail}.png")
    return data


def test_readers_are_split_by_patient_and_lidc_cut_to_its_middle(prepare, readers, tmp_path):
    for _ in range(2):  # the second time everything is there
        prepare.prepare_readers(readers, tmp_path / "out")
    for name, dims, identified in (("lidc-2d", 2, False), ("lidc-3d", 3, False), ("chase-db1", 2, True)):
        index = read_index(tmp_path / "out" / f"{name}.json")
        assert (index.spatial_dims, index.annotators_are_identified, len(index.cases)) == (dims, identified, 10)
        assert {case.split for case in index.cases} == {"train", "validation", "test"}
        assert len({case.patient for case in index.cases}) == 5
        assert len({(case.patient, case.split) for case in index.cases}) == 5
        geometry = read_image(index.cases[0].image, dims)[1]
        assert geometry.shape[:2] == ((64, 64) if name.startswith("lidc") else (20, 22))
    cut = np.asarray(Image.open(tmp_path / "out/lidc-2d/images/LIDC-IDRI-0001_1.png"))
    whole = np.asarray(Image.open(readers / "lidc-2d/images/LIDC-IDRI-0001_1.png"))
    assert (cut == whole[3:67, 4:68]).all()
    assert not any((tmp_path / "out").glob("chase-db1/*"))  # photographs stay where they are


def test_a_missing_folder_is_said_in_one_line_with_exit_code_2(prepare, readers, tmp_path, monkeypatch, capsys):
    (readers / "lidc-3d").rename(readers / "lidc")
    words = ["prepare.py", "readers", "--data", str(readers), "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        prepare.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    assert f"No folder found at {readers / 'lidc-3d'}; " in said and "Check --data." in said
    assert not (tmp_path / "out").exists()


def test_the_suites_name_what_the_script_prepares(prepare, phantoms):
    for data in read_suite(BENCHMARKS / "suites" / "phantoms.toml").data:
        for path in (data.dataset, data.images, data.truth):
            assert path is None or (phantoms / path).exists()
        if data.dataset is None:
            assert sum(data.cases.values()) == prepare.CASES
            assert {name: count / prepare.CASES for name, count in data.cases.items()} == prepare.FRACTIONS
    readers = read_suite(BENCHMARKS / "suites" / "readers.toml").data
    assert {str(data.dataset) for data in readers} == {f"{name}.json" for name in prepare.LAYOUTS}
