"""How far the annotators of a data set agree, and how each of them annotates, with no training and no truth.

Dice is a mean over cases, in which every case weighs alike. Kappa, alpha, sensitivity, specificity and volume ratio are
of the voxels of all cases together. A class is compared with all else.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.data.result_files import to_csv, write_together
from umanet.data.silence import refuse_partial
from umanet.errors import DatasetError
from umanet.metrics.agreement import (
    agreement_counts,
    alpha_of_counts,
    confusion_with_others,
    kappa_of_counts,
    mean_over_pairs,
    pairwise_dice,
    scores_of_confusion,
)
from umanet.metrics.calibration import neighbourhood
from umanet.metrics.interval import RESAMPLES, bootstrap_interval, draw_patients, percentile_interval, require_seed
from umanet.types import Case

FORMAT, VERSION = "umanet-agreement", 1
ALL = "(all)"
"""In place of a class name: all classes together. Class names have no parentheses."""
MARGIN = 3
"""Voxels around what anybody drew, which still belong to the region ``union``."""
REGIONS = {
    "union": f"what any annotator drew, of any class, and {MARGIN} voxels around",
    "image": "the whole image, most of it background that nobody doubts",
}
CONSENSUS = "the class with most votes of the others; of classes that tie, the lowest and the highest count half each"
ANONYMOUS = (
    "The annotators are anonymous: a name is not one person across cases, so nothing is said about single annotators, "
    "only about all of them together."
)
PAIRS = ("pairs", "both_empty", "one_empty")

Row = dict[str, Any]
Counts = Int64[np.ndarray, "draws *counts"]
NOTHING: Row = {"value": None, "ci95": [None, None]}


@dataclass(frozen=True)
class Agreement:
    """What was found. A number with its interval is ``{"value": ..., "ci95": [low, high]}``, None where undefined.

    Attributes:
        annotators: Who annotated any of the cases, in the order of the index; empty where they are anonymous, and so
            are ``pairs``, ``pair_cases`` and ``per_annotator``.
        pairs: Foreground class to the mean Dice of every pair over the cases that both annotated; NaN where there
            are none.
        pair_cases: How many these are.
        per_annotator: A row per annotator and foreground class, against the consensus of the others: ``dice``,
            ``sensitivity``, ``specificity`` (by region), ``volume_ratio`` (above 1: draws more than they do), each
            with its interval; ``cases``; and of these ``empty`` (drew nothing), ``missed`` (drew nothing where most
            of the others drew), ``false`` (drew where most of the others drew nothing). Those who agree most come
            first.
        statistics: Foreground class, and ``ALL`` where there are several, to ``mean_pairwise_dice`` and, by region,
            ``krippendorff_alpha`` and ``fleiss_kappa`` (None where the number of annotations differs from case to
            case), each with its interval; and how many ``pairs`` there are, of which ``both_empty`` (Dice 1)
            or ``one_empty`` (0).
        cases: A row per case and foreground class, least agreement first: ``mean_pairwise_dice``, how many drew it,
            whose annotation is ``farthest`` from the others (None where two agree alike), least and most voxels.
        protocol: What was compared, and how.
    """

    annotators: tuple[str, ...]
    pairs: dict[str, Float64[np.ndarray, "R R"]]
    pair_cases: Int64[np.ndarray, "R R"]
    per_annotator: list[Row]
    statistics: dict[str, Row]
    cases: list[Row]
    protocol: Row

    def to_json(self) -> str:
        pairs = {name: [[_defined(value) for value in row] for row in matrix] for name, matrix in self.pairs.items()}
        values = {"format": FORMAT, "version": VERSION} | asdict(self)
        values |= {"pairs": pairs, "pair_cases": self.pair_cases.tolist()}
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path) -> None:
        """Write ``agreement.json``, and the rows of all cases to ``agreement.csv``: both, or neither.

        Raises:
            OutputError: The disk is full, or the folder cannot be written to.
        """
        files = {"agreement.json": (self.to_json() + "\n").encode(), "agreement.csv": to_csv(self.cases)}
        write_together(folder, files)


def measure_agreement(
    index: DatasetIndex,
    split: str | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Compare the annotators of every case with each other; one case is in memory at a time.

    Args:
        index: The data set. Cases with fewer than two annotations are left out and counted.
        split: None for all cases.
        seed: Of the bootstrap over patients.
        progress: Called after every case with how many are done, and of how many.

    Raises:
        ConfigError, DatasetError: A negative seed; the split is empty, or no case in it has two annotations.
        ImageError, GeometryError, AnnotationError: A file does not hold what it must.
    """
    refuse_partial(index, "agreement")
    require_seed(seed)
    chosen = index.select(split)
    if not chosen:
        raise DatasetError(f"No case found in split {split!r} of {index.name!r}. Measure another split.")
    several = [case for case in chosen if len(case.annotations) > 1]
    if not several:
        raise DatasetError(
            f"No case with two annotations or more found among the {len(chosen)} of "
            f"{f'split {split!r} of ' if split else ''}{index.name!r}, at least one expected: the agreement of one "
            "annotator is undefined. Import a second annotator, or choose another split."
        )
    counted: list[_Counted] = []
    for number, case in enumerate(several, start=1):
        counted.append(_count(case, index))
        if progress:
            progress(number, len(several))
    everyone = np.flatnonzero(np.any([one.present for one in counted], axis=0))
    shown = everyone if index.annotators_are_identified else everyone[:0]
    names = index.task.classes[1:]
    matrices, pair_cases = _pairs(counted, shown)
    patients = _Patients([one.patient for one in counted], seed)
    return Agreement(
        annotators=tuple(index.annotators[r] for r in shown),
        pairs=dict(zip(names, matrices, strict=True)) if len(shown) else {},
        pair_cases=pair_cases,
        per_annotator=_per_annotator(counted, index, shown.tolist(), seed),
        statistics=_statistics(counted, names, patients),
        cases=sorted(
            (row for one in counted for row in _case_rows(one, index)),
            key=lambda row: (row["mean_pairwise_dice"], row["case"]),
        ),
        protocol=_protocol(counted, index, split, left_out=len(chosen) - len(several), seed=seed),
    )


