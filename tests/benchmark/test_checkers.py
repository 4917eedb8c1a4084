"""Checkers of annotations: their qualities by hand, their rows, and what the page says of them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.benchmark import read_suite
from umanet.benchmark.check import check
from umanet.benchmark.checkers import agreement_quality, cleanlab_quality, label_probability, staple_quality
from umanet.benchmark.grades import quality_against_dice
from umanet.benchmark.page import page
from umanet.benchmark.plan import plan_rows, search_rows
from umanet.benchmark.row import RESULT, Row, do_row
from umanet.benchmark.scores import ranks
from umanet.config import build_config
from umanet.data.index import DatasetIndex, write_index
from umanet.errors import ConfigError
from umanet.fusion import staple
from umanet.types import IGNORE

SUITE = """
name = "Checked"
methods = ["majority"]
checkers = ["cleanlab", "others", "staple"]
learning_rates = [1e-2]
minutes = 5

[config]
preset = "cpu-small"
backbone = {channels = [4, 8], features = 4}
trainer = {max_steps = 2, batch_size = 2, validate_every = 2}

[[data]]
name = "discs"
dataset = "dataset.json"
"""


def square(rows: slice) -> np.ndarray:
    mask = np.zeros((8, 8), np.uint8)
    mask[rows, 2:6] = 1
    return mask


GOOD, SHIFTED = square(slice(2, 6)), square(slice(5, 8))
ANNOTATIONS = np.stack([GOOD, GOOD, SHIFTED, np.full((8, 8), 7, np.uint8)])
PRESENT = np.array([True, True, True, False])


def test_agreement_is_the_dice_with_the_majority_vote_of_the_others():
    quality = agreement_quality(ANNOTATIONS, PRESENT, 2)
    # Of a good one the others tie where they differ, and ties are background: row 5 is left.
    assert quality[:3] == pytest.approx([2 * 4 / (16 + 4), 2 * 4 / (16 + 4), 2 * 4 / (12 + 16)])
    assert np.isnan(quality[3])


def test_a_lone_annotation_has_no_others():
    assert np.isnan(agreement_quality(ANNOTATIONS, np.array([True, False, False, False]), 2)).all()


def test_staple_is_the_mean_of_sensitivity_and_specificity():
    confusion = np.array([[[0.9, 0.1], [0.4, 0.6]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]], float)
    quality = staple_quality(confusion, np.array([True, True, False]))
    # Nobody was seen on foreground in the second: that says nothing against them.
    assert quality[:2] == pytest.approx([0.75, 1]) and np.isnan(quality[2])
    of_case = staple_quality(staple(ANNOTATIONS, PRESENT, 2)[1], PRESENT)
    assert of_case[0] == of_case[1] > of_case[2] and np.isnan(of_case[3])


def test_cleanlab_is_the_soft_minimum_of_the_probability_of_the_labels():
    foreground = np.where(GOOD == 1, 0.8, 0.1)
    probabilities = np.stack([1 - foreground, foreground])
    quality = cleanlab_quality(ANNOTATIONS, PRESENT, probabilities)
    own = np.where(SHIFTED == 1, foreground, 1 - foreground).ravel()
    assert quality[2] == pytest.approx((own * softmax((1 - own) / 0.1)).sum())
    # Two voxels by hand: 0.9 and 0.1, weights e^1 and e^9.
    two = cleanlab_quality(np.array([[0, 1]]), np.array([True]), np.array([[0.9, 0.9], [0.1, 0.1]]))
    assert two[0] == pytest.approx((0.9 * np.e + 0.1 * np.e**9) / (np.e + np.e**9))
    assert quality[0] == quality[1] > quality[2] and np.isnan(quality[3])


def test_cleanlab_is_what_the_package_says():
    """``cleanlab.segmentation.rank.get_label_quality_scores`` of 2.9.0, with ``softmin`` and temperature 0.1."""
    rng = np.random.default_rng(5)
    labels, given = rng.integers(0, 3, (3, 5, 6)), rng.dirichlet([1.5] * 3, (3, 5, 6)).transpose(0, 3, 1, 2)
    quality = [cleanlab_quality(one[None], PRESENT[:1], p)[0] for one, p in zip(labels, given, strict=True)]
    assert quality == pytest.approx([0.10658048, 0.12733096, 0.08887207], abs=1e-8)


def test_what_an_annotation_ignores_does_not_count():
    probabilities = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]])
    labels, present = np.array([[0, 0, IGNORE], [IGNORE, IGNORE, IGNORE]]), np.array([True, True])
    quality = cleanlab_quality(labels, present, probabilities)
    assert quality[0] == cleanlab_quality(labels[:1, :2], present[:1], probabilities[:, :2])[0]
    assert np.isnan(quality[1])
    np.testing.assert_allclose(label_probability(labels, probabilities), [[0.9, 0.2, np.nan], [np.nan] * 3])


def test_quality_is_compared_with_dice_where_there_is_one():
    found = quality_against_dice(np.array([0.9, 0.8, 0.2, np.nan]), np.array([0.9, 0.7, 0.3, 0.1]))
    assert found == {"quality_auroc": 1, "quality_average_precision": 1, "quality_spearman": pytest.approx(1),
                     "annotations": 3, "poor_annotations": 1}  # fmt: skip
    nothing = quality_against_dice(np.array([np.nan]), np.array([0.5]))
    assert nothing["annotations"] == 0 and np.isnan(nothing["quality_auroc"])


def index_of(folder: Path) -> DatasetIndex:
    index = write_discs(folder, (16, 18))
    parts = ("train", "train", "train", "validation", "test", "test")
    return index.model_copy(
        update={"cases": tuple(replace(case, split=part) for case, part in zip(index.cases, parts, strict=True))}
    )


@pytest.fixture
def suite(tmp_path) -> Path:
    write_index(index_of(tmp_path), tmp_path / "dataset.json")
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path / "suite.toml"


def test_checkers_are_rows_of_their_own_that_are_not_searched(suite):
    read = read_suite(suite)
    rates = {("discs", "majority"): 1e-2}
    rows = {row.contestant: row for row in plan_rows(read, suite.parent, rates)}
    assert list(rows) == ["majority", "check-cleanlab", "check-others", "check-staple"]
    assert rows["check-cleanlab"].learning_rate == 1e-2 and rows["check-others"].learning_rate is None
    assert {row.contestant for row in search_rows(read, suite.parent)} == {"majority"}


def test_an_unknown_checker_is_one_line(suite):
    suite.write_text(SUITE.replace('"others"', '"other"'))
    with pytest.raises(ConfigError, match=r"'other' found, one of cleanlab, others, staple expected.*'others'"):
        read_suite(suite)


def test_a_suite_with_checkers_is_done_and_shown(suite):
    out = suite.parent / "out"
    assert main(["benchmark", str(suite), "-o", str(out)]) == 0
    with (out / "results.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    checked = [rows[f"check-{one}"] for one in ("cleanlab", "others", "staple")]
    assert [(row["status"], row["dice"]) for row in checked] == [("done", "")] * 3
    # Carl draws two of the three, off by three voxels; Anna and Bert are right.
    assert [row["grading_annotations"] for row in checked] == ["8"] * 3
    assert [float(row["grading_poor_annotations"]) for row in checked] == [2] * 3
    assert float(rows["check-others"]["grading_quality_auroc"]) == 1 and checked[2]["grading_quality_spearman"]
    shown = (out / "results.md").read_text().partition("## Finding bad annotations: discs, given")
    assert "check-" not in shown[0] and "| majority | " in shown[0]
    assert "| check-others | 1.000 [1.000, 1.000] |" in shown[2] and "| 2 of 8 |" in shown[2]


def test_each_network_of_cleanlab_has_not_seen_what_it_predicts_and_is_trained_once(suite, tmp_path, monkeypatch):
    config = json.loads(json.dumps(dict(read_suite(suite).config)))
    row = Row("discs", "given", "check-cleanlab", "check-cleanlab", 0, 0, str(tmp_path / "dataset.json"), config,
              "truth", 1e-2)  # fmt: skip
    row.write(tmp_path / "row")
    seen = []
    from umanet.benchmark import check as module

    train = module.train

    def watched(config, index, run, **options):
        seen.append((config.method, config.trainer.learning_rate, {case.id for case in index.select("train")}))
        assert [case.id for case in index.select("validation")] == ["disc3"]
        return train(config, index, run, **options)

    monkeypatch.setattr(module, "train", watched)
    found = do_row(tmp_path / "row")
    assert found["cases"] == [] and found["grading"]["consensus_dice"] is None
    assert {method for method, _, _ in seen} == {"majority"} and {rate for _, rate, _ in seen} == {1e-2}
    everything = {"disc0", "disc1", "disc2"}
    assert [len(everything - names) for _, _, names in seen] == [1, 1, 1]
    assert set.union(*(everything - names for _, _, names in seen)) == everything
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "row").glob("fold*/model.json"))]
    assert do_row(tmp_path / "row")["grading"] == found["grading"]
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "row").glob("fold*/model.json"))] == stamps


def test_a_checker_without_a_truth_is_not_applicable(tmp_path):
    index = index_of(tmp_path)
    bare = index.model_copy(update={"cases": tuple(replace(case, truth=None) for case in index.cases)})
    found = check("others", build_config({}, 2), bare, tmp_path / "row")
    assert found == {"status": "not applicable", "why": "3 of 3 training cases without a truth found, none expected "
                                                        "by a checker."}  # fmt: skip
    assert not (tmp_path / "row" / RESULT).exists()


def test_means_are_over_seeds_and_checkers_have_no_rank(suite):
    suite.write_text(SUITE.replace("methods = ", "seeds = [0, 1]\nmethods = "))
    read = read_suite(suite)
    grading = {"consensus_dice": None, "uncertainty_auroc": float("nan"), "quality_average_precision": 0.5,
               "quality_spearman": 0.1, "annotations": 8, "poor_annotations": 2}  # fmt: skip
    cases = [{"case": "c", "patient": "p", "class": "disc", "dice": 0.5}]
    results = [
        (row, {"status": "done", "seconds": {"train": 1.0, "predict": 1.0}, "memory_mib": 1.0,
               "cases": cases if row.method == "majority" else [],
               **({} if row.method == "majority" else {"grading": {**grading, "quality_auroc": 0.6 + 0.2 * row.seed}})})
        for row in plan_rows(read, suite.parent)
    ]  # fmt: skip
    assert ranks(read, results) == {"majority": [(1, 1), (1, 1)]}
    shown = page(read, results, "umanet benchmark")
    assert (
        "| check-staple | 0.700 [0.600, 0.800] | 0.500 [0.500, 0.500] | 0.100 [0.100, 0.100] |  |  | 4 of 16 |" in shown
    )
    only = [(row, result) for row, result in results if row.method != "majority"]
    assert "Finding bad annotations" in page(read, only, "umanet benchmark") and ranks(read, only) == {}
