"""Grades of a data set: on the images' own grid, in tables and maps that agree with each other."""

import json
import logging
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage

from fake_data.arrays import make_method, tiny_config
from fake_data.discs import ANNOTATORS, write_discs
from fake_data.reference import PAGE, documented
from umanet.config import DataOptions
from umanet.consensus import fuse_dataset
from umanet.data.geometry import from_ras
from umanet.data.images import read_case, read_image, read_map
from umanet.data.transforms import prepare
from umanet.errors import DatasetError, OutputError, TaskError
from umanet.grading import DOUBTFUL, _millimetres, _where, for_annotators, grade, grade_case, graded_cases
from umanet.inference.model_file import load_model, save_model
from umanet.types import Batch, Geometry

SHAPES = {2: (20, 26), 3: (10, 12, 8)}


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def discs(request, tmp_path_factory):
    return release(tmp_path_factory.mktemp("discs"), SHAPES[request.param])


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return release(tmp_path_factory.mktemp("flat"), SHAPES[2])


def release(folder, shape, method="uma-net", **options):
    """Four cases (Carl absent from two), and an untrained model that doubts at random."""
    index = write_discs(folder, shape, train=3, validation=1, **options)
    made = make_method(index.task, tiny_config(method))
    if method == "uma-net":
        torch.nn.init.normal_(made.uncertainty.out.weight, std=12.0)
        made.reliability.copy_(torch.tensor([0.6, 0.9, 0.7]))
        made.disputes.fill_(100.0)
    save_model(made, index, tiny_config(method), folder / "run")
    return index, load_model(folder / "run", grading=method == "uma-net")


@pytest.mark.parametrize("shape", [(30, 40), (12, 14, 16)])
def test_the_deepest_voxel_is_that_of_the_whole_volume(shape):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        uncertainty = ndimage.gaussian_filter(rng.normal(size=shape), 2).astype(np.float32)
        uncertainty = 0.5 + uncertainty / uncertainty.std() * 0.3
        regions, _ = ndimage.label(uncertainty > DOUBTFUL)
        largest = regions == 1 + np.bincount(regions.ravel())[1:].argmax()
        depth = ndimage.distance_transform_edt(np.pad(largest, 1))
        expected = np.array(np.unravel_index(np.argmax(depth), depth.shape)) - 1
        assert _where(uncertainty) == tuple(expected.tolist())


def test_a_case_is_graded_as_by_the_method(discs):
    index, model = discs
    sample = read_case(index.cases[1], index)
    prepared = prepare(sample, model.config.data, 2)
    with torch.no_grad():
        batch = Batch(prepared.image[None], prepared.annotations[None], prepared.present[None])
        expected = model.method.grade(batch)
    found = grade_case(model, sample)
    torch.testing.assert_close(vars(found), vars(expected), equal_nan=True, rtol=1e-4, atol=1e-5)
    assert found.quality[0].isnan().tolist() == [False, False, True]


@pytest.mark.parametrize("how", ["shrunk", "in tiles"])
def test_maps_lie_on_the_grid_of_the_image_and_qualities_stay_in_range(discs, how):
    index, model = discs
    options = {"longest_side": 9} if how == "shrunk" else {"patch": (8,) * index.spatial_dims}
    model = replace(model, config=model.config.model_copy(update={"data": DataOptions(**options)}))
    sample = read_case(index.cases[0], index)
    grades = grade_case(model, sample)
    assert grades.uncertainty.shape == (1, 3, *sample.geometry.shape)
    assert grades.consensus.shape == (1, 2, *sample.geometry.shape)
    assert grades.uncertainty.min() >= 0
    assert ((grades.quality > 0) & (grades.quality < 1)).all()
    torch.testing.assert_close(grades.consensus.sum(1), torch.ones(1, *sample.geometry.shape))


