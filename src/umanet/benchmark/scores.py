"""Scores of contestants, and how they compare: differences, ranks, share of the gap to the truth."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from umanet.benchmark.run import LOST, Results
from umanet.benchmark.suite import Suite
from umanet.evaluation.comparison import holm
from umanet.evaluation.protocol import METRICS
from umanet.metrics.interval import (
    PairedDifference,
    draw_patients,
    paired_difference,
    percentile_interval,
)

TRUTH = "truth"
DRAWS = 10_000
"""Of intervals: with one or two degrees of freedom Student's t has long tails."""
Key = tuple[int, int, str]
"""Seed, fold and case."""


class Rank(NamedTuple):
    """Of one contestant in one comparison: 1 is best."""

    place: float
    of: int


@dataclass(frozen=True)
class Scores:
    """Of one contestant in one place: a value per seed, fold and case, of whichever patient."""

    values: dict[Key, float]
    patients: dict[Key, str]

    def interval(self) -> tuple[float, float, float]:
        """Mean, and its 95 % interval over seeds and patients."""
        mean, drawn = self._mean_of(self.values)
        return mean, *percentile_interval(drawn)

    def minus(self, other: "Scores") -> PairedDifference | None:
        """Over the cases that both have; None where there are none. The test is over patients, given these runs."""
        keys = sorted(self.values.keys() & other.values.keys())
        if not keys:
            return None
        own, others = ([one.values[k] for k in keys] for one in (self, other))
        found = paired_difference(own, others, [self.patients[k] for k in keys], 0)
        low, high = percentile_interval(self._mean_of({k: a - b for k, a, b in zip(keys, own, others, strict=True)})[1])
        return replace(found, low=low, high=high)

    def share_of_gap(self, baseline: "Scores", truth: "Scores", better: str) -> tuple[float, float, float] | None:
        """Which share of the gap between a baseline and training on the truth is closed, with its 95 % interval.

        The ratio of both mean differences over the cases that all three have. None where the truth is not better for
        certain: where the interval of the gap reaches 0, the ratio says nothing. Draws without a gap count as the worst
        on either side.

        Args:
            baseline: Where the gap begins.
            truth: Where it ends.
            better: ``higher`` or ``lower``.
        """
        keys = self.values.keys() & baseline.values.keys() & truth.values.keys()
        sign = -1 if better == "lower" else 1
        closed, closed_drawn = self._mean_of({k: sign * (self.values[k] - baseline.values[k]) for k in keys})
        gap, gap_drawn = self._mean_of({k: sign * (truth.values[k] - baseline.values[k]) for k in keys})
        if not percentile_interval(gap_drawn)[0] > 0:
            return None
        lowest = np.divide(closed_drawn, gap_drawn, out=np.full_like(gap_drawn, -np.inf), where=gap_drawn > 0)
        highest = np.where(gap_drawn > 0, lowest, np.inf)
        low, high = (float(np.quantile(one, q, method="nearest")) for one, q in ((lowest, 0.025), (highest, 0.975)))
        return closed / gap, low, high

    def _mean_of(self, values: Mapping[Key, float]) -> tuple[float, Float[np.ndarray, " resamples"]]:
        """Their mean, and draws of it: patients, with all their cases, with replacement, and seeds from Student's t.

        Two or three seeds drawn with replacement would resemble each other too much. NaN, where there are fewer than
        two patients.
        """
        keys = sorted(values)
        given = np.array([values[k] for k in keys])
        numbers, seed = np.unique([k[0] for k in keys], return_inverse=True)
        names, patient = np.unique([self.patients[k] for k in keys], return_inverse=True)
        if len(names) < 2:
            return float(np.mean(given)), np.full(DRAWS, np.nan)
        patients = _drawn_patients(tuple(names.tolist()))
        total, count = np.zeros((2, len(numbers), len(names)))
        np.add.at(total, (seed, patient), given)
        np.add.at(count, (seed, patient), 1)
        with np.errstate(invalid="ignore"):  # a seed of which no patient was drawn
            means = (patients @ total.T) / (patients @ count.T)
        weights = count.sum(1) / count.sum() + _student(len(numbers))
        return float(np.mean(given)), (weights * means).sum(1)