@dataclass(frozen=True)
class _Counted:
    """What is kept of a case.

    Attributes:
        pairs: ``agreement_counts`` in the union.
        others: ``confusion_with_others`` in the union, twice: with ties for the lower class, and for the higher one.
        outside: Voxels outside of the union, where all say background.
        dice: Of every pair, per foreground class; NaN for who is absent.
        voxels: That each drew of each foreground class.
    """

    case: Case
    present: Bool[np.ndarray, " R"]
    pairs: Int64[np.ndarray, "numbers K K"]
    others: Int64[np.ndarray, "R K K"]
    outside: int
    dice: Float64[np.ndarray, "foreground R R"]
    voxels: Int64[np.ndarray, "foreground R"]

    @property
    def patient(self) -> str:
        return self.case.patient or self.case.id


def _count(case: Case, index: DatasetIndex) -> _Counted:
    sample = read_case(replace(case, truth=None), index)
    labels, present, number = sample.annotations.numpy(), sample.present.numpy(), index.task.num_classes
    near = neighbourhood((labels[present] > 0).any(axis=0), margin=MARGIN)
    low = confusion_with_others(labels, present, number, region=near)
    high = confusion_with_others(number - 1 - labels, present, number, region=near)[:, ::-1, ::-1]
    masks = [labels == k for k in range(1, number)]
    return _Counted(
        case,
        present,
        pairs=agreement_counts(labels, present, number, region=near),
        others=low + high,
        outside=int(near.size - np.count_nonzero(near)),
        dice=np.stack([pairwise_dice(mask, present) for mask in masks]),
        voxels=np.stack([np.count_nonzero(mask.reshape(len(mask), -1), axis=1) for mask in masks]),
    )


class _Patients:
    """Whose each case is, and how often each patient is drawn: the same draws for every number of the same cases."""

    def __init__(self, names: Sequence[str], seed: int):
        self.names, self.seed = names, seed
        self.drawn, self.owner = draw_patients(names, seed=seed)

    def mean(self, values: Float[np.ndarray, " cases"]) -> Row:
        """A mean over cases, with its interval."""
        return _estimate(float(values.mean()), *bootstrap_interval(values, self.names, seed=self.seed))

    def of_counts(self, counts: Int64[np.ndarray, "cases *counts"], score: Callable[[Counts], Float64[Any, "..."]]):
        """A score of counts that add up over cases, with its interval."""
        value = float(score(counts.sum(axis=0, keepdims=True))[0])
        if self.drawn.shape[1] < 2:
            return _estimate(value, math.nan, math.nan)
        sums = np.zeros((self.drawn.shape[1], *counts.shape[1:]))
        np.add.at(sums, self.owner, counts)
        # Whole numbers stay exact in double precision, and their product is a hundred times faster there.
        resampled = np.tensordot(self.drawn.astype(np.float64), sums, axes=1).astype(np.int64)
        return _estimate(value, *percentile_interval(score(resampled)))


