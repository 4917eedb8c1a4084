import numpy as np
import pytest

from umanet.errors import ConfigError, TaskError

RNG = np.random.default_rng(5)


def plain_dice(first, second):
    first, second = set(np.flatnonzero(first)), set(np.flatnonzero(second))
    return 2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0


def fill(folder, cases=6):
    """Random label maps; annotator 2 annotates every other case. Returns the predictions and annotations."""
    shape, made = folder.geometry.shape, {}
    for number in range(cases):
        predicted = RNG.integers(0, 3, shape)
        drawn = [RNG.integers(0, 3, shape) if r < 2 or number % 2 == 0 else None for r in range(3)]
        folder.add(f"c{number}", predicted, annotations=drawn, patient=f"p{number // 2}")
        made[f"c{number}"] = predicted, drawn
    return made


def test_every_annotator_is_scored_over_the_cases_that_they_annotated(solid):
    made = fill(solid)
    found = solid.evaluate().annotators
    assert list(found) == ["a0", "a1", "a2"]
    for r, classes in enumerate(found.values()):
        assert list(classes) == ["(mean)", "lung", "heart"]
        pairs = [(predicted, drawn[r]) for predicted, drawn in made.values() if drawn[r] is not None]
        scores = np.array([[plain_dice(p == k, a == k) for k in (1, 2)] for p, a in pairs])
        means = [classes[name]["dice"]["mean"] for name in classes]
        assert means == pytest.approx([scores.mean(), *scores.mean(axis=0)])
        assert [classes[name]["dice"]["cases"] for name in classes] == [len(pairs)] * 3
        low, high = classes["lung"]["dice"]["ci95"]
        assert low <= means[1] <= high


def test_an_annotator_who_draws_nothing_is_missed_by_nobody(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 0, 0], [0, 0, 1, 1]])
    flat.add("b", [0, 0, 0, 0], annotations=[[0, 0, 0, 0], [1, 0, 0, 0]])
    found = flat.evaluate().annotators
    entry = found["a0"]["lung"]["dice"]
    assert (entry["false"], entry["both_empty"], entry["missed"], entry["mean"]) == (1, 1, 0, 0.5)
    assert found["a1"]["lung"]["dice"]["missed"] == 1
    assert "a2" not in found
    rows = flat.evaluate().annotator_rows()
    assert [(row["annotator"], row["class"], row["mean"], row["false"]) for row in rows] == [
        ("a0", "lung", 0.5, 1),
        ("a1", "lung", 0.5, 0),
    ]


def test_the_mean_over_annotators_is_that_of_the_block_where_all_annotated(flat):
    for number in range(4):
        flat.add(f"c{number}", RNG.integers(0, 2, 4), annotations=[RNG.integers(0, 2, 4) for _ in range(3)])
    evaluation = flat.evaluate()
    each = [classes["lung"]["dice"]["mean"] for classes in evaluation.annotators.values()]
    assert np.mean(each) == pytest.approx(evaluation.summary["mean_dice"]["mean"])


def test_anonymous_annotators_are_not_followed_across_cases(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]])
    assert flat.evaluate(per_annotator=True).annotators
    assert flat.evaluate(per_annotator=False).annotators == {}
    flat.identified = False
    assert flat.evaluate().annotators == {}
    assert flat.evaluate().protocol["annotators_are_identified"] is False
    with pytest.raises(TaskError, match="annotators are anonymous in 'tiny'"):
        flat.evaluate(per_annotator=True)


def test_the_protocol_of_anonymous_readers_scores_none_of_them(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1], [0, 1, 1, 1]])
    assert flat.evaluate(protocol="lidc").annotators == {}
    with pytest.raises(TaskError, match="annotators are anonymous in the protocol 'lidc'"):
        flat.evaluate(protocol="lidc", per_annotator=True)


def test_annotators_cannot_be_scored_against_the_truth(flat):
    flat.add("a", [0, 0, 1, 1], annotations=[[0, 0, 1, 1]], truth=[0, 0, 1, 1])
    assert flat.evaluate(against="truth").annotators == {}
    with pytest.raises(ConfigError, match="nothing is compared with annotations"):
        flat.evaluate(against="truth", per_annotator=True)


def test_the_mean_over_classes_counts_what_is_missed_in_each(solid):
    drawn = np.arange(24).reshape(solid.geometry.shape) % 3
    solid.add("c", np.zeros(solid.geometry.shape), annotations=[drawn])
    classes = solid.evaluate().annotators["a0"]
    assert {name: entry["dice"]["missed"] for name, entry in classes.items()} == {"(mean)": 2, "lung": 1, "heart": 1}
