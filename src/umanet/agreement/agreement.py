"""How far the annotators of a data set agree, and how each of them annotates, with no training and no truth.

Dice is a mean over cases, in which every case weighs alike. Kappa, alpha, sensitivity, specificity and volume ratio are
of the voxels of all cases together. A class is compared with all else, by those who draw it, where they say something.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64

from umanet.agreement.counted import REGIONS, Among, CountedCase, count_case
from umanet.data.case_size import largest_case
from umanet.data.index import DatasetIndex
from umanet.data.result_files import to_csv, write_together
from umanet.errors import DatasetError
from umanet.executor import INLINE, Executor
from umanet.metrics.agreement import alpha_of_counts, kappa_of_counts, mean_over_pairs, scores_of_confusion
from umanet.metrics.interval import (
    RESAMPLES,
    bootstrap_interval,
    draw_patients,
    percentile_interval,
    require_seed,
    sums_of_draws,
)

FORMAT, VERSION = "umanet-agreement", 1
ALL = "(all)"
"""In place of a class name: all classes together, of those who draw all. Class names have no parentheses."""
CONSENSUS = "the class with most votes of the others; of classes that tie, the lowest and the highest count half each"
ANONYMOUS = (
    "The annotators are anonymous: a name is not one person across cases, so nothing is said about single annotators, "
    "only about all of them together."
)
PAIRS = ("pairs", "both_empty", "one_empty")

Row = dict[str, Any]
Counts = Int64[np.ndarray, "draws *counts"]
NOTHING: Row = {"value": None, "ci95": [None, None]}
NO_OUTCOMES: Row = {"empty": None, "missed": None, "false": None}


@dataclass(frozen=True)
class Agreement:
    """What was found. A number with its interval is ``{"value": ..., "ci95": [low, high]}``, None where undefined.

    Where annotators draw some classes only, a class is compared among those who draw it.

    Attributes:
        annotators: Who annotated any of the cases, in the order of the index; empty where they are anonymous, and so
            are ``pairs``, ``pair_cases`` and ``per_annotator``.
        pairs: Foreground class to the mean Dice of every pair over the cases that both annotated; NaN where there
            are none, or one of them does not draw the class.
        pair_cases: How many these are.
        per_annotator: A row per annotator and foreground class that they draw, against the consensus of the others:
            ``dice``, ``sensitivity``, ``specificity`` (by region), ``volume_ratio`` (above 1: draws more than they do),
            each with its interval; ``cases``, of which somebody else draws the class too; and of these ``empty`` (drew
            nothing), ``missed`` (drew nothing where most of the others drew), ``false`` (drew where most of the others
            drew nothing). Those who agree most come first.
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
    executor: Executor = INLINE,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Compare the annotators of every case with each other; one case is in memory at a time.

    Args:
        index: The data set. Cases with fewer than two annotations are left out and counted.
        split: None for all cases.
        seed: Of the bootstrap over patients.
        executor: Where cases are compared.
        progress: Called after every case with how many are done, and of how many.

    Raises:
        ConfigError, DatasetError: A negative seed; the split is empty, or no case in it has two annotations that
            speak of the same class and voxel.
        ImageError, GeometryError, AnnotationError: A file does not hold what it must.
        ExecutorError: The workers or their scheduler are gone.
    """
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
    counted: list[CountedCase] = []
    count = partial(count_case, index=index.without_cases())
    with executor.map(count, several, [case.id for case in several], partial(largest_case, several)) as results:
        for one in results:
            counted.append(one)
            if progress:
                progress(len(counted), len(several))
    _require_pairs(counted, index)
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
            key=lambda row: (row["mean_pairwise_dice"] is None, row["mean_pairwise_dice"], row["case"]),
        ),
        protocol=_protocol(counted, index, split, left_out=len(chosen) - len(several), seed=seed),
    )


def _require_pairs(counted: list[CountedCase], index: DatasetIndex) -> None:
    if not any(number for one in counted for number, _, _ in one.numbers_of_pairs):
        raise DatasetError(
            f"No two annotations of a case that speak of the same class and voxel found in {index.name!r}, at least "
            "one pair expected. Mend `annotator_classes` or `ignore` in dataset.json, or import an annotator who draws "
            "the same."
        )


class _Patients:
    """Whose each case is, and how often each patient is drawn: the same draws for every number of the same cases."""

    def __init__(self, names: Sequence[str], seed: int):
        self.names, self.seed = names, seed
        self.drawn, self.owner = draw_patients(names, seed=seed)

    def mean(self, values: Float[np.ndarray, " cases"]) -> Row:
        """A mean over the cases where it is defined, with its interval."""
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            return NOTHING
        interval = bootstrap_interval(values[known], [self.names[at] for at in known.tolist()], seed=self.seed)
        return _estimate(float(values[known].mean()), *interval)

    def of_counts(self, counts: Int64[np.ndarray, "cases *counts"], score: Callable[[Counts], Float64[Any, "..."]]):
        """A score of counts that add up over cases, with its interval."""
        value = float(score(counts.sum(axis=0, keepdims=True))[0])
        if self.drawn.shape[1] < 2:
            return _estimate(value, math.nan, math.nan)
        sums = np.zeros((self.drawn.shape[1], *counts.shape[1:]))
        np.add.at(sums, self.owner, counts)
        return _estimate(value, *percentile_interval(score(sums_of_draws(self.drawn, sums).astype(np.int64))))


def _estimate(value: float, low: float, high: float) -> Row:
    return {"value": _defined(value), "ci95": [_defined(low), _defined(high)]}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean_known(values: Float64[np.ndarray, "..."], axis: int) -> Float64[np.ndarray, "..."]:
    """A mean that leaves out NaN; NaN of nothing."""
    known = ~np.isnan(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)


def _pairs(
    counted: list[CountedCase], shown: Int64[np.ndarray, " R"]
) -> tuple[Float64[np.ndarray, "foreground R R"], Int64[np.ndarray, "R R"]]:
    """Means over cases, leaving out who is absent, and the number of cases."""
    dice = np.stack([one.dice for one in counted])[:, :, shown][..., shown]
    # A pair that shares a class shares it in every case: classes have this number, or 0.
    return _mean_known(dice, axis=0), (~np.isnan(dice)).sum(axis=0).max(axis=0)


def _statistics(counted: list[CountedCase], names: Sequence[str], patients: _Patients) -> dict[str, Row]:
    of_cases = np.array([[mean_over_pairs(dice) for dice in one.dice] for one in counted])
    empty = np.array([one.numbers_of_pairs for one in counted]).sum(axis=0)
    found: dict[str, Row] = {}
    if len(names) > 1:
        pairs = {region: np.stack([one.together.pairs(region) for one in counted]) for region in REGIONS}
        found[ALL] = {
            "mean_pairwise_dice": patients.mean(_mean_known(of_cases, axis=1)),
            **_beyond_chance(pairs, patients),
        }
        found[ALL] |= dict(zip(PAIRS, empty.sum(axis=0).tolist(), strict=True))
    for k, name in enumerate(names):
        own = {region: np.stack([_of_class(one.of_class[k].pairs(region), k) for one in counted]) for region in REGIONS}
        found[name] = {"mean_pairwise_dice": patients.mean(of_cases[:, k]), **_beyond_chance(own, patients)}
        found[name] |= dict(zip(PAIRS, empty[k].tolist(), strict=True))
    return found


def _of_class(counts: Int64[np.ndarray, "*any K K"], k: int) -> Int64[np.ndarray, "*any 2 2"]:
    """Counts of a foreground class, the first is 0, against all else."""
    own = counts[..., k + 1, k + 1]
    rows, columns = counts.sum(axis=-1)[..., k + 1], counts.sum(axis=-2)[..., k + 1]
    rest = counts.sum(axis=(-2, -1)) - rows - columns + own
    return np.stack([np.stack([rest, columns - own], -1), np.stack([rows - own, own], -1)], -2)


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


def _per_annotator(counted: list[CountedCase], index: DatasetIndex, shown: list[int], seed: int) -> list[Row]:
    rows: list[list[Row]] = []
    for r in shown:
        own = [_row(counted, index, r, k - 1, seed) for k in index.drawn_by(index.annotators[r])]
        rows.append(own)
    return [row for own in sorted(rows, key=_disagreement) for row in own]


def _row(counted: list[CountedCase], index: DatasetIndex, r: int, k: int, seed: int) -> Row:
    """Of an annotator and a foreground class, the first is 0, over the cases in which somebody else draws it too."""
    own = [one for one in counted if one.draw[k, r] and one.draw[k].sum() > 1]
    row = {"annotator": index.annotators[r], "class": index.task.classes[k + 1], "cases": len(own)}
    if not own:
        regions = {"specificity": dict.fromkeys(REGIONS, NOTHING)}
        return row | dict.fromkeys(("dice", "sensitivity", "volume_ratio"), NOTHING) | regions | NO_OUTCOMES
    of_cases: list[Among] = [one.of_class[k] for one in own]
    union = np.stack([_of_class(one.others[r], k) for one in of_cases])
    image = union.copy()
    image[:, 0, 0] += 2 * np.array([one.beside[r] for one in of_cases])
    patients = _Patients([one.patient for one in own], seed)
    return {**row, **_against_others(union, image, patients), **_outcomes(own, r, k)}


def _disagreement(rows: list[Row]) -> float:
    """Of one annotator; the highest where nothing is known."""
    known = [row["dice"]["value"] for row in rows if row["dice"]["value"] is not None]
    return -float(np.mean(known)) if known else 1.0


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


def _outcomes(own: list[CountedCase], r: int, k: int) -> dict[str, int]:
    """In how many cases the annotator drew nothing, missed what most others drew, or drew what most others did not."""
    found = Counter(empty=0, missed=0, false=0)
    for one in own:
        drew = one.voxels[k] > 0
        share = float(drew[one.draw[k] & (np.arange(len(drew)) != r)].mean())
        found["empty"] += not drew[r]
        found["missed"] += not drew[r] and share > 0.5
        found["false"] += bool(drew[r]) and share < 0.5
    return {name: int(count) for name, count in found.items()}


def _case_rows(one: CountedCase, index: DatasetIndex) -> list[Row]:
    rows = []
    for k, name in enumerate(index.task.classes[1:]):
        who, dice = _farthest(one.dice[k])
        voxels = one.voxels[k, one.draw[k]]
        rows.append(
            {
                "case": one.case.id,
                "class": name,
                "annotations": len(voxels),
                "drew": int(np.count_nonzero(voxels)),
                "mean_pairwise_dice": _defined(mean_over_pairs(one.dice[k])),
                "farthest": None if who is None else index.annotators[who],
                "farthest_dice": dice,
                "least_voxels": int(voxels.min()) if len(voxels) else None,
                "most_voxels": int(voxels.max()) if len(voxels) else None,
                "patient": one.patient,
                "split": one.case.split or "",
            }
        )
    return rows


def _farthest(dice: Float64[np.ndarray, "R R"]) -> tuple[int | None, float | None]:
    """Whose mean Dice with the others is the lowest, and that; None where several share it, as two always do."""
    means = _mean_known(np.where(np.eye(len(dice), dtype=bool), np.nan, dice), axis=1)
    here = np.flatnonzero(~np.isnan(means))
    lowest = here[np.isclose(means[here], means[here].min(initial=np.inf))]
    return (int(lowest[0]), float(means[here].min())) if len(lowest) == 1 else (None, None)


def _protocol(counted: list[CountedCase], index: DatasetIndex, split: str | None, *, left_out: int, seed: int) -> Row:
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
        **({"annotator_classes": dict(index.annotator_classes)} if index.annotator_classes else {}),
        **({"ignored": "voxels that one of a pair ignores do not count"} if index.ignore else {}),
    }
