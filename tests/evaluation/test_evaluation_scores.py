import csv
import json
from math import log

import numpy as np
import pytest

from fake_data.predictions import Folder
from umanet.errors import ConfigError, DatasetError
from umanet.evaluation import METRICS, evaluate
from umanet.fusion import staple
from umanet.types import Geometry

RNG = np.random.default_rng(2)


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
        # One of five border voxels lies beside the other surface; of three distances 0, 0, 1 the 95th percentile.
        "hd95_mm": 0.9,
        "assd_mm": 1 / 5,
        "surface_dice": 1,
        "majority_dice": 1,
        # It trusts the second annotator, who lies between the others.
        "staple_dice": 1,
        "ece_truth": (0.8 + 0.4 + 0.2) / 4,
        # The entropies are 0, 0.72, 0.97 and a hair above 0.72; the second voxel, which is wrong, is above one only.
        "uncertainty_auroc": 1 / 3,
        # All gaps have one sign: however they are shared between bins, they add up to the same.
        "ace": (0 + (1 / 3 - 0.2) + (2 / 3 - 0.6) + (1 - 0.8)) / 4,
        "nll": -(log(0.2) / 3 + log(0.8) * 2 / 3 + log(0.6) * 2 / 3 + log(0.4) / 3 + log(0.8)) / 4,
        "ncc": np.corrcoef([0, *(p * log(p) + (1 - p) * log(1 - p) for p in (0.2, 0.6, 0.8))], [0, -2, -2, 0])[0, 1],
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
    assert [row["class"] for row in evaluation.summary_rows()] == ["(mean)"] * 7 + ["lung"] * 7 + ["heart"] * 7
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
        scored = flat.evaluate(against=kind).summary
        assert scored and {METRICS[name].against for name in scored} == {kind}
    both = flat.evaluate()
    assert list(both.summary) == both.protocol["metrics"] == [name for name in METRICS if name in both.summary]
    assert both.protocol["against"] == ["truth", "annotations"]


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
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.json", "evaluation.csv", "annotators.csv"
    }  # fmt: skip
    with (tmp_path / "out" / "annotators.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"case": "ä", "patient": "ä", "class": "lung", "annotator": "a0", "dice": "1.0", "outcome": "both_empty"},
            {"case": "b", "patient": "b", "class": "lung", "annotator": "a0", "dice": "1.0", "outcome": "found"},
        ]
    read = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert set(read) == {
        "format", "version", "summary", "classes", "cases", "protocol", "annotators", "annotator_cases"
    }  # fmt: skip
    assert read["summary"]["soft_dice"]["mean"] == 1
    with (tmp_path / "out" / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"], row["brier"]) for row in rows] == [("ä", "lung", ""), ("b", "lung", "0.0")]


def test_the_split_that_was_predicted_is_the_one_that_is_scored(flat):
    flat.add("seen", [0, 0, 0, 0], truth=[1, 1, 1, 1], split="train")
    del flat.entries["seen"]
    flat.add("new", [1, 1, 0, 0], truth=[1, 1, 0, 0], split="test")
    flat.predicted_split = "test"
    found = flat.evaluate()
    assert found.protocol["split"] == "test" and [row["case"] for row in found.cases] == ["new"]
    with pytest.raises(DatasetError, match="No prediction of 1 of 1 cases"):
        flat.evaluate(split="train")


def test_distances_are_millimetres_along_the_axes_of_the_file(solid):
    """Spacing 1, 2, 3 mm; the object is one voxel further along the last axis."""
    truth, predicted = np.zeros((2, *solid.geometry.shape), int)
    truth[1, 1, 0], predicted[1, 1, 1] = 1, 1
    solid.add("c", predicted, truth=truth)
    lung = solid.evaluate().classes["lung"]
    assert [lung[metric]["mean"] for metric in ("hd95_mm", "assd_mm", "surface_dice")] == [3, 3, 0]
    assert solid.evaluate(tolerance_mm=3).classes["lung"]["surface_dice"]["mean"] == 1
    distances = solid.evaluate(tolerance_mm=3).protocol["distances"]
    assert distances == {"unit": "mm", "cases_without_spacing": 0, "tolerance_mm": 3, "missed": "nan"}


def test_without_spacing_a_pixel_is_the_unit_and_the_protocol_says_so(flat):
    flat.add("c", [1, 0, 0, 0], truth=[0, 1, 0, 0])
    evaluation = flat.evaluate()
    assert evaluation.summary["hd95_mm"]["mean"] == 1
    assert evaluation.protocol["distances"]["unit"] == "voxels"
    assert evaluation.protocol["distances"]["cases_without_spacing"] == 1


def test_a_missed_structure_has_no_distance_and_is_counted_or_costs_the_diagonal(flat):
    flat.add("found", [1, 0, 0, 0], truth=[1, 0, 0, 0])
    flat.add("missed", [0, 0, 0, 0], truth=[1, 0, 0, 0])
    flat.add("nothing", [0, 0, 0, 0], truth=[0, 0, 0, 0])
    evaluation = flat.evaluate()
    assert [row["hd95_mm"] for row in evaluation.cases] == [0, None, 0]
    entry = evaluation.summary["hd95_mm"]
    assert (entry["mean"], entry["cases"], entry["missed"], entry["both_empty"]) == (0, 2, 1, 1)
    assert [row["surface_dice"] for row in evaluation.cases] == [1, 0, 1]
    costly = flat.evaluate(missed="diagonal")
    assert [row["assd_mm"] for row in costly.cases] == pytest.approx([0, 8**0.5, 0])
    assert costly.summary["hd95_mm"]["mean"] == pytest.approx(8**0.5 / 3)


def test_a_tied_vote_is_no_majority(flat):
    flat.add("c", [0, 0, 1, 1], annotations=[[0, 1, 1, 1], None, [0, 0, 1, 1]])
    assert flat.evaluate().summary["majority_dice"]["mean"] == 1


def test_the_written_uncertainty_is_taken_where_it_is_asked_for(flat):
    votes = [[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]
    doubt = [0.1, 0.9, 0.5, 0.2]
    flat.add("c", [0, 0, 1, 1], probabilities=[[0, 0.5, 0.5, 1]], annotations=votes, uncertainty=doubt)
    entropies = flat.evaluate().summary["ncc"]["mean"]
    assert entropies == pytest.approx(1)
    written = flat.evaluate(uncertainty="written")
    assert written.summary["ncc"]["mean"] == pytest.approx(np.corrcoef(doubt, [0, 2, 2, 0])[0, 1], abs=1e-4)
    assert written.protocol["uncertainty"]["map"] == "written"


def test_agreement_is_undefined_without_disagreement_or_without_probabilities(flat):
    flat.add("alone", [0, 0, 1, 1], probabilities=[[0, 0.5, 0.5, 1]], annotations=[[0, 0, 1, 1]])
    assert flat.evaluate().summary["ncc"] == {
        "mean": None, "ci95": [None, None], "cases": 0, "both_empty": 0, "missed": 0, "false": 0
    }  # fmt: skip


def test_what_was_compared_with_has_a_digest_whatever_the_order_of_cases(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]], truth=[1, 1, 0, 0])
    flat.add("b", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]])
    first = flat.evaluate().protocol["targets_sha256"]
    flat.cases.reverse()
    assert flat.evaluate().protocol["targets_sha256"] == first
    assert flat.evaluate(against="annotations").protocol["targets_sha256"] == {"annotations": first["annotations"]}
    flat.write("a0", "b", [0, 0, 0, 1])
    other = flat.evaluate().protocol["targets_sha256"]
    assert other["truth"] == first["truth"] and other["annotations"] != first["annotations"]


