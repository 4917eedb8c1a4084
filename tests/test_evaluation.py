import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from umanet.data.images import file_name, write_labels, write_map
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.nifti import write_nifti
from umanet.errors import AnnotationError, DatasetError, GeometryError, ImageError, TaskError
from umanet.evaluation import METRICS, evaluate
from umanet.types import Case, Geometry

LUNG = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="lung", values=(255,)))
TWO = (*LUNG, ClassDefinition(name="heart", values=(3, 4)))
RNG = np.random.default_rng(2)


class Folder:
    """A data set and predictions of it, written as the rest of the project writes them."""

    def __init__(self, path, geometry, classes=LUNG):
        self.path, self.geometry, self.classes = path, geometry, classes
        self.predictions, self.cases, self.entries = path / "predictions", [], {}
        self.predicted_split = None

    def write(self, kind, name, labels):
        path = self.path / kind / file_name(name, self.geometry)
        write_labels(path, np.asarray(labels, np.uint8).reshape(self.geometry.shape), self.geometry, self.classes)
        return path

    def write_map(self, name, values):
        path = self.predictions / "probabilities" / file_name(name, self.geometry)
        write_map(path, np.asarray(values, np.float32).reshape(self.geometry.shape), self.geometry)
        return str(path.relative_to(self.predictions))

    def add(self, name, predicted, *, probabilities=None, annotations=None, truth=None, patient="", split="test"):
        """``probabilities`` of the foreground classes."""
        drawn = {f"a{r}": labels for r, labels in enumerate(annotations or []) if labels is not None}
        self.cases.append(
            Case(
                id=name,
                image=(self.write("images", name, np.zeros(self.geometry.shape)),),
                annotations={who: self.write(who, name, labels) for who, labels in drawn.items()},
                truth=None if truth is None else self.write("truth", name, truth),
                patient=patient or name,
                split=split,
            )
        )
        labels = str(self.write("predictions/labels", name, predicted).relative_to(self.predictions))
        maps = {
            definition.name: self.write_map(f"{name}_{definition.name}", values)
            for definition, values in zip(self.classes[1:], probabilities or [], strict=False)
        }
        self.entries[name] = {"labels": labels, "probabilities": maps, "entropy": "not read"}

    @property
    def index(self):
        return DatasetIndex(
            name="tiny",
            spatial_dims=len(self.geometry.shape),
            channels=("grey",),
            classes=self.classes,
            annotators=("a0", "a1", "a2"),
            cases=tuple(self.cases),
        )

    def evaluate(self, index=None, **options):
        manifest = {
            "format": "umanet-predictions",
            "version": 1,
            "classes": [definition.model_dump(mode="json") for definition in self.classes],
            "model": {},
            "split": self.predicted_split,
            "cases": self.entries,
        }
        (self.predictions / "predictions.json").write_text(json.dumps(manifest))
        return evaluate(self.predictions, index or self.index, **options)


@pytest.fixture
def flat(tmp_path):
    """2 x 2 pictures."""
    return Folder(tmp_path, Geometry((2, 2), (1.0, 1.0), suffix=".png"))


@pytest.fixture
def solid(tmp_path):
    """Volumes of two classes, in a file order that is not RAS+."""
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    orientation = ((0, -1), (1, 1), (2, 1))
    geometry = Geometry((4, 3, 2), (1.0, 2.0, 3.0), True, affine, (4, 3, 2), orientation, ".nii.gz")
    return Folder(tmp_path, geometry, TWO)


