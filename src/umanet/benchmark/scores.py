"""Scores of contestants, and how they compare: differences, ranks, share of the gap to the truth."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from umanet.benchmark.row import Row
from umanet.benchmark.suite import Suite
from umanet.evaluation.comparison import holm
from umanet.evaluation.protocol import METRICS
from umanet.fusion import FUSIONS
from umanet.metrics.interval import (
    PairedDifference,
    bootstrap_interval,
    draw_patients,
    paired_difference,
    percentile_interval,
)

TRUTH = "truth"
Results = Sequence[tuple[Row, dict[str, Any]]]
"""Rows, and what ``result.json`` has of each."""


@dataclass(frozen=True)
class Scores:
    """Of one contestant in one place: a value per seed, fold and case, of whichever patient."""

    values: dict[tuple[int, int, str], float]
    patients: dict[tuple[int, int, str], str]

    def interval(self) -> tuple[float, float, float]:
        """Mean, and its 95 % interval over patients, each with all seeds."""
        keys = sorted(self.values)
        values = [self.values[k] for k in keys]
        return float(np.mean(values)), *bootstrap_interval(values, [self.patients[k] for k in keys], seed=0)

    def minus(self, other: "Scores") -> PairedDifference | None:
        """Over the cases that both have; None where there are none."""
        keys = sorted(self.values.keys() & other.values.keys())
        if not keys:
            return None
        return paired_difference(
            [self.values[k] for k in keys], [other.values[k] for k in keys], [self.patients[k] for k in keys], 0
        )


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


def best_fusion(scores: dict[str, Scores], better: str) -> str | None:
    """Of the fused baselines as they are; variants of them are none."""
    sign = -1 if better == "lower" else 1
    means = {name: sign * one.interval()[0] for name, one in scores.items() if name in FUSIONS}
    return max(means, key=lambda name: means[name]) if means else None


def differences(scores: dict[str, Scores], baseline: str | None) -> dict[str, tuple[PairedDifference, float | None]]:
    """To the baseline, of all others, with the p-value after Holm."""
    if baseline is None:
        return {}
    compared = {name: one.minus(scores[baseline]) for name, one in scores.items() if name != baseline}
    found = {name: one for name, one in compared.items() if one is not None}
    adjusted = holm([None if np.isnan(one.p_value) else one.p_value for one in found.values()])
    return {name: (one, p) for (name, one), p in zip(found.items(), adjusted, strict=True)}


def share_of_gap(one: Scores, baseline: Scores, truth: Scores) -> tuple[float, float, float] | None:
    """Which share of the gap between a baseline and training on the truth is closed, with its 95 % interval.

    The ratio of both mean differences over the cases that all three have; patients are drawn with all of theirs. None
    where the interval of the gap itself reaches 0, as the ratio says nothing then.
    """
    keys = sorted(one.values.keys() & baseline.values.keys() & truth.values.keys())
    drawn, owner = draw_patients([baseline.patients[k] for k in keys], seed=0)
    if drawn.shape[1] < 2:
        return None
    closed = np.array([one.values[k] - baseline.values[k] for k in keys])
    gap = np.array([truth.values[k] - baseline.values[k] for k in keys])
    closed_drawn, gap_drawn = (drawn @ np.bincount(owner, weights=each) for each in (closed, gap))
    low, high = percentile_interval(gap_drawn)
    if low <= 0 <= high:
        return None
    return float(closed.mean() / gap.mean()), *percentile_interval(closed_drawn / gap_drawn)


def mean_ranks(suite: Suite, results: Results) -> dict[str, list[float]]:
    """Ranks of the contestants, 1 the best, in every place, seed and fold in which all have been tried.

    The truth is no contestant, and a contestant without a score has no rank. Ties share the mean of their ranks.
    """
    ranks: dict[str, list[float]] = defaultdict(list)
    everybody = {one.name for one in suite.contestants if one.method != TRUTH}
    for data in suite.data:
        sign = 1 if METRICS[data.metrics[0]].better == "lower" else -1
        tried: dict[tuple[str, int, int], set[str]] = defaultdict(set)
        groups: dict[tuple[str, int, int], dict[str, float]] = defaultdict(dict)
        for row, result in results:
            if row.data == data.name and row.contestant in everybody:
                tried[row.scenario, row.seed, row.fold].add(row.contestant)
                mean = mean_of(result, data.metrics[0]) if result["status"] == "done" else None
                if mean is not None:
                    groups[row.scenario, row.seed, row.fold][row.contestant] = sign * mean
        for group in (group for key, group in groups.items() if tried[key] == everybody):
            for name, value in group.items():
                below = sum(other < value for other in group.values())
                alike = sum(other == value for other in group.values())
                ranks[name].append(below + (alike + 1) / 2)
    return dict(ranks)