@lru_cache(maxsize=2)
def _drawn_patients(names: tuple[str, ...]) -> Float[np.ndarray, "draws patients"]:
    """How often each is drawn: the same for all contestants of a place."""
    return draw_patients(names, seed=0, resamples=DRAWS)[0].astype(float)


@lru_cache
def _student(seeds: int) -> Float[np.ndarray, "draws seeds"]:
    """Weights of sum 0: of normally distributed values they make draws of their mean's t, about 0."""
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(DRAWS, seeds))
    spread = np.sqrt(seeds * rng.chisquare(max(1, seeds - 1), (DRAWS, 1)))
    return (drawn - drawn.mean(1, keepdims=True)) / spread


def values_of(result: dict[str, Any], metric: str) -> list[tuple[str, str, float]]:
    """Case, patient and value; of several classes their mean."""
    rows = result["cases"]
    several = any(row["class"] == "(mean)" for row in rows)
    chosen = [row for row in rows if row["class"] == "(mean)" or not several]
    return [(row["case"], row["patient"], row[metric]) for row in chosen if row.get(metric) is not None]


def mean_of(result: dict[str, Any], metric: str) -> float | None:
    values = [value for _, _, value in values_of(result, metric)]
    return float(np.mean(values)) if values else None


def by_contestant(own: Results, metric: str) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for row, result in own:
        scores = found.setdefault(row.contestant, Scores({}, {}))
        for case, patient, value in values_of(result, metric):
            scores.values[row.seed, row.fold, case] = value
            scores.patients[row.seed, row.fold, case] = patient
    return {name: scores for name, scores in found.items() if scores.values}


def best(scores: dict[str, Scores], names: Iterable[str], better: str) -> str | None:
    """Of those named, who has the best mean; None where none of them has scores."""
    sign = -1 if better == "lower" else 1
    means = {name: sign * np.mean([*scores[name].values.values()]) for name in names if name in scores}
    return max(means, key=lambda name: means[name]) if means else None


def differences(scores: dict[str, Scores], baseline: str | None) -> dict[str, tuple[PairedDifference, float | None]]:
    """To the baseline, of all others, with the p-value after Holm."""
    if baseline is None:
        return {}
    compared = {name: one.minus(scores[baseline]) for name, one in scores.items() if name != baseline}
    found = {name: one for name, one in compared.items() if one is not None}
    adjusted = holm([None if np.isnan(one.p_value) else one.p_value for one in found.values()])
    return {name: (one, p) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def ranks(suite: Suite, results: Results) -> dict[str, list[Rank]]:
    """In all data, scenarios, seeds and folds that all methods have tried; of variants only those tried in all of them.

    The truth is no contestant. Ties share the mean of their ranks. Who failed or took too long is last; who cannot do
    a task has no rank in it.
    """
    metric = {data.name: data.metrics[0] for data in suite.data}
    contestants = {one.name for one in suite.contestants if one.method != TRUTH}
    groups: dict[tuple[str, str, int, int], dict[str, float | None]] = defaultdict(dict)
    for row, result in results:
        if row.contestant in contestants:
            mean = mean_of(result, metric[row.data]) if result["status"] == "done" else None
            sign = 1 if METRICS[metric[row.data]].better == "lower" else -1
            lost = math.inf if result["status"] in LOST else None
            group = groups[row.data, row.scenario, row.seed, row.fold]
            group[row.contestant] = lost if mean is None else sign * mean
    compared = [group for group in groups.values() if contestants.intersection(suite.methods) <= group.keys()]
    ranked = [one.name for one in suite.contestants if all(one.name in group for group in compared)]
    found: dict[str, list[Rank]] = {name: [] for name in ranked}
    for group in compared:
        values = {name: value for name in ranked if (value := group[name]) is not None}
        for name, value in values.items():
            below = sum(other < value for other in values.values())
            alike = sum(other == value for other in values.values())
            found[name].append(Rank(below + (alike + 1) / 2, len(values)))
    return {name: own for name, own in found.items() if own}