def test_numbers_are_those_worked_out_by_hand(flat):
    annotations = [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    flat.add("one", [0, 0, 1, 1], probabilities=[[0, 0.2, 0.6, 0.8]], annotations=annotations, truth=[0, 1, 1, 1])
    evaluation = flat.evaluate()
    (row,) = evaluation.cases
    # Voxels with p > t: 3, 2, 2, 1, 0; with m > t: 3, 3, 2, 1, 1; in both: 3, 2, 2, 1, 0.
    expected = {
        "dice": 4 / 5,
        "iou": 2 / 3,
        "soft_dice": (1 + 4 / 5 + 1 + 1 + 0) / 5,
        "soft_iou": (1 + 2 / 3 + 1 + 1 + 0) / 5,
        "mean_dice": (4 / 5 + 1 + 2 / 3) / 3,
        # Each probability is alone in its bin.
        "ece": (0 + (1 / 3 - 0.2) + (2 / 3 - 0.6) + (1 - 0.8)) / 4,
        "brier": (0 + (1 / 3 - 0.2) ** 2 + (2 / 3 - 0.6) ** 2 + (1 - 0.8) ** 2) / 4,
    }
    assert {metric: row[metric] for metric in expected} == pytest.approx(expected, abs=1e-4)
    assert {metric: entry["mean"] for metric, entry in evaluation.summary.items()} == pytest.approx(expected, abs=1e-4)
    assert (row["case"], row["patient"], row["class"]) == ("one", "one", "lung")
    assert row["outcome_truth"] == row["outcome_annotations"] == "found"
    assert evaluation.classes["lung"] == evaluation.summary


def test_the_mean_over_classes_counts_the_cases_of_every_class(solid):
    shape, patients = solid.geometry.shape, ["p", "p", "q"]
    truths = [RNG.integers(0, 3, shape), RNG.integers(0, 2, shape), np.zeros(shape)]
    predicted = [truths[0], np.where(truths[1] == 1, 2, 0), np.ones(shape)]
    for number, (first, second) in enumerate(zip(predicted, truths, strict=True)):
        solid.add(f"c{number}", first, truth=second, patient=patients[number])
    evaluation = solid.evaluate()
    assert [row["class"] for row in evaluation.cases] == ["(mean)", "lung", "heart"] * 3
    assert [row["dice"] for row in evaluation.cases] == [1, 1, 1, 0, 0, 0, 0.5, 0, 1]
    assert evaluation.summary["dice"]["mean"] == pytest.approx((1 + 0 + 0.5) / 3)
    counts = {"cases": 3, "both_empty": 1, "missed": 1, "false": 2}
    assert evaluation.summary["dice"] == evaluation.summary["dice"] | counts
    assert evaluation.classes["heart"]["dice"]["mean"] == pytest.approx((1 + 0 + 1) / 3)
    counts = {"cases": 3, "both_empty": 1, "missed": 0, "false": 1}
    assert evaluation.classes["heart"]["dice"] == evaluation.classes["heart"]["dice"] | counts
    # Resamples hold p alone (1/2), q alone (1/2) or both.
    assert evaluation.summary["dice"]["ci95"] == [0.5, 0.5]
    assert [row["class"] for row in evaluation.summary_rows()] == ["(mean)"] * 2 + ["lung"] * 2 + ["heart"] * 2
    assert evaluation.summary_rows()[0]["low"] == 0.5


def test_a_volume_is_scored_on_the_grid_of_its_files(solid):
    shape = solid.geometry.shape
    annotations = [RNG.integers(0, 3, shape) for _ in range(3)]
    probabilities = [np.mean([a == k for a in annotations], axis=0) for k in (1, 2)]
    solid.add("c", annotations[0], probabilities=probabilities, annotations=annotations)
    summary = solid.evaluate().summary
    assert summary["soft_dice"]["mean"] == 1
    assert summary["ece"]["mean"] == pytest.approx(0, abs=1e-6)
    assert summary["brier"]["mean"] == pytest.approx(0, abs=1e-6)


def test_an_absent_annotator_is_no_empty_annotation(flat):
    mask = [0, 1, 1, 0]
    flat.add("c", mask, annotations=[mask, None, mask])
    evaluation = flat.evaluate()
    assert {m: evaluation.summary[m]["mean"] for m in ("soft_dice", "mean_dice", "brier")} == {
        "soft_dice": 1,
        "mean_dice": 1,
        "brier": 0,
    }


def test_calibration_of_a_case_without_anything_is_undefined_and_not_zero(flat):
    flat.add("nothing", [0] * 4, annotations=[[0] * 4])
    flat.add("missed", [0] * 4, annotations=[[1] * 4])
    summary = flat.evaluate().summary
    assert summary["brier"] == {"mean": 1.0, "ci95": [None, None], "cases": 1, "both_empty": 1, "missed": 1, "false": 0}
    assert summary["soft_dice"]["mean"] == 0.5
    assert flat.evaluate(region="image").summary["brier"]["mean"] == 0.5


def test_calibration_is_measured_near_annotations_and_prediction_only(tmp_path):
    folder = Folder(tmp_path, Geometry((1, 20), (1.0, 1.0), suffix=".png"))
    mask = np.arange(20) == 0
    folder.add("c", mask, annotations=[np.zeros(20)])
    assert folder.evaluate().summary["ece"]["mean"] == pytest.approx(1 / 4)
    assert folder.evaluate(region="image").summary["ece"]["mean"] == pytest.approx(1 / 20)


def test_against_chooses_the_metrics(flat):
    flat.add("c", [1] * 4, annotations=[[1] * 4], truth=[1] * 4)
    for kind in ("truth", "annotations"):
        assert tuple(flat.evaluate(against=kind).summary) == METRICS[kind]
    assert tuple(flat.evaluate().summary) == (*METRICS["truth"], *METRICS["annotations"])


def test_a_case_without_truth_has_no_row_of_zeros(flat):
    flat.add("with", [1] * 4, annotations=[[1] * 4], truth=[1] * 4)
    flat.add("without", [1] * 4, annotations=[[1] * 4])
    evaluation = flat.evaluate()
    assert evaluation.cases[1]["dice"] is None
    assert (evaluation.summary["dice"]["cases"], evaluation.summary["soft_dice"]["cases"]) == (1, 2)


def test_masks_of_another_tool_are_scored_as_probabilities_of_zero_and_one(flat):
    for name in ("x", "y"):
        mask = RNG.integers(0, 2, 4)
        flat.add(name, mask, probabilities=[mask], annotations=[RNG.integers(0, 2, 4)], truth=RNG.integers(0, 2, 4))
    whole = flat.evaluate()
    bare = evaluate(flat.predictions / "labels", flat.index)
    assert bare.summary == whole.summary
    assert bare.cases == whole.cases
    assert (whole.protocol["cases_with_probabilities"], bare.protocol["cases_with_probabilities"]) == (2, 0)


def test_only_the_split_is_scored_and_progress_told(flat):
    flat.add("a", [1] * 4, truth=[1] * 4, split="train")
    flat.add("b", [0] * 4, truth=[1] * 4)
    told = []
    evaluation = flat.evaluate(split="test", progress=lambda done, total: told.append((done, total)))
    assert [row["case"] for row in evaluation.cases] == ["b"]
    assert told == [(1, 1)]
    with pytest.raises(DatasetError, match="No case found in split 'validation' of 'tiny'"):
        flat.evaluate(split="validation")


def test_the_seed_decides_the_intervals_and_nothing_else(flat):
    for number in range(8):
        flat.add(f"c{number}", np.arange(4) < 1 + number % 3, truth=np.arange(4) < 1 + number % 4)
    first, again, other = (flat.evaluate(seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.cases == other.cases
    assert first.summary["iou"]["ci95"] != other.summary["iou"]["ci95"]


def test_it_writes_json_and_csv_that_other_programs_read(flat, tmp_path):
    flat.add("ä", [0] * 4, annotations=[[0] * 4])
    flat.add("b", [1] * 4, annotations=[[1] * 4])
    evaluation = flat.evaluate()
    evaluation.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.json", "evaluation.csv"}
    read = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert set(read) == {"summary", "classes", "cases", "protocol"}
    assert read["summary"]["soft_dice"]["mean"] == 1
    with (tmp_path / "out" / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"], row["brier"]) for row in rows] == [("ä", "lung", ""), ("b", "lung", "0.0")]


def test_missing_predictions_are_named(flat):
    for number in range(12):
        flat.add(f"c{number}", [1] * 4, truth=[1] * 4)
    del flat.entries["c3"]
    with pytest.raises(DatasetError, match=r"No prediction of 1 of 12 cases \(c3\) found in .*Predict them"):
        flat.evaluate()
    flat.entries = {}
    with pytest.raises(DatasetError, match=r"12 of 12 cases \(c0, .*, c7, \.\.\.\)"):
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
        (lambda values: values * np.nan, ImageError, r"probabilities in \[0, 1\] expected, in .*c_lung"),
        (lambda values: values + 1, ImageError, r"Values from 1\.5 to 1\.5 found"),
        (lambda values: values[:-1], AnnotationError, r"A probability map \(.*c_lung.*\) of shape"),
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


def test_the_split_that_was_predicted_is_the_one_that_is_scored(flat):
    flat.add("seen", [0, 0, 0, 0], truth=[1, 1, 1, 1], split="train")
    del flat.entries["seen"]
    flat.add("new", [1, 1, 0, 0], truth=[1, 1, 0, 0], split="test")
    flat.predicted_split = "test"
    found = flat.evaluate()
    assert found.protocol["split"] == "test" and [row["case"] for row in found.cases] == ["new"]
    with pytest.raises(DatasetError, match="No prediction of 1 of 1 cases"):
        flat.evaluate(split="train")
