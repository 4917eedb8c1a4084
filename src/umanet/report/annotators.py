"""Who annotates how: agreement between annotators, their habits, and the cases on which they differ most."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from umanet.agreement import ALL, Agreement, measure_agreement
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError
from umanet.executor import INLINE, Executor
from umanet.report.pictures import Picture, displayed, picture_of_annotations

MOST_WORST = 12
PALE, FULL = (255, 255, 255), (86, 180, 233)
"""From white to Okabe and Ito's sky blue: dark text can be read on both, and so in grey."""
LEAST_RANGE = 0.2
"""Of Dice from white to full colour: smaller differences do not look large."""
HABIT = 0.05
"""Share by which volumes differ from those of the others, from which an annotator is said to draw more or less."""


@dataclass(frozen=True)
class Matrix:
    """Agreement of every pair: rows of cells, each a text, a colour, and how many cases it is from."""

    name: str
    annotators: list[str]
    rows: list[list[dict[str, Any]]]


@dataclass(frozen=True)
class DisputedCase:
    """A case with little agreement: its rows of ``Agreement.cases``, and all annotations on its image."""

    case: str
    rows: list[dict[str, Any]]
    place: str
    picture: Picture


def find_agreement(
    index: DatasetIndex, split: str | None, progress: Callable[[int, int], None], executor: Executor = INLINE
) -> tuple[Agreement | None, str]:
    """The agreement of the annotators, or None and a sentence that says why there is none."""
    try:
        return measure_agreement(index, split=split, executor=executor, progress=progress), ""
    except DatasetError as error:
        return None, str(error)


def matrices(agreement: Agreement) -> list[Matrix]:
    """A matrix per class, annotators who agree most with the others first; none of anonymous annotators."""
    found = []
    for name, values in agreement.pairs.items():
        others = np.where(np.eye(len(values), dtype=bool), np.nan, values)
        means = [float(np.nanmean(row)) if np.isfinite(row).any() else -1.0 for row in others]
        order = sorted(range(len(values)), key=lambda number: -means[number])
        rows = _cells(others[np.ix_(order, order)], agreement.pair_cases[np.ix_(order, order)])
        found.append(Matrix(name, [agreement.annotators[i] for i in order], rows))
    return found


def _cells(dice: Float64[np.ndarray, "R R"], cases: Int64[np.ndarray, "R R"]) -> list[list[dict[str, Any]]]:
    known = dice[np.isfinite(dice)]
    high = float(known.max()) if len(known) else 1.0
    low = min(float(known.min()), high - LEAST_RANGE) if len(known) else 0.0
    return [
        [_cell(float(value), int(number), (value - low) / (high - low), same=i == j) for j, (value, number) in row]
        for i, row in ((i, enumerate(zip(dice[i], cases[i], strict=True))) for i in range(len(dice)))
    ]


def _cell(value: float, cases: int, share: float, *, same: bool) -> dict[str, Any]:
    if not np.isfinite(value):
        return {"text": "" if same else "–", "colour": "transparent", "cases": 0}
    mixed = [round(pale + (full - pale) * share) for pale, full in zip(PALE, FULL, strict=True)]
    return {"text": f"{value:.2f}", "colour": f"rgb({mixed[0]} {mixed[1]} {mixed[2]})", "cases": cases}


def habit(row: dict[str, Any]) -> str:
    """What the volume ratio of an annotator says beyond chance, in words; empty where it says nothing."""
    ratio, (low, high) = row["volume_ratio"]["value"], row["volume_ratio"]["ci95"]
    if low is None or abs(ratio - 1) < HABIT or low <= 1 <= high:
        return ""
    return "draws more" if ratio > 1 else "draws less"


def worst_cases(agreement: Agreement, index: DatasetIndex, most: int) -> list[DisputedCase]:
    """The cases with least agreement, drawn where the annotations differ; each once."""
    known = {case.id: case for case in index.cases}
    names = list(dict.fromkeys(row["case"] for row in agreement.cases))[:most]
    drawn = []
    for name in names:
        sample = read_case(replace(known[name], truth=None), index)
        shown, place = picture_of_annotations(sample, index, displayed(sample.image.numpy(), index))
        rows = [row for row in agreement.cases if row["case"] == name]
        drawn.append(DisputedCase(name, sorted(rows, key=lambda row: row["class"]), place, shown))
    return drawn


def classes_of(agreement: Agreement) -> list[str]:
    """The foreground classes."""
    return [name for name in agreement.statistics if name != ALL]