def test_to_miss_a_class_does_not_shorten_the_mean_distance(solid):
    shape = solid.geometry.shape
    truth = np.zeros(shape, int)
    truth[0], truth[-1] = 1, 2
    solid.add("missed", np.where(truth == 1, 1, 0), truth=truth, annotations=[truth])
    solid.add("found", truth, truth=truth, annotations=[truth])
    evaluation = solid.evaluate()
    mean, lung, heart = evaluation.cases[:3]
    assert (lung["hd95_mm"], heart["hd95_mm"], mean["hd95_mm"]) == (0, None, None)
    assert (mean["dice"], mean["mean_dice"]) == (0.5, 0.5)
    entry = evaluation.summary["hd95_mm"]
    assert (entry["mean"], entry["cases"], entry["missed"]) == (0, 1, 1)
    assert solid.evaluate(missed="diagonal").summary["hd95_mm"]["cases"] == 2


def test_counts_beside_a_dice_are_of_what_it_compares_with(flat):
    """One of three drew, nothing is predicted: the majority drew nothing either."""
    for number in range(2):
        flat.add(f"c{number}", [0] * 4, annotations=[[0, 0, 1, 1], [0] * 4, [0] * 4])
    found = flat.evaluate()
    counts = {name: [found.summary[name][key] for key in ("missed", "both_empty")] for name in found.summary}
    assert counts["majority_dice"] == counts["staple_dice"] == [0, 2] and counts["mean_dice"] == [2, 0]
    assert found.summary["majority_dice"]["mean"] == 1
    assert (found.cases[0]["outcome_majority"], found.cases[0]["outcome_annotations"]) == ("both_empty", "missed")
    assert "outcome_staple" not in flat.evaluate(metrics=("majority_dice",)).cases[0]


def test_the_consensus_of_staple_is_that_of_its_function_and_needs_three(solid):
    drawn = [RNG.integers(0, 3, solid.geometry.shape) for _ in range(3)]
    predicted = RNG.integers(0, 3, solid.geometry.shape)
    solid.add("three", predicted, annotations=drawn)
    solid.add("two", predicted, annotations=drawn[:2])
    three, two = solid.evaluate().cases[1:3], solid.evaluate().cases[4:6]
    fused = staple(np.stack(drawn), np.ones(3, bool), 3)[0].argmax(axis=0)
    assert [row["staple_dice"] for row in three] == pytest.approx(
        [2 * ((predicted == k) & (fused == k)).sum() / ((predicted == k).sum() + (fused == k).sum()) for k in (1, 2)]
    )
    assert [(row["staple_dice"], row["outcome_staple"]) for row in two] == [(None, None)] * 2


def test_uncertainty_is_asked_for_wrong_voxels_near_the_truth(flat):
    doubt = [0.9, 0.1, 0.1, 0.5]
    flat.add("c", [1, 0, 1, 1], truth=[0, 0, 1, 1], uncertainty=doubt)
    assert flat.evaluate().summary["uncertainty_auroc"]["mean"] is None
    assert flat.evaluate(uncertainty="written").summary["uncertainty_auroc"]["mean"] == 1


def test_a_negative_seed_is_refused_before_anything_is_scored(flat):
    flat.add("c", [0] * 4, truth=[0] * 4)
    with pytest.raises(ConfigError, match="A seed of -1 found"):
        flat.evaluate(seed=-1, progress=lambda done, total: pytest.fail("scored"))
