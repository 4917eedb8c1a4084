from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from fake_data.predictions import TWO, Folder
from umanet.errors import ConfigError, DatasetError
from umanet.evaluation import METRICS, PROTOCOLS, Protocol
from umanet.evaluation.protocol import choose_protocol
from umanet.evaluation.scores import SCORES
from umanet.types import Geometry

RNG = np.random.default_rng(11)


@pytest.fixture
def classes(tmp_path):
    """Pictures of two classes, in TIFF, which keeps probabilities exactly."""
    return Folder(tmp_path, Geometry((5, 6), (1.0, 1.0), suffix=".tif"), TWO)


def fill(folder, cases=5, annotators=3, steps=10):
    """Random annotations, and probabilities in tenths, so that they tie with thresholds, or in other parts of 1."""
    made = []
    for number in range(cases):
        drawn = RNG.integers(0, 3, (annotators, *folder.geometry.shape))
        lung, heart = RNG.integers(0, steps + 1, (2, *folder.geometry.shape))
        lung, heart = lung / steps, np.minimum(heart, steps - lung) / steps
        folder.add(f"c{number}", RNG.integers(0, 3, folder.geometry.shape), probabilities=[lung, heart],
                   annotations=list(drawn))  # fmt: skip
        made.append((drawn, np.stack([lung, heart])))
    return made


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum()) if (first | second).any() else 1.0


def iou(first, second):
    return (first & second).sum() / (first | second).sum() if (first | second).any() else 1.0


def levels(probability, masks, tenths, at_least):
    """Masks of the probability and of the annotations at every threshold, decided in fractions."""
    votes = masks.sum(axis=0)
    for t in (Fraction(tenth, 10) for tenth in tenths):
        m = np.array([Fraction(int(v), len(masks)) for v in votes.ravel()]).reshape(votes.shape)
        p = np.array([Fraction(round(80 * float(v)), 80) for v in probability.ravel()]).reshape(votes.shape)
        yield (p >= t, m >= t) if at_least else (p > t, m > t)


def test_qubiq_is_the_mean_over_tasks_of_means_over_cases_of_nine_thresholds(classes):
    made = fill(classes)
    tasks = [
        np.mean([np.mean([dice(*pair) for pair in levels(p[k - 1], drawn == k, range(1, 10), True)])
                 for drawn, p in made])
        for k in (1, 2)
    ]  # fmt: skip
    found = classes.evaluate(protocol="qubiq")
    assert list(found.summary) == ["qubiq_score"]
    assert [found.classes[name]["qubiq_score"]["mean"] for name in ("lung", "heart")] == pytest.approx(tasks)
    assert found.summary["qubiq_score"]["mean"] == pytest.approx(np.mean(tasks))
    assert found.protocol["qubiq"] == {"thresholds": [t / 10 for t in range(1, 10)], "comparison": ">="}
    # Beside the soft Dice it stays what it is.
    beside = classes.evaluate(metrics=("soft_dice", "qubiq_score"))
    assert beside.summary["qubiq_score"] == found.summary["qubiq_score"] != beside.summary["soft_dice"]
    assert beside.protocol["soft"]["comparison"] == ">" and beside.protocol["qubiq"] == found.protocol["qubiq"]


def test_riga_takes_five_thresholds_and_the_disc_includes_the_cup(classes):
    made = fill(classes, steps=16)  # such sums are exact
    found = classes.evaluate(protocol="riga")
    for name, outer in (("lung", 1), ("heart", 2)):
        pairs = [list(levels(p[outer - 1 :].sum(axis=0), drawn >= outer, (1, 3, 5, 7, 9), False)) for drawn, p in made]
        for metric, score in (("soft_dice", dice), ("soft_iou", iou)):
            expected = np.mean([[score(*pair) for pair in case] for case in pairs])
            assert found.classes[name][metric]["mean"] == pytest.approx(expected), (name, metric)
    assert found.protocol["classes"] == "nested"
    apart = classes.evaluate(protocol="riga", classes="apart")
    assert apart.classes["heart"] == found.classes["heart"]
    assert apart.classes["lung"] != found.classes["lung"]
    assert apart.protocol["soft"] == {"thresholds": [0.1, 0.3, 0.5, 0.7, 0.9], "comparison": ">"}


def test_nested_labels_of_another_tool_are_nested_too(classes):
    fill(classes, cases=1)
    classes.write("predictions/labels", "c0", np.full((5, 6), 2))
    classes.write("a0", "c0", np.full((5, 6), 1))
    found = classes.evaluate(classes="nested").annotators["a0"]
    assert (found["lung"]["dice"]["mean"], found["heart"]["dice"]["mean"]) == (1, 0)


