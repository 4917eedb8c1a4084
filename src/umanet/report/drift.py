"""Quality of an annotator's annotations over time, where it is known when they were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd
from jaxtyping import Float64

from umanet.data.index import DatasetIndex

LEAST_ANNOTATIONS = 8
LEAST_DAYS = 3
NEAREST = 8
"""Annotations that the median at a day is of: those nearest to it in time."""
CHANCE = 0.05


@dataclass(frozen=True)
class Drift:
    """The dated annotations of an annotator, in the order of time.

    Attributes:
        annotator: Who drew them.
        days: When.
        quality: Of each.
        correlation: Spearman's rank correlation of day and quality, in [-1, 1]; None where all qualities are the same.
        p: Of no correlation, two-sided, times the number of annotators: of many, one falls by chance alone.
    """

    annotator: str
    days: list[date]
    quality: list[float]
    correlation: float | None
    p: float | None

    @property
    def said(self) -> str:
        """What the correlation says, in words."""
        if self.correlation is None or self.p is None:
            return "the same quality throughout"
        if self.p >= CHANCE:
            return "no change beyond chance"
        return "quality falls with time" if self.correlation < 0 else "quality rises with time"

    @property
    def medians(self) -> tuple[list[date], list[float]]:
        """Every day, and the median of the annotations nearest to it."""
        days, numbers = sorted(set(self.days)), _numbers(self.days)
        return days, [_median(numbers, np.array(self.quality), day.toordinal()) for day in days]


def find_drift(table: pd.DataFrame, index: DatasetIndex) -> list[Drift]:
    """Of the annotators with enough dated annotations; of none where annotators are anonymous.

    Args:
        table: A row per annotation, as in ``quality.csv``.
        index: The data set, which has the dates.
    """
    if not index.annotators_are_identified:
        return []
    dates = {(case.id, who): day for case in index.cases for who, day in case.dates.items()}
    found = []
    for who in index.annotators:
        own = table[(table.annotator == who) & table.quality.notna()]
        dated = [(dates[case, who], float(quality)) for case, quality in zip(own.case, own.quality, strict=True)
                 if (case, who) in dates]  # fmt: skip
        if len(dated) >= LEAST_ANNOTATIONS and len({day for day, _ in dated}) >= LEAST_DAYS:
            days, quality = (list(values) for values in zip(*sorted(dated), strict=True))
            found.append(Drift(who, days, quality, *_correlation(days, quality)))
    return [replace(one, p=None if one.p is None else min(1.0, one.p * len(found))) for one in found]


def _correlation(days: Sequence[date], quality: Sequence[float]) -> tuple[float | None, float | None]:
    from scipy.stats import spearmanr  # here, as it takes longer to import than the rest

    if len(set(quality)) == 1:
        return None, None
    found = spearmanr(_numbers(days), quality)
    return float(found.statistic), float(found.pvalue)  # type: ignore[attr-defined]  # SciPy stubs


def _median(numbers: Float64[np.ndarray, " N"], quality: Float64[np.ndarray, " N"], day: int) -> float:
    away = np.abs(numbers - day)
    return float(np.median(quality[away <= np.sort(away)[NEAREST - 1]]))


def _numbers(days: Sequence[date]) -> Float64[np.ndarray, " N"]:
    return np.array([day.toordinal() for day in days], dtype=np.float64)
