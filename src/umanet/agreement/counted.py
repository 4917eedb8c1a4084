"""What is kept of a case to measure agreement: counts, which add up over cases.

Of a class only annotators count who draw it, and who do not ignore the whole image; a voxel that an annotator ignores
is not annotated by them.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.metrics.agreement import agreement_counts, confusion_with_others, pairwise_sizes
from umanet.metrics.arrays import count_votes
from umanet.metrics.calibration import neighbourhood
from umanet.metrics.overlap import dice_of_sizes
from umanet.types import IGNORE, Case

MARGIN = 3
"""Voxels around what anybody drew, which still belong to the region ``union``."""
REGIONS = {
    "union": f"what any annotator drew, of any class, and {MARGIN} voxels around",
    "image": "the whole image, most of it background that nobody doubts",
}

Labels = UInt8[np.ndarray, "R *spatial"]


@dataclass(frozen=True, eq=False)
class Among:
    """What some annotators of a case say together.

    Attributes:
        union: ``agreement_counts`` in the union.
        others: ``confusion_with_others`` in the union, twice: with ties for the lower class, and for the higher one.
        outside: Voxels outside of the union, where all say background, by how many of the annotators say something.
        beside: Of these, those of which an annotator and another one say something.
    """

    union: Int64[np.ndarray, "numbers K K"]
    others: Int64[np.ndarray, "R K K"]
    outside: Int64[np.ndarray, " numbers"]
    beside: Int64[np.ndarray, " R"]

    def pairs(self, region: str) -> Int64[np.ndarray, "numbers K K"]:
        """Counts of pairs; in the whole image every pair agrees on background besides."""
        pairs = self.union.copy()
        if region == "image":
            number = np.arange(len(self.outside))
            pairs[:, 0, 0] += self.outside * number * (number - 1)
        return pairs


@dataclass(frozen=True, eq=False)
class CountedCase:
    """What is kept of a case.

    Attributes:
        present: Who annotated it.
        draw: Who of them draws each foreground class.
        of_class: What these say together.
        together: The same of those who draw all classes.
        shared: Voxels that each pair shares, by foreground class; NaN for who does not draw it.
        sizes: As ``[r, q]`` the voxels of ``r`` of which ``q`` says something, likewise.
        voxels: That each drew of each foreground class.
    """

    case: Case
    present: Bool[np.ndarray, " R"]
    draw: Bool[np.ndarray, "foreground R"]
    of_class: tuple[Among, ...]
    together: Among
    shared: Float64[np.ndarray, "foreground R R"]
    sizes: Float64[np.ndarray, "foreground R R"]
    voxels: Int64[np.ndarray, "foreground R"]

    @property
    def patient(self) -> str:
        return self.case.patient or self.case.id

    @property
    def dice(self) -> Float64[np.ndarray, "foreground R R"]:
        """Of every pair, per foreground class; NaN for who does not draw it."""
        dice = dice_of_sizes(self.shared, self.sizes, self.sizes.swapaxes(1, 2))
        return np.where(np.isnan(self.shared), np.nan, dice)

    @property
    def numbers_of_pairs(self) -> list[tuple[int, int, int]]:
        """Per class, pairs of annotations, and those of which both are empty, and one."""
        found = []
        for sizes in self.sizes:
            first, second = np.triu_indices(len(sizes), k=1)
            pair = ~np.isnan(sizes[first, second])
            empty = (sizes[first, second] == 0).astype(int) + (sizes[second, first] == 0)
            found.append((int(pair.sum()), int((empty == 2).sum()), int((empty == 1).sum())))
        return found


def count_case(case: Case, index: DatasetIndex) -> CountedCase:
    """Read a case and count."""
    sample = read_case(replace(case, truth=None), index)
    labels, present, task = sample.annotations.numpy(), sample.present.numpy(), index.task
    silent = labels == IGNORE
    silent = silent if index.ignore and silent.any() else None
    drawn = labels > 0 if silent is None else (labels > 0) & ~silent
    near = neighbourhood(drawn[present].any(axis=0), margin=MARGIN)
    speaks = present if silent is None else present & ~silent.reshape(len(silent), -1).all(axis=1)
    draw = np.stack([speaks & task.who_draws(k) for k in range(1, task.num_classes)])
    draw_all = np.asarray(draw.all(axis=0))
    among: dict[bytes, Among] = {}
    for who in (*draw, draw_all):
        if who.tobytes() not in among:
            among[who.tobytes()] = _among(labels, silent, who, task.num_classes, near)
    sizes = [pairwise_sizes(labels == k, who, silent) if who.any() else _nobody(len(who))
             for k, who in enumerate(draw, start=1)]  # fmt: skip
    return CountedCase(
        case,
        present,
        draw,
        of_class=tuple(among[who.tobytes()] for who in draw),
        together=among[draw_all.tobytes()],
        shared=np.stack([shared for shared, _ in sizes]),
        sizes=np.stack([own for _, own in sizes]),
        voxels=np.array([[np.count_nonzero(one == k) for one in labels] for k in range(1, task.num_classes)], np.int64),
    )


def _among(
    labels: Labels,
    silent: Bool[np.ndarray, "R *spatial"] | None,
    who: Bool[np.ndarray, " R"],
    classes: int,
    near: Bool[np.ndarray, "*spatial"],
) -> Among:
    number = len(who)
    if not who.any():
        return Among(*(np.zeros((n, classes, classes), np.int64) for n in (number + 1, number)),
                     *(np.zeros(n, np.int64) for n in (number + 1, number)))  # fmt: skip
    turned = classes - 1 - labels
    turned = turned if silent is None else np.where(silent, np.uint8(IGNORE), turned)
    low = confusion_with_others(labels, who, classes, region=near)
    high = confusion_with_others(turned, who, classes, region=near)[:, ::-1, ::-1]
    return Among(agreement_counts(labels, who, classes, region=near), low + high, *_outside(silent, who, near))


def _outside(
    silent: Bool[np.ndarray, "R *spatial"] | None, who: Bool[np.ndarray, " R"], near: Bool[np.ndarray, "*spatial"]
) -> tuple[Int64[np.ndarray, " numbers"], Int64[np.ndarray, " R"]]:
    """``outside`` and ``beside`` of ``Among``."""
    number, voxels = int(who.sum()), int(near.size - np.count_nonzero(near))
    if silent is None:
        outside = np.zeros(len(who) + 1, np.int64)
        outside[number] = voxels
        return outside, voxels * (who & (number > 1)).astype(np.int64)
    speak = ~silent[:, ~near] & who[:, None]
    speaking = count_votes(speak)
    outside = np.bincount(speaking, minlength=len(who) + 1).astype(np.int64)
    return outside, np.array([np.count_nonzero(one & (speaking > 1)) for one in speak], np.int64)


def _nobody(number: int) -> tuple[Float64[np.ndarray, "R R"], Float64[np.ndarray, "R R"]]:
    nothing = np.full((number, number), np.nan)
    return nothing, nothing
