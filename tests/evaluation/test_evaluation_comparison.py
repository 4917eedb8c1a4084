import csv
import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from fake_data.predictions import TWO, Folder
from umanet.errors import ConfigError, DatasetError, OutputError, TaskError
from umanet.evaluation import compare, evaluate, read_evaluation
from umanet.evaluation.comparison import holm
from umanet.types import Geometry

RNG = np.random.default_rng(3)
METHODS = ("base", "near", "far")
SCORED = ("dice", "hd95_mm", "soft_dice", "soft_iou", "ncc")


def fill(folder, cases=24):
    """Cases of 12 patients whose truth is predicted with more faults by every next method; their evaluations."""
    shape, truths, classes = folder.geometry.shape, [], len(folder.classes) - 1
    for number in range(cases):
        truths.append(RNG.integers(0, classes + 1, shape))
        folder.add(f"c{number}", truths[-1], truth=truths[-1], annotations=[truths[-1], truths[-1]],
                   patient=f"p{number // 2}")  # fmt: skip
    found = {}
    for method, share in zip(METHODS, (0.1, 0.2, 0.5), strict=True):
        for number, truth in enumerate(truths):
            faults = RNG.random(shape) < share
            folder.write(method, f"c{number}", np.where(faults, RNG.integers(0, classes + 1, shape), truth))
        found[method] = evaluate(folder.path / method, folder.index, metrics=SCORED)
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("flat"), Geometry((2, 3), (1.0, 1.0), suffix=".png"))


@pytest.fixture(scope="module")
def found(pictures):
    return fill(pictures)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    return fill(Folder(tmp_path_factory.mktemp("two"), Geometry((3, 4), (1.0, 1.0), suffix=".png"), TWO))


def scores(evaluation, metric, name):
    return np.array([row[metric] for row in evaluation.cases if row["class"] == name], float)


def per_patient(values):
    """Two cases each."""
    return values.reshape(-1, 2).mean(axis=1)


def test_differences_are_those_of_the_cases_and_the_test_is_over_patients(two_classes):
    found = two_classes
    rows = compare(found, metrics=["dice", "soft_dice"]).rows
    assert [(row["class"], row["metric"], row["method"]) for row in rows] == [
        (name, metric, method)
        for name in ("(mean)", "lung", "heart") for metric in ("dice", "soft_dice") for method in ("near", "far")
    ]  # fmt: skip
    for row in rows:
        base, other = (scores(found[name], row["metric"], row["class"]) for name in ("base", row["method"]))
        assert row["difference"] == pytest.approx((other - base).mean())
        assert (row["baseline_mean"], row["mean"]) == pytest.approx((base.mean(), other.mean()))
        assert row["p"] == pytest.approx(wilcoxon(per_patient(other - base)).pvalue)
        assert row["low"] < row["difference"] < row["high"]
        assert (row["cases"], row["patients"], row["undefined"], row["note"]) == (24, 12, 0, "")


def test_the_interval_is_that_of_patients_drawn_by_hand(found):
    (row, _) = compare(found, metrics=["dice"]).rows
    difference = per_patient(scores(found["near"], "dice", "lung") - scores(found["base"], "dice", "lung"))
    drawn = np.random.default_rng(1).integers(len(difference), size=(4000, len(difference)))
    expected = np.percentile(difference[drawn].mean(axis=1), [2.5, 97.5])
    assert [row["low"], row["high"]] == pytest.approx(expected, abs=0.02)


def test_several_methods_are_corrected_after_holm(two_classes):
    found = two_classes
    rows = compare(found, metrics=["dice"]).rows[:2]
    low, high = sorted(row["p"] for row in rows)
    assert sorted(row["p_corrected"] for row in rows) == pytest.approx([2 * low, max(2 * low, high)])
    assert rows[0]["better"] == "higher"
    plain = compare(found, correction="none")
    assert [row["p_corrected"] for row in plain.rows] == [row["p"] for row in plain.rows]
    two = compare({name: found[name] for name in METHODS[:2]})
    assert [row["p_corrected"] for row in two.rows] == [row["p"] for row in two.rows]