def _estimate(value: float, low: float, high: float) -> Row:
    return {"value": _defined(value), "ci95": [_defined(low), _defined(high)]}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _pairs(
    counted: list[_Counted], shown: Int64[np.ndarray, " R"]
) -> tuple[Float64[np.ndarray, "foreground R R"], Int64[np.ndarray, "R R"]]:
    """Means over cases, leaving out who is absent, and the number of cases."""
    dice = np.stack([one.dice for one in counted])[:, :, shown][..., shown]
    there = ~np.isnan(dice)
    number = there.sum(axis=0)
    total = np.where(there, dice, 0).sum(axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0), number[0]


def _statistics(counted: list[_Counted], names: Sequence[str], patients: _Patients) -> dict[str, Row]:
    of_cases = np.array([[mean_over_pairs(dice) for dice in one.dice] for one in counted])
    empty = np.array([_count_pairs(one) for one in counted]).sum(axis=0)
    pairs = {region: np.stack([_in_region(one, region) for one in counted]) for region in REGIONS}
    found: dict[str, Row] = {}
    if len(names) > 1:
        found[ALL] = {"mean_pairwise_dice": patients.mean(of_cases.mean(axis=1)), **_beyond_chance(pairs, patients)}
        found[ALL] |= dict(zip(PAIRS, empty.sum(axis=0).tolist(), strict=True))
    for k, name in enumerate(names):
        own = {region: _one_against_rest(counts)[:, :, k] for region, counts in pairs.items()}
        found[name] = {"mean_pairwise_dice": patients.mean(of_cases[:, k]), **_beyond_chance(own, patients)}
        found[name] |= dict(zip(PAIRS, empty[k].tolist(), strict=True))
    return found