def test_what_is_written_agrees_with_the_grades(discs, tmp_path):
    index, model = discs
    done = []
    table = grade(model, index, tmp_path / "out", progress=lambda number, total: done.append((number, total)))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(table) == sum(len(case.annotations) for case in index.cases) == 10
    assert table.quality.is_monotonic_increasing
    maps = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out/uncertainty").rglob("*.*"))
    assert len(maps) == 10
    for graded in graded_cases(for_annotators(model, index), index):
        for number, annotator in enumerate(ANNOTATORS):
            row = table[(table.case == graded.case.id) & (table.annotator == annotator)]
            assert len(row) == (annotator in graded.case.annotations)
            if len(row):
                uncertainty = graded.grades.uncertainty[0, number]
                assert row.quality.item() == pytest.approx(float(graded.grades.quality[0, number]))
                assert row.doubtful_voxels.item() == int((uncertainty > np.log(2)).sum())
                (path,) = (tmp_path / "out" / "uncertainty" / annotator).glob(f"{graded.case.id}.*")
                wrong = 1 - np.exp(-uncertainty.numpy())
                np.testing.assert_allclose(read_map(path, index.spatial_dims), wrong, atol=1 / 65535)


def test_the_tables_are_read_back(flat, tmp_path):
    index, model = flat
    table = grade(model, index, tmp_path / "out", maps=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["quality.csv", "quality.json"]
    written = pd.read_csv(tmp_path / "out" / "quality.csv", keep_default_na=False)
    assert list(written.columns) == list(table.columns)
    np.testing.assert_allclose(written.quality, table.quality, atol=1e-4)
    summary = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert (summary["format"], summary["version"]) == ("umanet-quality", 1)
    assert len(summary["annotations"]) == len(table)
    assert len(summary["images"]) == 4
    qualities = [entry["image_quality"] for entry in summary["images"]]
    assert qualities == sorted(qualities)


def test_the_documented_columns_and_keys_are_those_that_are_written(flat, tmp_path):
    index, model = flat
    grade(model, index, tmp_path / "out", maps=False)
    summary = json.loads((tmp_path / "out" / "quality.json").read_text())
    columns = documented("Grades", "column")
    assert (tmp_path / "out" / "quality.csv").read_text().splitlines()[0] == ",".join(columns)
    assert ["format", "version", *documented("Grades", "key")] == list(summary)
    assert list(summary["annotations"][0]) == columns
    page = PAGE.read_text(encoding="utf-8").split("`quality.json`: ")[1]
    for name in (*summary["annotators"][0], *summary["images"][0]):
        assert f"`{name}`" in page


def test_where_points_into_the_largest_doubtful_region(flat, tmp_path):
    index, model = flat
    table = grade(model, index, tmp_path / "out", maps=False)
    found = {(row["case"], row["annotator"]): row["where"] for row in table.to_dict("records")}
    assert any(found.values())
    for graded in graded_cases(for_annotators(model, index), index):
        for number, annotator in enumerate(ANNOTATORS):
            where = found.get((graded.case.id, annotator))
            if where:
                assert graded.grades.uncertainty[0, number][tuple(map(int, where.split()))] > np.log(2)
            elif where == "":
                assert not (graded.grades.uncertainty[0, number] > np.log(2)).any()


def test_annotators_are_ranked_by_their_reliability(flat, tmp_path):
    index, model = flat
    grade(model, index, tmp_path / "out", maps=False)
    ranked = json.loads((tmp_path / "out" / "quality.json").read_text())["annotators"]
    assert [(entry["annotator"], entry["reliability"]) for entry in ranked] == [
        ("bert", 0.9),
        ("carl", 0.7),
        ("anna", 0.6),
    ]
    assert [entry["annotations"] for entry in ranked] == [4, 2, 4]


def test_anonymous_annotators_are_not_ranked(tmp_path):
    index, model = release(tmp_path, SHAPES[2], identified=False)
    grade(model, index, tmp_path / "out", maps=False)
    assert json.loads((tmp_path / "out" / "quality.json").read_text())["annotators"] == []


def test_grading_with_a_run_that_never_learned_to_doubt_says_so(flat, tmp_path, monkeypatch, caplog):
    index, model = flat
    monkeypatch.setattr(type(model.method), "monitor", lambda self: {"reliability_where_disputed": 0.99})
    with caplog.at_level(logging.WARNING, "umanet"):
        grade(model, index, tmp_path / "out", maps=False)
        fuse_dataset(index, model, tmp_path / "fused")
    assert caplog.text.count("reliable (0.990) even where they disagree") == 2


def test_annotators_of_another_data_set_are_found_by_name(flat):
    index, model = flat
    other = index.model_copy(update={"annotators": ("carl", "dora", "bert", "anna")})
    known = grade_case(model, read_case(index.cases[0], index))
    found = grade_case(for_annotators(model, other), read_case(index.cases[0], other))
    torch.testing.assert_close(found.uncertainty[0, [3, 2, 0]], known.uncertainty[0])
    assert found.quality[0, 1].isnan()


def test_an_empty_annotation_is_graded_and_said_to_be_empty(tmp_path):
    index, model = release(tmp_path, SHAPES[2])

    Image.new("L", SHAPES[2][::-1]).save(index.cases[0].annotations["anna"])
    table = grade(model, index, tmp_path / "out", maps=False)
    assert table[table["empty"]][["case", "annotator"]].to_numpy().tolist() == [["disc0", "anna"]]


def test_cases_that_nobody_annotated_are_left_out(flat, tmp_path):
    index, model = flat
    bare = index.model_copy(update={"cases": (replace(index.cases[0], annotations={}), *index.cases[1:])})
    assert set(grade(model, bare, tmp_path / "out", maps=False).case) == {"disc1", "disc2", "disc3"}


def test_only_the_split_that_is_asked_for_is_graded(flat, tmp_path):
    index, model = flat
    assert set(grade(model, index, tmp_path / "out", split="validation", maps=False).case) == {"disc3"}
    with pytest.raises(DatasetError, match="No annotation found in split 'test' of 'discs'"):
        grade(model, index, tmp_path / "other", split="test")


def test_a_model_that_cannot_grade_is_refused(tmp_path):
    index, model = release(tmp_path, SHAPES[2], method="majority")
    with pytest.raises(TaskError, match=r"'majority' cannot grade annotations\. Train with --method uma-net"):
        grade(model, index, tmp_path / "out")


def test_a_folder_in_use_is_not_overwritten(flat, tmp_path):
    index, model = flat
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="a new or empty folder expected"):
        grade(model, index, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_millimetres_are_those_that_a_viewer_of_the_file_shows(tmp_path):
    affine = nib.affines.from_matvec(np.array([[0, -2.0, 0], [0, 0, 3.0], [-0.5, 0, 0]]), [10, -20, 30])
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.float32), affine), tmp_path / "turned.nii.gz")
    geometry = read_image((tmp_path / "turned.nii.gz",), 3)[1]
    marked = np.zeros(geometry.shape)
    marked[2, 4, 1] = 1
    stored = np.argwhere(from_ras(marked, geometry))[0]
    expected = nib.affines.apply_affine(affine, stored)
    np.testing.assert_allclose([float(x) for x in _millimetres((2, 4, 1), geometry).split()], expected, atol=0.05)
    assert _millimetres((2, 4), geometry) == "" and _millimetres((2, 4, 1), Geometry((5, 6, 7), (1.0, 1.0, 1.0))) == ""


def test_an_annotator_who_was_not_in_the_training_has_no_reliability_and_comes_last(flat, tmp_path):
    index, model = flat
    *known, last = index.annotators
    name = {who: who for who in known} | {last: "newcomer"}
    cases = tuple(
        replace(case, annotations={name[who]: file for who, file in case.annotations.items()}) for case in index.cases
    )
    renamed = index.model_copy(update={"annotators": (*known, "newcomer"), "cases": cases})
    grade(model, renamed, tmp_path / "out", maps=False)
    ranked = json.loads((tmp_path / "out" / "quality.json").read_text())["annotators"]
    assert [entry["annotator"] for entry in ranked if entry["reliability"] is None] == ["newcomer"]
    assert ranked[-1]["annotator"] == "newcomer" and ranked[-1]["mean_quality"] > 0