def test_samples_are_scored_as_by_the_double_loop(flat):
    expected = {name: [] for name in ("ged", "ged_u", "dice_max_annotations", "dice_max_samples", "dice_match")}
    for number in range(3):
        samples, drawn = RNG.integers(0, 2, (4, 4)) == 1, RNG.integers(0, 2, (3, 4)) == 1
        flat.add(f"c{number}", samples[0], annotations=list(drawn.astype(int)), samples=list(samples.astype(int)))
        crossed = np.array([[dice(s, y) for y in drawn] for s in samples])
        within = {
            name: [[1 - iou(a, b) for b in group] for a in group]
            for name, group in (("samples", samples), ("annotations", drawn))
        }
        twice = 2 * np.mean([1 - iou(s, y) for s, y in product(samples, drawn)])
        expected["ged"].append(twice - sum(np.mean(d) for d in within.values()))
        expected["ged_u"].append(twice - sum(np.sum(d) / (len(d) * (len(d) - 1)) for d in within.values()))
        expected["dice_max_annotations"].append(crossed.max(axis=0).mean())
        expected["dice_max_samples"].append(crossed.max(axis=1).mean())
        expected["dice_match"].append(crossed[linear_sum_assignment(-crossed)].mean())
    found = flat.evaluate(protocol="lidc")
    assert {name: found.summary[name]["mean"] for name in expected} == pytest.approx(
        {name: np.mean(values) for name, values in expected.items()}
    )
    assert found.protocol["samples"] == {"number": 4, "left_out": []}
    assert flat.evaluate().summary["ged"] == found.summary["ged"]


def test_without_samples_their_metrics_are_left_out_and_named(flat):
    flat.add("c", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]])
    found = flat.evaluate(protocol="lidc")
    assert "ged" not in found.summary and "soft_dice" in found.summary
    assert found.protocol["samples"]["number"] == 0 and "ged" in found.protocol["samples"]["left_out"]


@pytest.mark.parametrize("name", ["riga", "qubiq", "lidc"])
def test_one_annotator_only_is_no_case_for_what_scores_disagreement(flat, name):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]])
    assert flat.evaluate().summary["soft_dice"]["mean"] == 1
    with pytest.raises(DatasetError, match=f"No case with two annotations found in 'tiny', .* protocol '{name}'"):
        flat.evaluate(protocol=name)
    flat.add("b", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 0, 0, 1]])
    assert flat.evaluate(protocol=name).protocol["cases"] == 2


def test_what_a_protocol_does_not_compare_with_is_refused(flat):
    flat.add("a", [0, 0, 1, 1], truth=[0, 0, 1, 1])
    with pytest.raises(ConfigError, match=r"--against truth found with the protocol 'riga'.* annotations only"):
        flat.evaluate(protocol="riga", against="truth")
    with pytest.raises(DatasetError, match=r"No annotations of 1 of 1 cases \(a\)"):
        flat.evaluate(protocol="riga")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "rigo"}, "protocol 'rigo' found, one of default, riga, .* Did you mean 'riga'"),
        ({"tolerance": 2}, "'tolerance' found, .* Did you mean 'tolerance_mm'"),
        ({"region": "box"}, "region 'box' found, one of union, image expected"),
        ({"comparison": "<"}, "comparison '<' found"),
        ({"missed": "zero"}, "missed 'zero' found, one of nan, diagonal"),
        ({"classes": "both"}, "classes 'both' found"),
        ({"uncertainty": "entropy"}, "uncertainty 'entropy' found"),
        ({"metrics": ("dice", "dyce")}, "metric 'dyce' found.* Did you mean 'dice'"),
        ({"metrics": ()}, "No metric found, one or more of dice, .* expected"),
        ({"bins": 0}, "0 bins found, 1 or more expected"),
        ({"tolerance_mm": -1}, "tolerance of -1.0 mm found"),
    ],
)
def test_what_no_protocol_knows_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        choose_protocol(**{"protocol": "default"} | options)


def test_a_protocol_of_ones_own_scores_what_it_names(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]], truth=[0, 0, 1, 1])
    own = Protocol(name="mine", metrics=("dice", "soft_dice"), tenths=(5,), comparison=">=")
    found = flat.evaluate(protocol=own)
    assert list(found.summary) == ["dice", "soft_dice"]
    assert found.protocol["name"] == "mine"
    # At one of two votes and more, three voxels; the labels have two of them.
    assert found.summary["soft_dice"]["mean"] == pytest.approx(4 / 5)


def test_what_can_be_undefined_has_a_reason(flat):
    flat.add("a", [0] * 4, annotations=[[0] * 4, [0] * 4], truth=[0] * 4, samples=[[0] * 4])
    flat.add("b", [0] * 4, annotations=[[0] * 4, [0] * 4], truth=[1] * 4, samples=[[0] * 4])
    undefined = {name for row in flat.evaluate().cases for name in METRICS if name in row and row[name] is None}
    assert undefined == {name for name, metric in METRICS.items() if metric.undefined}


def test_every_metric_has_a_score_and_a_protocol():
    assert set(SCORES) == set(METRICS) == {name for protocol in PROTOCOLS.values() for name in protocol.metrics}
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_a_protocol_says_what_its_metrics_depend_on_and_no_more():
    assert set(PROTOCOLS["riga"].described()) == {"classes", "soft"}
    assert set(PROTOCOLS["lidc"].described()) == {"classes", "overlap", "soft", "calibration", "uncertainty"}
    changed = choose_protocol("default", region="image", margin=5, bins=10, tolerance_mm=2, missed="diagonal")
    said = changed.described()
    assert said["calibration"] == {
        "bins": 10, "target": "mean of annotations", "region": "image", "margin": 5, "clip": 1e-7
    }  # fmt: skip
    assert said["calibration_truth"] == {"bins": 10, "target": "truth", "region": "image", "margin": 5}
    assert said["distances"] == {"tolerance_mm": 2, "missed": "diagonal"}
