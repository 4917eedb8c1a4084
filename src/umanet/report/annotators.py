"""Who annotates how: agreement between annotators, and how the network sees each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from umanet.data.index import DatasetIndex
from umanet.errors import DatasetError

MOST_WORST = 10
PALE, FULL = (255, 255, 255), (86, 180, 233)
"""From white to Okabe and Ito's sky blue: dark text can be read on both, and so in grey."""


@dataclass(frozen=True)
class Matrix:
    """Agreement of every pair: rows of cells, each a text, a colour, and how many cases it is from."""

    name: str
    annotators: list[str]
    rows: list[list[dict[str, Any]]]
    low: float
    high: float


def find_agreement(
    index: DatasetIndex, split: str | None, progress: Callable[[int, int], None]
) -> tuple[Any | None, str]:
    """The agreement of the annotators, or None and a sentence that says why there is none."""
    if find_spec("umanet.agreement") is None:
        return None, "This version of umanet does not measure agreement."
    try:
        return import_module("umanet.agreement").measure_agreement(index, split=split, progress=progress), ""
    except DatasetError as error:
        return None, str(error)


def matrices(agreement: Any) -> list[Matrix]:
    """A matrix per class, annotators who agree most with the others first."""
    found = []
    for name, values in agreement.pairs.items():
        others = np.where(np.eye(len(values), dtype=bool), np.nan, np.asarray(values, dtype=float))
        known = others[np.isfinite(others)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        means = [np.nanmean(row) if np.isfinite(row).any() else -1.0 for row in others]
        order = sorted(range(len(values)), key=lambda number: -means[number])
        rows = [
            [_cell(float(others[i, j]), int(agreement.pair_cases[i][j]), low, high, same=i == j) for j in order]
            for i in order
        ]
        found.append(Matrix(name, [agreement.annotators[i] for i in order], rows, low, high))
    return found


def _cell(value: float, cases: int, low: float, high: float, *, same: bool) -> dict[str, Any]:
    if same or not np.isfinite(value):
        return {"text": "" if same else "–", "colour": "transparent", "cases": 0 if same else cases}
    share = (value - low) / (high - low) if high > low else 1.0
    mixed = [round(pale + (full - pale) * share) for pale, full in zip(PALE, FULL, strict=True)]
    return {"text": f"{value:.2f}", "colour": f"rgb({mixed[0]} {mixed[1]} {mixed[2]})", "cases": cases}