def by_definition(p_values):
    """Adjusted p of a test: the least level at which Holm's steps reject it."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(order))
    for place in range(len(order)):
        steps = [(len(order) - rank) * p_values[order[rank]] for rank in range(place + 1)]
        adjusted[order[place]] = min(1, max(steps))
    return adjusted


def test_holm_is_what_its_steps_reject():
    for _ in range(20):
        p_values = RNG.random(RNG.integers(1, 6)).round(1).tolist()
        assert holm(p_values) == pytest.approx(by_definition(p_values))
    # Four tests worked out by hand.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]


def test_the_baseline_may_be_another_and_signs_turn(found):
    first = compare({name: found[name] for name in ("base", "far")}).rows
    turned = compare({name: found[name] for name in ("base", "far")}, baseline="far").rows
    assert [row["difference"] for row in turned] == pytest.approx(
        [None if row["difference"] is None else -row["difference"] for row in first]
    )
    assert {row["method"] for row in turned} == {"base"} and {row["baseline"] for row in turned} == {"far"}


def test_where_nothing_differs_or_too_few_patients_do_there_is_no_p_and_a_reason(found):
    same = compare({"one": found["base"], "other": found["base"]}, metrics=["dice", "ncc"]).rows
    assert [(row["difference"], row["p"], row["note"]) for row in same] == [
        (0, None, "no patient differs"),
        (None, None, "undefined in every case"),
    ]
    assert (same[0]["low"], same[0]["high"]) == (0, 0)
    changed = [row | {"dice": 0.5} if row["patient"] in ("p0", "p1") else row for row in found["base"].cases]
    few = compare({"one": found["base"], "other": replace(found["base"], cases=changed)}, metrics=["dice"]).rows[0]
    assert (few["p"], few["note"]) == (None, "only 2 differ")


def test_cases_where_a_score_is_undefined_are_left_out_of_both_and_counted(found):
    holes = [row | {"hd95_mm": None} if row["case"] == "c3" else row for row in found["near"].cases]
    row = compare({"base": found["base"], "near": replace(found["near"], cases=holes)}, metrics=["hd95_mm"]).rows[0]
    base, near = (scores(found[name], "hd95_mm", "lung") for name in ("base", "near"))
    kept = ~np.isnan(base) & ~np.isnan(near) & (np.arange(24) != 3)
    assert row["undefined"] == (~kept).sum() >= 1 and row["cases"] == kept.sum()
    assert row["baseline_mean"] == pytest.approx(base[kept].mean())


def test_the_order_of_cases_does_not_matter(found):
    turned = replace(found["near"], cases=found["near"].cases[::-1])
    assert compare(found).rows == compare(found | {"near": turned}).rows


def test_what_is_written_is_read_again(found, tmp_path):
    for name, evaluation in found.items():
        evaluation.write(tmp_path / name)
    read = {name: read_evaluation(tmp_path / name) for name in METHODS}
    assert read == found and read_evaluation(tmp_path / "near" / "evaluation.json") == found["near"]
    comparison = compare(read)
    comparison.write(tmp_path / "out")
    values = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert values == {"format": "umanet-comparison", "version": 1, "rows": comparison.rows,
                      "protocol": comparison.protocol}  # fmt: skip
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["difference"]) for row in rows if row["difference"]] == [
        row["difference"] for row in comparison.rows if row["difference"] is not None
    ]


def test_metrics_that_not_all_have_are_named(found, pictures):
    only = evaluate(pictures.path / "near", pictures.index, against="truth", metrics=SCORED)
    comparison = compare({"base": found["base"], "near": only})
    assert {row["metric"] for row in comparison.rows} == set(only.summary)
    assert comparison.protocol["left_out"] == {
        "base": [name for name in found["base"].summary if name not in only.summary]
    }


def changed(**values):
    return lambda evaluation: replace(evaluation, **{key: make(evaluation) for key, make in values.items()})


def protocol(**parts):
    return changed(protocol=lambda one: one.protocol | parts)


PAIRS = {
    "a case less": (
        changed(cases=lambda one: [row for row in one.cases if row["case"] not in ("c2", "c5")]),
        DatasetError, r"No scores of c2, c5 found in near, which base has",
    ),
    "a case more": (
        changed(cases=lambda one: [*one.cases, one.cases[0] | {"case": "new"}]),
        DatasetError, r"No scores of new found in base, which near has",
    ),
    "another patient": (
        changed(cases=lambda one: [row | {"patient": "x"} if row["case"] == "c7" else row for row in one.cases]),
        DatasetError, r"Other patients of c7 found in near than in base",
    ),
    "another class": (
        changed(classes=lambda one: {"nodule": one.classes["lung"]}),
        TaskError, r"Classes nodule found in near, lung expected, as in base",
    ),
    "another truth": (
        protocol(targets_sha256={"truth": "0" * 64}),
        DatasetError, r"near was compared with another truth than base",
    ),
    "other annotations": (
        protocol(targets_sha256={"annotations": "0" * 64}),
        DatasetError, r"near was compared with other annotations than base",
    ),
    "many cases less": (
        changed(cases=lambda one: one.cases[:5]),
        DatasetError, r"No scores of c5, c6, .*, c14 and 9 more found in near",
    ),
    "other thresholds": (
        protocol(soft={"thresholds": [0.5], "comparison": ">"}),
        DatasetError, r"soft\.thresholds \[0\.5\] and \[0\.1, .*leave out soft_dice, soft_iou with --metrics",
    ),
    "another tolerance": (
        protocol(distances={"tolerance_mm": 2.0, "missed": "nan", "unit": "voxels", "cases_without_spacing": 24}),
        DatasetError, r"distances\.tolerance_mm 2\.0 and 1\.0 found in near and base",
    ),
    "nested": (protocol(classes="nested"), DatasetError, r"classes nested and apart found in near and base"),
    "no common metric": (
        changed(summary=lambda one: {"qubiq_score": {}}),
        DatasetError, r"No metric found that all have \(base: dice, .*; near: qubiq_score\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PAIRS)
def test_what_cannot_be_paired_is_refused(found, kind):
    change, error, message = PAIRS[kind]
    with pytest.raises(error, match=message):
        compare({"base": found["base"], "near": change(found["near"])})


def test_what_differs_does_not_matter_to_other_metrics(found):
    other = protocol(soft={"thresholds": [0.5], "comparison": ">"})(found["near"])
    assert compare({"base": found["base"], "near": other}, metrics=["dice"]).rows


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["base"], {}, "1 evaluation found, two or more expected"),
        (METHODS, {"baseline": "neer"}, "baseline 'neer' found, one of base, near, far expected.* 'near'"),
        (METHODS, {"metrics": []}, "No metric found, one or more of dice, .* expected"),
        (METHODS, {"seed": -1}, "A seed of -1 found"),
        (METHODS, {"metrics": ["dyce"]}, "metric 'dyce' found, one of dice, .* Did you mean 'dice'"),
    ],
)
def test_what_is_not_there_to_be_compared_is_refused(found, names, options, message):
    with pytest.raises(ConfigError, match=message):
        compare({name: found[name] for name in names}, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No evaluation could be read from .*Write one with `umanet evaluate -o`"),
        ("{", r"the file in .*evaluation\.json: Invalid JSON.*Write it again"),
        ('{"format": "umanet-quality"}', r"format in .*evaluation\.json"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_evaluation(tmp_path)


def test_an_evaluation_without_a_metric_of_its_summary_is_refused(found, tmp_path):
    evaluation = found["base"]
    replace(evaluation, cases=[{k: v for k, v in row.items() if k != "dice"} for row in evaluation.cases]).write(
        tmp_path
    )
    with pytest.raises(DatasetError, match=r"A case without 'dice' found in .*evaluation\.json"):
        read_evaluation(tmp_path)


BROKEN = {
    "no digests": (lambda values: values["protocol"].pop("targets_sha256"), r"protocol\.targets_sha256 in .*required"),
    "no data": (lambda values: values["protocol"].pop("data"), r"protocol\.data in .*required"),
    "digests of another type": (
        lambda values: values["protocol"].update(targets_sha256="a"), r"protocol\.targets_sha256 in .*an object"
    ),
    "distances of another type": (lambda values: values["protocol"].update(distances=3), r"protocol\.distances in "),
    "no cases": (lambda values: values["cases"].clear(), r"cases in .*at least 1 item"),
    "a word for a score": (lambda values: values["cases"][0].update(dice="good"), r"dice = 'good' of a case found in"),
    "a number for a name": (lambda values: values["cases"][0].update(patient=3), r"patient = 3.* a name expected"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_in_an_evaluation_is_named(found, tmp_path, kind):
    damage, message = BROKEN[kind]
    values = json.loads(found["base"].to_json())
    damage(values)
    (tmp_path / "evaluation.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=message):
        read_evaluation(tmp_path)


def test_a_comparison_says_how_many_cases_have_probabilities_where_that_matters(found):
    other = protocol(cases_with_probabilities=24)(found["near"])
    pair = {"base": found["base"], "near": other}
    assert compare(pair).protocol["cases_with_probabilities"] == {"base": 0, "near": 24}
    assert compare(pair, metrics=["dice"]).protocol["cases_with_probabilities"] == {}


def test_files_of_a_result_change_together_or_not_at_all(found, tmp_path, monkeypatch):
    found["base"].write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"evaluation.json", "evaluation.csv", "annotators.csv"}

    def full(path, content):
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        found["far"].write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
