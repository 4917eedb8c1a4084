"""Seeded splits that never separate the cases of a patient."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from umanet.data.index import SPLITS, DatasetIndex, SplitProvenance
from umanet.errors import DatasetError
from umanet.types import Case

METHOD = "patients in the order of sha256(seed:patient)"
"""Unlike a random generator's stream, a hash is the same for ever and for every order of cases."""


def split_by_patient(cases: Iterable[Case], fractions: Mapping[str, float], seed: int) -> tuple[Case, ...]:
    """The cases, in their order, each with a split; all cases of a patient in the same one.

    Args:
        cases: Those without a patient count as a patient each.
        fractions: Split name to share of the *patients*; they sum to 1. Every split with a share above 0 gets
            a patient, whatever rounding says.
        seed: Together with the patients' names, decides everything.

    Raises:
        DatasetError: A bad split name or fraction, or fewer patients than splits.
    """
    cases = tuple(cases)
    patients = sorted({_patient(case) for case in cases}, key=lambda patient: _key(seed, patient))
    counts = _counts(len(patients), _checked(fractions))
    names = [name for name, count in counts.items() for _ in range(count)]
    split_of = dict(zip(patients, names, strict=True))
    return tuple(replace(case, split=split_of[_patient(case)]) for case in cases)


def patients_of_fold(cases: Iterable[Case], folds: int, fold: int, seed: int) -> set[str]:
    """The patients that one of so many folds holds out; every patient is in one.

    Args:
        cases: Those without a patient count as a patient each.
        folds: How many.
        fold: From 0.
        seed: Together with the patients' names, decides everything.
    """
    order = sorted({_patient(case) for case in cases})
    return set(np.random.default_rng(seed).permutation(order)[fold::folds].tolist())


def split_index(index: DatasetIndex, fractions: Mapping[str, float], seed: int) -> DatasetIndex:
    """The index with its cases split by patient and the provenance written down.

    Raises:
        DatasetError: As ``split_by_patient``.
    """
    cases = split_by_patient(index.cases, fractions, seed)
    provenance = SplitProvenance(method=METHOD, seed=seed, fractions=dict(fractions))
    return index.model_copy(update={"cases": cases, "splits": provenance})


def complete_splits(index: DatasetIndex, fractions: Mapping[str, float], seed: int) -> DatasetIndex:
    """Splits for the cases that have none, by patient; those that a source gave (an official test set) stay.

    Patients with a case in some split go there with all their cases. Of the fractions those of the splits that no case
    has yet, and that of ``train``, are shared out among the other patients.

    Raises:
        DatasetError: As ``split_by_patient``.
    """
    given = {_patient(case): case.split for case in index.cases if case.split}
    if not given:
        return split_index(index, fractions, seed)
    rest = [case for case in index.cases if _patient(case) not in given]
    if not rest:
        return index.model_copy(
            update={"cases": tuple(replace(case, split=case.split or given[_patient(case)]) for case in index.cases)}
        )
    open_ = {name: share for name, share in fractions.items() if name == "train" or name not in given.values()}
    open_ = {name: share / sum(open_.values()) for name, share in open_.items()}
    drawn = {case.id: case.split for case in split_by_patient(rest, open_, seed)}
    cases = tuple(
        replace(case, split=case.split or given.get(_patient(case)) or drawn[case.id]) for case in index.cases
    )
    provenance = SplitProvenance(method=f"given by the source; the others: {METHOD}", seed=seed, fractions=open_)
    return index.model_copy(update={"cases": cases, "splits": provenance})


def _patient(case: Case) -> str:
    return case.patient or case.id


def _key(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()


def _checked(fractions: Mapping[str, float]) -> dict[str, float]:
    """The fractions above zero, in the order of ``SPLITS`` whatever that of the mapping."""
    unknown = [name for name in fractions if name not in SPLITS]
    if unknown:
        raise DatasetError(f"Split {unknown[0]!r} found, any of {', '.join(SPLITS)} expected, in fractions. Rename it.")
    total = sum(fractions.values())
    if min(fractions.values(), default=0) < 0 or abs(total - 1) > 1e-6:
        raise DatasetError(
            f"Fractions {dict(fractions)} with sum {total:g} found, shares from 0 to 1 with sum 1 expected. Mend them."
        )
    return {name: fractions[name] for name in SPLITS if fractions.get(name, 0) > 0}


def _counts(patients: int, fractions: dict[str, float]) -> dict[str, int]:
    """Patients per split: one each, and the rest where the fractions are furthest from being met."""
    if patients < len(fractions):
        raise DatasetError(
            f"{patients} patients found, at least {len(fractions)} expected for the splits {', '.join(fractions)}. Use "
            "fewer splits or add patients."
        )
    counts = dict.fromkeys(fractions, 1)
    for _ in range(patients - len(fractions)):
        furthest = max(fractions, key=lambda name: fractions[name] * patients - counts[name])
        counts[furthest] += 1
    return counts