def _count_pairs(one: _Counted) -> list[tuple[int, int, int]]:
    """Per class, pairs of annotations, and those of which both are empty, and one."""
    found = []
    for voxels in one.voxels[:, one.present]:
        empty = int((voxels == 0).sum())
        pairs = len(voxels) * (len(voxels) - 1) // 2
        found.append((pairs, empty * (empty - 1) // 2, empty * (len(voxels) - empty)))
    return found


def _in_region(one: _Counted, region: str) -> Int64[np.ndarray, "numbers K K"]:
    """Counts of pairs; in the whole image every pair agrees on background besides."""
    pairs, number = one.pairs.copy(), int(one.present.sum())
    if region == "image":
        pairs[number, 0, 0] += one.outside * number * (number - 1)
    return pairs


def _one_against_rest(counts: Int64[np.ndarray, "*any K K"]) -> Int64[np.ndarray, "*any foreground 2 2"]:
    """Counts of every foreground class (1) against all else (0)."""
    own = np.moveaxis(counts.diagonal(axis1=-2, axis2=-1), -1, 0)[1:]
    rows, columns = (np.moveaxis(counts.sum(axis=axis), -1, 0)[1:] for axis in (-1, -2))
    total = counts.sum(axis=(-2, -1))
    cells = [[total - rows - columns + own, columns - own], [rows - own, own]]
    return np.moveaxis(np.stack([np.stack(line, axis=-1) for line in cells], axis=-2), 0, -3)


def _beyond_chance(pairs: dict[str, Counts], patients: _Patients) -> Row:
    """Alpha and kappa, by region."""
    found: Row = {"krippendorff_alpha": {}, "fleiss_kappa": {}}
    for region, counts in pairs.items():
        constant = np.count_nonzero(counts.any(axis=(0, 2, 3))) <= 1
        found["krippendorff_alpha"][region] = patients.of_counts(counts, _each(alpha_of_counts))
        found["fleiss_kappa"][region] = patients.of_counts(counts, _each(kappa_of_counts)) if constant else NOTHING
    return found


def _each(score: Callable[..., float]) -> Callable[[Counts], Float64[Any, "..."]]:
    return lambda counts: np.array([score(one) for one in counts])


def _per_annotator(counted: list[_Counted], index: DatasetIndex, shown: list[int], seed: int) -> list[Row]:
    rows: dict[int, list[Row]] = {}
    for r in shown:
        own = [one for one in counted if one.present[r]]
        patients = _Patients([one.patient for one in own], seed)
        union = _one_against_rest(np.stack([one.others[r] for one in own]))
        image = union.copy()
        image[:, :, 0, 0] += 2 * np.array([one.outside for one in own])[:, None]
        rows[r] = [
            {
                "annotator": index.annotators[r],
                "class": name,
                "cases": len(own),
                **_against_others(union[:, k], image[:, k], patients),
                **_outcomes(own, r, k),
            }
            for k, name in enumerate(index.task.classes[1:])
        ]
    ordered = sorted(rows.values(), key=lambda own: -float(np.mean([row["dice"]["value"] for row in own])))
    return [row for own in ordered for row in own]


def _against_others(
    union: Int64[np.ndarray, "cases 2 2"], image: Int64[np.ndarray, "cases 2 2"], patients: _Patients
) -> Row:
    def of(name: str, counts: Int64[np.ndarray, "cases 2 2"]) -> Row:
        return patients.of_counts(counts, lambda sums: getattr(scores_of_confusion(sums), name)[:, 1])

    return {
        "dice": patients.mean(scores_of_confusion(image).dice[:, 1]),
        "sensitivity": of("sensitivity", union),
        "specificity": {"union": of("specificity", union), "image": of("specificity", image)},
        "volume_ratio": of("bias", union),
    }


def _outcomes(own: list[_Counted], r: int, k: int) -> dict[str, int]:
    """In how many cases the annotator drew nothing, missed what most others drew, or drew what most others did not."""
    found = Counter(empty=0, missed=0, false=0)
    for one in own:
        drew = one.voxels[k] > 0
        share = float(drew[one.present & (np.arange(len(drew)) != r)].mean())
        found["empty"] += not drew[r]
        found["missed"] += not drew[r] and share > 0.5
        found["false"] += bool(drew[r]) and share < 0.5
    return {name: int(count) for name, count in found.items()}


def _case_rows(one: _Counted, index: DatasetIndex) -> list[Row]:
    rows = []
    for k, name in enumerate(index.task.classes[1:]):
        who, dice = _farthest(one.dice[k])
        voxels = one.voxels[k, one.present]
        rows.append(
            {
                "case": one.case.id,
                "class": name,
                "annotations": len(voxels),
                "drew": int(np.count_nonzero(voxels)),
                "mean_pairwise_dice": mean_over_pairs(one.dice[k]),
                "farthest": None if who is None else index.annotators[who],
                "farthest_dice": dice,
                "least_voxels": int(voxels.min()),
                "most_voxels": int(voxels.max()),
                "patient": one.patient,
                "split": one.case.split or "",
            }
        )
    return rows


def _farthest(dice: Float64[np.ndarray, "R R"]) -> tuple[int | None, float | None]:
    """Whose mean Dice with the others is the lowest, and that; None where several share it, as two always do."""
    others = np.where(np.eye(len(dice), dtype=bool), np.nan, dice)
    here = np.flatnonzero(~np.isnan(dice.diagonal()))
    means = np.nanmean(others[np.ix_(here, here)], axis=1)
    lowest = np.flatnonzero(np.isclose(means, means.min()))
    return (int(here[lowest[0]]), float(means.min())) if len(lowest) == 1 else (None, None)


def _protocol(counted: list[_Counted], index: DatasetIndex, split: str | None, *, left_out: int, seed: int) -> Row:
    numbers = Counter(int(one.present.sum()) for one in counted)
    return {
        "data": index.name,
        "split": split,
        "cases": len(counted),
        "left_out": left_out,
        "patients": len({one.patient for one in counted}),
        "annotations": sum(number * count for number, count in numbers.items()),
        "cases_by_annotations": {str(number): numbers[number] for number in sorted(numbers)},
        "annotators_are_identified": index.annotators_are_identified,
        "overlap": {"both_empty": 1, "one_empty": 0},
        "regions": REGIONS,
        "consensus": CONSENSUS,
        "interval": {"percent": 95, "over": "patients", "resamples": RESAMPLES, "seed": seed},
    }
