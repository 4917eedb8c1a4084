import itertools

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from umanet.errors import AnnotationError, ConfigError
from umanet.metrics import bootstrap_interval, interval, paired_difference

RNG = np.random.default_rng(11)
VALUES = RNG.random(40)
PATIENTS = [f"p{number % 12}" for number in range(40)]


def test_the_interval_is_that_of_drawing_patients_one_by_one():
    owned = {name: VALUES[np.array(PATIENTS) == name] for name in set(PATIENTS)}
    rng = np.random.default_rng(0)
    means = [
        np.concatenate([owned[name] for name in rng.choice(sorted(owned), len(owned))]).mean() for _ in range(20_000)
    ]
    found = bootstrap_interval(VALUES, PATIENTS, seed=1, resamples=20_000)
    assert found == pytest.approx(np.percentile(means, (2.5, 97.5)), abs=0.005)


def test_cases_of_one_patient_do_not_make_an_interval_narrower():
    narrow = bootstrap_interval(list(VALUES) * 10, [f"{p}-{n}" for n in range(10) for p in PATIENTS], seed=1)
    once, repeated = (bootstrap_interval(list(VALUES) * n, PATIENTS * n, seed=1) for n in (1, 10))
    assert repeated == pytest.approx(once)
    assert narrow[1] - narrow[0] < 0.7 * (once[1] - once[0])


def test_the_interval_depends_on_the_seed_and_not_on_the_order_of_cases():
    order = RNG.permutation(len(VALUES))
    shuffled = bootstrap_interval(VALUES[order], [PATIENTS[i] for i in order], seed=1)
    assert shuffled == pytest.approx(bootstrap_interval(VALUES, PATIENTS, seed=1))
    assert shuffled != pytest.approx(bootstrap_interval(VALUES, PATIENTS, seed=2), abs=1e-9)


def test_one_patient_or_none_has_no_interval():
    assert np.isnan(bootstrap_interval([0.1, 0.2], ["a", "a"], seed=0)).all()
    assert np.isnan(bootstrap_interval([], [], seed=0)).all()


def test_values_of_other_cases_than_the_patients_are_refused():
    with pytest.raises(AnnotationError, match="2 values of 3 cases found"):
        bootstrap_interval([0.1, 0.2], ["a", "b", "c"], seed=0)


def plain_signed_rank(differences):
    """Of all signs that the ranks could have had, the share at least as far from the middle."""
    ranks = rankdata(np.abs(differences))
    found = abs((np.sign(differences) * ranks).sum())
    sums = [abs((np.array(signs) * ranks).sum()) for signs in itertools.product((-1, 1), repeat=len(ranks))]
    return np.mean(np.array(sums) >= found - 1e-9)


def test_the_difference_has_the_mean_and_interval_of_the_differences_and_the_test_of_patients():
    first = VALUES + RNG.normal(0.1, 0.3, 40)
    found = paired_difference(first, VALUES, PATIENTS, 3)
    assert found.mean == pytest.approx((first - VALUES).mean())
    assert (found.low, found.high) == bootstrap_interval(first - VALUES, PATIENTS, seed=3)
    of_patients = [(first - VALUES)[np.array(PATIENTS) == name].mean() for name in sorted(set(PATIENTS))]
    assert found.p_value == pytest.approx(plain_signed_rank(of_patients))
    assert found.p_value != pytest.approx(wilcoxon(first - VALUES).pvalue)
    assert (found.cases, found.patients, found.differing) == (40, 12, 12)


@pytest.mark.parametrize("size", [6, 8, 11])
def test_the_p_value_with_ties_and_zeros_is_that_of_all_signs_of_what_differs(size):
    difference = RNG.integers(1, 4, size) * RNG.choice([-1, 1], size, p=(0.2, 0.8)) / 10
    base = RNG.random(size + 4)
    padded = np.concatenate([difference, np.zeros(4)])
    found = paired_difference(base + padded, base, [str(n) for n in range(size + 4)], 0)
    assert found.p_value == pytest.approx(plain_signed_rank(difference))
    assert (found.patients, found.differing) == (size + 4, size)


def test_turning_the_methods_round_turns_the_difference_round():
    first = VALUES + RNG.normal(0.1, 0.3, 40)
    there, back = paired_difference(first, VALUES, PATIENTS, 0), paired_difference(VALUES, first, PATIENTS, 0)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p_value == pytest.approx(there.p_value)
    order = RNG.permutation(40)
    shuffled = paired_difference(first[order], VALUES[order], [PATIENTS[i] for i in order], 0)
    assert (shuffled.mean, shuffled.low, shuffled.p_value) == pytest.approx((there.mean, there.low, there.p_value))


def test_many_patients_that_all_improve_are_significant():
    found = paired_difference(VALUES + 0.01, VALUES, [str(n) for n in range(40)], 0)
    assert found.p_value < 1e-6
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))


def test_too_few_patients_that_differ_have_no_p_value():
    names = [str(n) for n in range(40)]
    for number, defined in ((5, False), (6, True)):
        some = VALUES.copy()
        some[:number] += 0.1
        assert np.isfinite(paired_difference(some, VALUES, names, 0).p_value) == defined
    same = paired_difference(VALUES, VALUES, names, 0)
    assert (same.mean, same.low, same.high, same.differing) == (0, 0, 0, 0)
    assert np.isnan(same.p_value)
    nothing = paired_difference([], [], [], 0)
    assert np.isnan([nothing.mean, nothing.low, nothing.high, nothing.p_value]).all()


def test_an_undefined_score_is_refused_and_not_left_out_unseen():
    with pytest.raises(AnnotationError, match="Leave the case out of both, and count it"):
        paired_difference([0.1, float("nan")], [0.1, 0.2], ["a", "b"], 0)
    with pytest.raises(AnnotationError, match="2 and 1 scores of 2 cases found"):
        paired_difference([0.1, 0.2], [0.1], ["a", "b"], 0)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="A seed of -1 found, 0 or more expected"):
        bootstrap_interval([1.0, 2.0], ["a", "b"], seed=-1)


@pytest.mark.parametrize("at_once", [1, 50, 1000])
def test_draws_that_are_handled_in_parts_give_the_same_interval(monkeypatch, at_once):
    values, patients = RNG.random(30), [f"p{number % 15}" for number in range(30)]
    whole, _ = interval.draw_patients(patients, seed=4, resamples=101)
    plain = np.random.default_rng(4).multinomial(15, np.full(15, 1 / 15), size=101)
    np.testing.assert_array_equal(whole, plain)
    expected = bootstrap_interval(values, patients, seed=4, resamples=101)
    interval._draws.cache_clear()
    monkeypatch.setattr(interval, "AT_ONCE", at_once)
    np.testing.assert_array_equal(interval.draw_patients(patients, seed=4, resamples=101)[0], plain)
    assert bootstrap_interval(values, patients, seed=4, resamples=101) == pytest.approx(expected, abs=1e-12)
    counts = np.arange(15 * 4).reshape(15, 2, 2) * 2**40 + 1
    np.testing.assert_array_equal(interval.sums_of_draws(whole, counts), np.tensordot(plain, counts, 1))
    interval._draws.cache_clear()


def test_draws_are_made_once_and_cannot_be_written_to():
    patients = [f"p{number}" for number in range(9)]
    first, _ = interval.draw_patients(patients, seed=5)
    again, _ = interval.draw_patients(patients[::-1], seed=5)
    assert again is first
    assert first.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 7
