"""What only many cases together show: copies, classes that look like stray values, cases unlike the others."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from umanet.data.check.cases import CaseFindings, foreground
from umanet.data.check.images import STATISTICS
from umanet.data.check.problems import DATASET, Place, Problem
from umanet.data.index import DatasetIndex
from umanet.types import IGNORE

# When a class looks like stray values (a 254 beside 255, one file of another program): with fewer annotations a rare
# class is no surprise, and a small structure is small everywhere.
ENOUGH_ANNOTATIONS = 20
RARE_SHARE_OF_VOXELS, RARE_SHARE_OF_ANNOTATIONS = 1e-4, 0.05
ENOUGH_CASES = 10
"""With fewer cases nobody knows what is usual."""
FAR = 6.0
"""Robust z: of bell-shaped intensities, one case in 500 million lies so far from the others."""
OF_THE_CONTRAST = 0.5
"""Images that agree closely spread little: what is far for them must also be much against the contrast in one image."""
SPACING_RATIO = 2.0


@dataclass
class Drawn:
    """What the annotations hold.

    Attributes:
        annotations: How many were read.
        voxels: Voxels of each class.
        files: Annotations that hold each class.
        first: The first of these, as ``case/annotator``.
    """

    annotations: int = 0
    voxels: Counter[int] = field(default_factory=Counter)
    files: Counter[int] = field(default_factory=Counter)
    first: dict[int, str] = field(default_factory=dict)


def count_drawn(found: Sequence[CaseFindings]) -> Drawn:
    drawn = Drawn()
    for case in found:
        for annotator, annotation in case.annotations.items():
            drawn.annotations += 1
            for k, voxels in annotation.voxels.items():
                drawn.voxels[k] += voxels
                drawn.files[k] += 1
                drawn.first.setdefault(k, f"{case.case.id}/{annotator}")
    return drawn


def problems_across(index: DatasetIndex, found: Sequence[CaseFindings], drawn: Drawn) -> Iterator[Problem]:
    yield from _same_images(found)
    yield from _same_annotations(found)
    yield from _intensity_outliers(index, found)
    yield from _spacing_outliers(found)
    yield from _classes(index, drawn)
    yield from _mixed_values(index, found, drawn)


def _same_images(found: Sequence[CaseFindings]) -> Iterator[Problem]:
    first: dict[bytes, CaseFindings] = {}
    for findings in found:
        if findings.image is None:
            continue
        other = first.setdefault(findings.image.digest, findings)
        if other is not findings:
            case = findings.case
            leaks = other.case.split != case.split
            what = f"The same image as case {other.case.id!r} found, another one expected."
            place = Place(case.id, None, case.image[0])
            yield place.problem("error" if leaks else "warning", "same-image", what, "Make them one case.")


def _same_annotations(found: Sequence[CaseFindings]) -> Iterator[Problem]:
    first: dict[bytes, tuple[CaseFindings, str]] = {}
    for findings in found:
        for annotator, annotation in findings.annotations.items():
            if annotation.digest is None or len(annotation.voxels) == 1:  # a full mask has no shape of its own
                continue
            other, name = first.setdefault(annotation.digest, (findings, annotator))
            same_image = findings.image and other.image and findings.image.digest == other.image.digest
            if other is not findings and not same_image:
                what = (
                    f"The same as {other.case.id}/{name} found, which is about another image; its own drawing expected."
                )
                place = Place(findings.case.id, annotator, findings.case.annotations[annotator])
                yield place.problem("warning", "same-annotation", what, "See which of the two is a copy in its place.")


def _intensity_outliers(index: DatasetIndex, found: Sequence[CaseFindings]) -> Iterator[Problem]:
    images = [f for f in found if f.image is not None and len(f.image.intensities) == len(index.channels)]
    images = [f for f in images if f.image is not None and all(f.image.intensities)]
    if len(images) < ENOUGH_CASES:
        return
    # cases, channels, statistics
    values = np.array([f.image.intensities for f in images if f.image is not None], np.float64)
    median = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - median), axis=0)
    # Where more than half of the cases agree to the last digit (a background), nothing can be said of the rest.
    told = spread > 1e-6 * (1 + np.abs(median))
    contrast = median[:, STATISTICS.index("99th percentile")] - median[:, STATISTICS.index("median")]  # of each channel
    off = np.abs(values - median)
    z = np.divide(off, spread, out=np.zeros_like(values), where=told & (off > OF_THE_CONTRAST * contrast[:, None]))
    for findings, distances, own in zip(images, z, values, strict=True):
        channel, statistic = np.unravel_index(distances.argmax(), distances.shape)
        if distances[channel, statistic] > FAR:
            what = (
                f"A {STATISTICS[statistic]} of {own[channel, statistic]:.4g} found in channel "
                f"{index.channels[channel]}, near {median[channel, statistic]:.4g} as in the other cases expected "
                f"({distances[channel, statistic]:.0f} times their spread away)."
            )
            place = Place(findings.case.id, None, findings.case.image[0])
            remedy = "Look whether it is of another unit, modality or window."
            yield place.problem("warning", "intensity-outlier", what, remedy)


def _spacing_outliers(found: Sequence[CaseFindings]) -> Iterator[Problem]:
    known = [(f, f.image.spacing) for f in found if f.image is not None and f.image.spacing is not None]
    if len(known) < ENOUGH_CASES:
        return
    median = np.median([spacing for _, spacing in known], axis=0)
    for findings, spacing in known:
        ratio = np.array(spacing) / median
        if (ratio > SPACING_RATIO).any() or (ratio < 1 / SPACING_RATIO).any():
            what = f"A spacing of {_mm(spacing)} found, about {_mm(median)} as in most cases expected."
            place = Place(findings.case.id, None, findings.case.image[0])
            yield place.problem("note", "spacing-outlier", what, "Legal; `data.spacing` resamples all to one.")


def _classes(index: DatasetIndex, drawn: Drawn) -> Iterator[Problem]:
    """Classes that nobody drew, and those that look like stray values."""
    all_voxels = sum(voxels for k, voxels in drawn.voxels.items() if 0 < k < IGNORE)
    for k, definition in enumerate(index.classes):
        if k == 0 or not drawn.annotations:
            continue
        files, voxels = drawn.files[k], drawn.voxels[k]
        few = files <= RARE_SHARE_OF_ANNOTATIONS * drawn.annotations and voxels < RARE_SHARE_OF_VOXELS * all_voxels
        if not files:
            found = f"Class {definition.name!r} found in no annotation."
            yield DATASET.problem("warning", "class-without-annotation", found, "Nothing can be learned about it.")
        elif drawn.annotations >= ENOUGH_ANNOTATIONS and (files == 1 or few):
            values = " or ".join(map(str, definition.values))
            found = (
                f"Class {definition.name!r} (value {values}) found in {files} of {drawn.annotations} annotations only "
                f"({voxels} of {all_voxels} foreground voxels, first in {drawn.first[k]}), a class that is drawn more "
                "often expected."
            )
            remedy = (
                "If these are stray values, mend the files, or give the value to another class with "
                "`umanet import --classes`, as in background=0 lesion=255,254."
            )
            yield DATASET.problem("warning", "rare-class", found, remedy)


def _mixed_values(index: DatasetIndex, found: Sequence[CaseFindings], drawn: Drawn) -> Iterator[Problem]:
    """Masks of 0 and 1 beside masks of 0 and 255, which an import takes for two classes."""
    held: dict[tuple[int, ...], int] = defaultdict(int)
    for findings in found:
        for annotation in findings.annotations.values():
            held[tuple(foreground(annotation))] += 1
    if {definition.values for definition in index.classes[1:]} != {(1,), (255,)} or not {(1,), (2,)} <= set(held):
        return
    if (1, 2) not in held:
        names = {definition.values[0]: definition.name for definition in index.classes[1:]}
        what = (
            f"Annotations of 0 and 1 ({names[1]!r}, first {_first(index, drawn, 1)}) and others of 0 and 255 "
            f"({names[255]!r}, first {_first(index, drawn, 255)}) found, never both values in one file; one class of "
            "two spellings expected."
        )
        remedy = "Import with `umanet import --classes background=0 foreground=1,255`."
        yield DATASET.problem("warning", "mixed-values", what, remedy)


def _first(index: DatasetIndex, drawn: Drawn, value: int) -> str:
    return next(drawn.first[k] for k, definition in enumerate(index.classes) if value in definition.values)


def _mm(spacing: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{side:.3g}" for side in spacing) + " mm"
