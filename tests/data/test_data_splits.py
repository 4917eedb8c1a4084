from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.data.splits import complete_splits, split_by_patient, split_index
from umanet.errors import DatasetError
from umanet.types import Case

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def cases_of(patients, each=2):
    return [Case(f"p{p}_{n}", (Path(f"/{p}_{n}.png"),), patient=f"p{p}") for p in range(patients) for n in range(each)]


def test_the_cases_of_a_patient_stay_together():
    split_of = {}
    for case in split_by_patient(cases_of(50, each=3), FRACTIONS, seed=0):
        assert split_of.setdefault(case.patient, case.split) == case.split
    assert Counter(split_of.values()) == {"train": 35, "validation": 5, "test": 10}


def test_neither_the_order_of_cases_nor_of_fractions_matters():
    forwards = {case.id: case.split for case in split_by_patient(cases_of(30), FRACTIONS, seed=5)}
    turned = dict(reversed(FRACTIONS.items()))
    assert forwards == {case.id: case.split for case in split_by_patient(cases_of(30)[::-1], turned, seed=5)}


def test_a_seed_gives_the_same_split_for_ever():
    first = split_by_patient(cases_of(10, each=1), FRACTIONS, seed=0)
    assert [case.patient for case in first if case.split != "train"] == ["p1", "p6", "p9"]
    assert first != split_by_patient(cases_of(10, each=1), FRACTIONS, seed=1)


@given(
    patients=st.integers(3, 60),
    weights=st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 20)),
    seed=st.integers(0, 99),
)
def test_every_split_with_a_share_gets_about_its_share_and_at_least_one(patients, weights, seed):
    fractions = {name: w / sum(weights) for name, w in zip(FRACTIONS, weights, strict=True)}
    counts = Counter(case.split for case in split_by_patient(cases_of(patients, each=1), fractions, seed))
    assert counts.total() == patients
    for name, fraction in fractions.items():
        assert counts[name] >= 1 if fraction else counts[name] == 0
        assert abs(counts[name] - fraction * patients) < 2


def test_cases_without_patient_are_patients():
    cases = [Case(f"c{n}", (Path("/a.png"),)) for n in range(10)]
    assert Counter(case.split for case in split_by_patient(cases, FRACTIONS, seed=0))["train"] == 7


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.7, "val": 0.3}, "Split 'val' found, any of train, validation, test expected"),
        ({"train": 0.7}, "with sum 0.7 found, shares from 0 to 1 with sum 1 expected"),
        ({"train": 1.2, "test": -0.2}, "shares from 0 to 1 with sum 1 expected"),
        ({}, "sum 0 found"),
        (FRACTIONS, "2 patients found, at least 3 expected for the splits train, validation, test"),
    ],
)
def test_fractions_that_cannot_be_met_are_refused(fractions, message):
    with pytest.raises(DatasetError, match=message):
        split_by_patient(cases_of(2), fractions, seed=0)


def test_the_index_says_where_its_splits_come_from():
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="x", values=(1,)))
    index = DatasetIndex(spatial_dims=2, channels=("grey",), classes=classes, cases=tuple(cases_of(10)))
    split = split_index(index, FRACTIONS, seed=4)
    assert split.splits is not None
    assert (split.splits.seed, split.splits.fractions) == (4, FRACTIONS)
    assert split.cases == split_by_patient(index.cases, FRACTIONS, seed=4)
    assert index.splits is None


def split_case(name, split=None, patient=""):
    return Case(name, (Path(f"{name}.png"),), patient=patient or name, split=split)


def an_index_of(*cases):
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="c", values=(1,)))
    return DatasetIndex(spatial_dims=2, channels=("grey",), classes=classes, cases=cases)


def test_an_official_test_set_stays_and_the_rest_is_shared_out():
    cases = [split_case(f"t{n}", "test") for n in range(3)] + [split_case(f"c{n}") for n in range(8)]
    index = complete_splits(an_index_of(*cases), {"train": 0.7, "validation": 0.1, "test": 0.2}, 0)
    assert [case.split for case in index.cases[:3]] == ["test"] * 3
    rest = [case.split for case in index.cases[3:]]
    assert rest.count("train") == 7 and rest.count("validation") == 1
    assert index.splits is not None and "given by the source" in index.splits.method


def test_a_patient_of_the_test_set_keeps_all_cases_there():
    cases = [split_case("a", "test", "p"), split_case("b", None, "p"), split_case("c"), split_case("d")]
    index = complete_splits(an_index_of(*cases), {"train": 0.5, "validation": 0.5}, 0)
    assert index.cases[1].split == "test"
    assert {case.split for case in index.cases[2:]} == {"train", "validation"}


def test_splits_that_are_all_given_are_not_touched():
    cases = [split_case("a", "train"), split_case("b", "validation"), split_case("c", "test")]
    index = complete_splits(an_index_of(*cases), {"train": 1.0}, 0)
    assert index == an_index_of(*cases)
