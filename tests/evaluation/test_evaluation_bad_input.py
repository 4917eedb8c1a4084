import shutil
from dataclasses import replace

import numpy as np
import pytest

from fake_data.predictions import TWO
from umanet.data.nifti import write_nifti
from umanet.errors import DatasetError, GeometryError, ImageError, TaskError
from umanet.evaluation import evaluate
from umanet.types import Geometry


def test_missing_predictions_are_named(flat):
    for number in range(12):
        flat.add(f"c{number}", [1] * 4, truth=[1] * 4)
    del flat.entries["c3"]
    with pytest.raises(DatasetError, match=r"No prediction of 1 of 12 cases \(c3\) found in .*--split; or predict"):
        flat.evaluate()
    flat.entries = {}
    with pytest.raises(DatasetError, match=r"12 of 12 cases \(c0, .*, c8, c9 and 2 more\)"):
        flat.evaluate()


def test_what_a_case_should_be_compared_with_must_be_there(flat):
    flat.add("a", [1] * 4, annotations=[[1] * 4])
    flat.add("b", [1] * 4, truth=[1] * 4)
    with pytest.raises(DatasetError, match=r"No truth of 1 of 2 cases \(a\) found in 'tiny'"):
        flat.evaluate(against="truth")
    with pytest.raises(DatasetError, match=r"No annotations of 1 of 2 cases \(b\) found"):
        flat.evaluate(against="annotations")
    flat.cases = [replace(case, annotations={}, truth=None) for case in flat.cases]
    with pytest.raises(DatasetError, match="No truth and no annotations of 2 of 2 cases"):
        flat.evaluate()


def test_predictions_of_other_classes_are_refused(flat):
    flat.add("a", [1] * 4, truth=[1] * 4)
    with pytest.raises(TaskError, match="Classes background, lung found, background, lung, heart expected"):
        flat.evaluate(flat.index.model_copy(update={"classes": TWO}))


def test_a_folder_without_predictions_is_refused(flat, tmp_path):
    flat.add("a", [1] * 4, truth=[1] * 4)
    with pytest.raises(DatasetError, match=r"No predictions could be read from .*nowhere.*Check the path"):
        evaluate(tmp_path / "nowhere", flat.index)
    (flat.predictions / "predictions.json").write_text('{"format": "other"}')
    with pytest.raises(DatasetError, match=r"format in .*predictions\.json.*Run the prediction again"):
        evaluate(flat.predictions, flat.index)
    (flat.predictions / "predictions.json").write_text("{")
    with pytest.raises(DatasetError, match=r"predictions\.json"):
        evaluate(flat.predictions, flat.index)


def test_two_files_of_one_case_are_refused(flat):
    flat.add("a", [1] * 4, truth=[1] * 4)
    labels = flat.predictions / "labels"
    shutil.copy(labels / "a.png", labels / "a.tif")
    with pytest.raises(DatasetError, match=r"a\.png and a\.tif found, one expected"):
        evaluate(labels, flat.index)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda values: values * np.nan, ImageError, r"NaN found, probabilities in \[0, 1\] expected, in .*c_lung"),
        (lambda values: values + 1, ImageError, r"Values from 1\.5 to 1\.5 found"),
        (lambda values: values[:-1], GeometryError, r"shape \(4, 3, 2\) and shape \(3, 3, 2\) .* map .*c_lung"),
    ],
)
def test_a_map_that_holds_no_probabilities_of_the_image_is_refused(solid, change, error, message):
    shape = solid.geometry.shape
    solid.add("c", np.ones(shape), probabilities=[np.full(shape, 0.5)] * 2, annotations=[np.ones(shape)])
    changed = change(np.full(shape, 0.5))
    grid = replace(solid.geometry, shape=changed.shape, file_shape=changed.shape)
    write_nifti(solid.predictions / solid.entries["c"]["probabilities"]["lung"], changed, grid)
    with pytest.raises(error, match=message):
        solid.evaluate()


def test_a_class_without_a_map_is_refused(solid):
    shape = solid.geometry.shape
    solid.add("c", np.ones(shape), probabilities=[np.full(shape, 0.5)], annotations=[np.ones(shape)])
    with pytest.raises(DatasetError, match="Probabilities of lung found, of heart expected, for"):
        solid.evaluate()


def test_labels_of_another_shape_are_refused(flat):
    flat.add("a", [1] * 4, truth=[1] * 4)
    flat.geometry = Geometry((4, 1), (1.0, 1.0), suffix=".png")
    flat.write("predictions/labels", "a", [1] * 4)
    with pytest.raises(GeometryError, match=r"shape \(2, 2\) and shape \(4, 1\)"):
        flat.evaluate()
