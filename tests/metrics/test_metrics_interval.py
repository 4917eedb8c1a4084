import numpy as np
import pytest

from umanet.metrics import bootstrap_interval

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
