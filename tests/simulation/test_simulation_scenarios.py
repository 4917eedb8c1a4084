from itertools import combinations

import numpy as np
import pytest

from umanet.errors import ConfigError
from umanet.simulation.phantoms import chest_xray
from umanet.simulation.scenarios import SCENARIOS, annotate_case, find_scenario, generator, has_bad_day, plan_case

CASES = [f"case_{i:03}" for i in range(300)]
LUNGS = chest_xray(np.random.default_rng(0), 64)[1]


def dice(a, b):
    return 2 * np.sum(a & b) / max(1, a.sum() + b.sum())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_depends_on_seed_and_case_only(name):
    scenario = SCENARIOS[name]
    first = annotate_case(LUNGS, scenario, "a", 7)
    annotate_case(LUNGS, scenario, "b", 7)
    again = annotate_case(LUNGS, scenario, "a", 7)
    assert list(first) == list(again)
    assert all((first[k] == again[k]).all() for k in first)
    assert any(
        list(first) != list(other) or any((first[k] != other[k]).any() for k in first)
        for other in (annotate_case(LUNGS, scenario, "b", 7), annotate_case(LUNGS, scenario, "a", 8))
    )


def test_a_generator_never_changes_its_stream():
    # A simulated data set is named by its seed: a changed stream would silently be another data set.
    assert generator(7, "good", "case").integers(1000, size=3).tolist() == [975, 506, 38]


def test_annotators_of_one_recipe_draw_differently():
    drawn = annotate_case(LUNGS, SCENARIOS["clean"], "case", 0)
    assert all((a != b).any() for a, b in combinations(drawn.values(), 2))


def test_a_share_of_the_images_is_a_bad_day_for_all():
    hard = SCENARIOS["hard"]
    bad = [case for case in CASES if has_bad_day(hard, case, 0)]
    assert len(bad) / len(CASES) == pytest.approx(0.2, abs=0.07)
    on_bad, on_good = (
        [dice(annotate_case(LUNGS, hard, case, 0)["good"], LUNGS) for case in cases[:25]]
        for cases in (bad, sorted(set(CASES) - set(bad)))
    )
    assert np.mean(on_good) > 0.93
    assert np.mean(on_bad) < 0.6


def test_on_a_bad_day_each_is_wrong_in_their_own_way():
    bad = [case for case in CASES if has_bad_day(SCENARIOS["hard"], case, 0)][:10]
    drawn = [annotate_case(LUNGS, SCENARIOS["hard"], case, 0) for case in bad]
    different = [len({labels.tobytes() for labels in drawings.values()}) for drawings in drawn]
    # Two who miss the same lung, or draw nothing, draw the same.
    assert np.mean(different) > 3


def test_where_the_truth_is_no_fault_is_added_to_an_empty_one():
    assert not any(a.any() for a in annotate_case(np.zeros_like(LUNGS), SCENARIOS["hard"], "case", 0).values())


@pytest.mark.parametrize(("name", "counts"), [("hard", {5}), ("sparse", {1, 2, 3}), ("crowd", {3}), ("mild", {4})])
def test_the_presence_pattern_says_how_many_annotate_a_case(name, counts):
    scenario = SCENARIOS[name]
    present = [[d.name for d in plan_case(scenario, case, 1)] for case in CASES]
    assert {len(names) for names in present} == counts
    assert {name for names in present for name in names} == set(scenario.names)
    assert all(names == [n for n in scenario.names if n in names] for names in present)


def test_identified_annotators_draw_under_their_names():
    assert all(d.name == d.drawn_by for case in CASES for d in plan_case(SCENARIOS["sparse"], case, 0))


def test_anonymous_annotators_are_shuffled_in_every_image():
    plans = [plan_case(SCENARIOS["anonymous"], case, 0) for case in CASES]
    assert all(len({d.drawn_by for d in plan}) == 5 for plan in plans)
    first = [plan[0].drawn_by for plan in plans]
    assert [plan[0].name for plan in plans] == ["annotator1"] * len(CASES)
    assert all(30 < first.count(name) < 90 for name, _ in SCENARIOS["anonymous"].annotators)


def test_an_anonymous_annotation_is_the_one_that_the_same_person_draws_in_hard():
    plan = plan_case(SCENARIOS["anonymous"], "case", 0)
    anonymous = annotate_case(LUNGS, SCENARIOS["anonymous"], "case", 0)
    hard = annotate_case(LUNGS, SCENARIOS["hard"], "case", 0)
    assert all((anonymous[d.name] == hard[d.drawn_by]).all() for d in plan)


def test_an_unknown_scenario_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"scenario 'hrad' found, one of hard, .* expected. Did you mean 'hard'\?"):
        find_scenario("hrad")
    with pytest.raises(ConfigError, match="Choose one"):
        find_scenario("xyz")


def test_scenarios_by_number_begin_with_the_annotators_of_hard():
    hard = [recipe for _, recipe in SCENARIOS["hard"].annotators]
    for number in (1, 5, 12):
        scenario = find_scenario(f"annotators-{number}")
        assert [recipe for _, recipe in scenario.annotators] == (hard * 3)[:number]
        assert len(set(scenario.names)) == number
        assert scenario.bad_days == SCENARIOS["hard"].bad_days


def test_scenarios_by_share_have_so_many_wrong_annotators_of_ten():
    for percent in range(0, 70, 10):
        names = find_scenario(f"bad-{percent}").names
        assert (len(names), sum("wrong" in name for name in names)) == (10, percent // 10)
    with pytest.raises(ConfigError, match="bad-0 to bad-60"):
        find_scenario("bad-70")
