"""A data set whose annotators are algorithms, beside those that it has."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from umanet.algorithms.draw import ALGORITHMS, Mask, draw
from umanet.data.files import whole_folder
from umanet.data.images import file_name, read_image, write_labels
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.data.splits import complete_splits
from umanet.errors import ConfigError, DatasetError, ImageError, counted, did_you_mean
from umanet.types import Case, Geometry

FRACTIONS = MappingProxyType({"train": 0.7, "validation": 0.1, "test": 0.2})
CENTRE = 1 / 3
"""Of every side: what counts as the middle of an image."""
NEARLY_ALL = 0.95
"""Of an image: an annotation that covers more has found no structure."""
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class Drawing:
    """How the algorithms look at an image, and what of their masks stays.

    Attributes:
        dark: The structure is darker than what is around it.
        smooth: Deviation of the Gaussian that the image is smoothed with: millimetres where the file knows its
            spacing, pixels elsewhere. 0: not at all.
        within: Side of the box around the image's centre that they see and draw in, in the same units. None: all of the
            image.
        keep: Which connected parts stay: ``all``, the ``largest``, or those that reach the ``central`` third of every
            side (of the box), for images that were cut out around a finding.
    """

    dark: bool = False
    smooth: float = 0.0
    within: float | None = None
    keep: Literal["all", "largest", "central"] = "all"


def annotate(
    index: DatasetIndex,
    algorithms: Sequence[str],
    output: Path,
    *,
    channel: str | None = None,
    drawn: str | None = None,
    drawing: Drawing | None = None,
    only: bool = False,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Let algorithms annotate every case, and write a data set that has them as further annotators, whole or not.

    ``output`` gets ``annotations/ALGORITHM/CASE`` in the images' own geometry, and ``dataset.json``, which names the
    images where they are. Algorithms with many empty or nearly full annotations are said in a warning.

    Args:
        index: A data set; it needs no annotations and no splits.
        algorithms: Keys of ``ALGORITHMS``; they become the annotators' names.
        output: New or empty folder.
        channel: Name of the channel that they see. Default: the last.
        drawn: Name of the class that they draw. Default: the only one; where there are several, the others are declared
            as not drawn by them.
        drawing: How they look at images.
        only: Leave the annotators that are there out of the new data set.
        fractions: Shares of the patients per split, for cases without a split.
        seed: Of the splits.
        progress: Called with the numbers of finished and of all cases.

    Returns:
        The index that was written.

    Raises:
        ConfigError: Unknown algorithm, channel or class; a class is needed; a negative ``smooth``.
        DatasetError: An annotator has an algorithm's name already; fewer patients than splits.
        OutputError: The output holds something or cannot be written.
        ImageError, GeometryError: An image cannot be read.
    """
    drawing = drawing or Drawing()
    if only:
        cases = tuple(replace(case, annotations={}) for case in index.cases)
        nobody = {"cases": cases, "annotators": (), "annotator_classes": {}}
        index = index.model_copy(update=nobody | {"annotators_are_identified": True})  # an algorithm is itself
    _check_algorithms(algorithms, index)
    if not 0 <= drawing.smooth < float("inf"):
        raise ConfigError(f"smooth = {drawing.smooth} found, 0 or more expected. Mend it.")
    if drawing.within is not None and not drawing.within > 0:
        raise ConfigError(f"within = {drawing.within} found, more than 0 expected. Mend it.")
    k, at = _class(drawn, index), _channel(channel, index)
    index = complete_splits(index, fractions, seed)
    empty, full = Counter[str](), Counter[str]()
    with whole_folder(output) as place:
        cases = []
        for case in index.cases:
            image, geometry = _read(case, at, index)
            paths = dict(case.annotations)
            for name, mask in masks(image, geometry, algorithms, drawing).items():
                paths[name] = place / "annotations" / name / file_name(case.id, geometry)
                write_labels(paths[name], (mask * k).astype(np.uint8), geometry, index.classes)
                empty[name] += not mask.any()
                full[name] += bool(mask.mean() > NEARLY_ALL)
            cases.append(replace(case, annotations=paths))
            if progress:
                progress(len(cases), len(index.cases))
        write_index(_with_annotators(index, cases, algorithms, k), place / "dataset.json")
    _warn(algorithms, empty, full, len(cases))
    return read_index(output / "dataset.json")


def masks(
    image: Float32[np.ndarray, "*spatial"], geometry: Geometry, algorithms: Sequence[str], drawing: Drawing
) -> dict[str, Bool[np.ndarray, "*spatial"]]:
    """What each algorithm draws in one channel of an image."""
    box = _box(geometry, drawing.within)
    seen = -image if drawing.dark else image
    if drawing.smooth:
        seen = ndimage.gaussian_filter(seen, [drawing.smooth / step for step in geometry.spacing])
    seen = np.ascontiguousarray(seen[box])
    middle = _middle(seen.shape)
    start = middle if drawing.keep == "central" else np.ones(seen.shape, bool)
    found = {name: np.zeros(image.shape, bool) for name in algorithms}
    for name, mask in found.items():
        mask[box] = _kept(draw(name, seen, start), drawing.keep, middle)
    return found


def _box(geometry: Geometry, side: float | None) -> tuple[slice, ...]:
    """Around the centre, ``side`` long along every axis, or as long as the image is."""
    if side is None:
        return tuple(slice(None) for _ in geometry.shape)
    sides = [
        min(max(1, round(side / step)), length) for step, length in zip(geometry.spacing, geometry.shape, strict=True)
    ]
    begin = [(length - side) // 2 for side, length in zip(sides, geometry.shape, strict=True)]
    return tuple(slice(low, low + side) for low, side in zip(begin, sides, strict=True))


def _kept(mask: Mask, keep: str, middle: Mask) -> Mask:
    if keep == "all" or not mask.any():
        return mask
    regions, _ = ndimage.label(mask)  # type: ignore  # an integer only with `output`
    if keep == "largest":
        return np.asarray(regions == np.bincount(regions.ravel())[1:].argmax() + 1)
    inside = np.unique(regions[middle])
    return np.isin(regions, inside[inside > 0])


def _middle(shape: tuple[int, ...]) -> Mask:
    middle = np.zeros(shape, bool)
    begin = [int(side * (1 - CENTRE) / 2) for side in shape]
    middle[tuple(slice(low, max(low + 1, side - low)) for low, side in zip(begin, shape, strict=True))] = True
    return middle


def _read(case: Case, at: int, index: DatasetIndex) -> tuple[Float32[np.ndarray, "*spatial"], Geometry]:
    image, geometry = read_image(case.image, index.spatial_dims)
    if len(image) != len(index.channels):
        raise ImageError(
            f"{counted(len(image), 'channel')} found, {len(index.channels)} ({', '.join(index.channels)}) expected, "
            f"in case {case.id!r}. Mend the file or the channels in dataset.json."
        )
    return image[at], geometry


def _with_annotators(index: DatasetIndex, cases: list[Case], algorithms: Sequence[str], k: int) -> DatasetIndex:
    named = dict(index.annotator_classes)
    if len(index.classes) > 2:
        named |= {name: (index.classes[k].name,) for name in algorithms}
    changes = {"cases": tuple(cases), "annotators": (*index.annotators, *algorithms), "annotator_classes": named}
    return index.model_copy(update=changes)


def _check_algorithms(algorithms: Sequence[str], index: DatasetIndex) -> None:
    if not algorithms:
        raise ConfigError(f"No algorithm found, at least one of {', '.join(ALGORITHMS)} expected. Name some.")
    for name in algorithms:
        if name not in ALGORITHMS:
            raise ConfigError(
                f"Algorithm {name!r} found, one of {', '.join(ALGORITHMS)} expected.{did_you_mean(name, ALGORITHMS)}"
            )
        if list(algorithms).count(name) > 1:
            raise ConfigError(f"Algorithm {name!r} found twice, once expected. Name it once.")
        if name in index.annotators:
            raise DatasetError(
                f"An annotator {name!r} found in {index.name!r} already, a new name expected. Leave this algorithm "
                "out, or start from the data set without it."
            )


def _class(name: str | None, index: DatasetIndex) -> int:
    names = [definition.name for definition in index.classes]
    if name is None and len(names) == 2:
        return 1
    if name is None:
        raise ConfigError(
            f"No class given, one of {', '.join(names[1:])} expected, because {index.name!r} has several and an "
            "algorithm draws one. Name it with --class."
        )
    if name not in names[1:]:
        raise ConfigError(
            f"Class {name!r} found, one of {', '.join(names[1:])} expected.{did_you_mean(name, names[1:])}"
        )
    return names.index(name)


def _channel(name: str | None, index: DatasetIndex) -> int:
    if name is not None and name not in index.channels:
        raise ConfigError(
            f"Channel {name!r} found, one of {', '.join(index.channels)} expected, in {index.name!r}."
            f"{did_you_mean(name, index.channels)}"
        )
    return len(index.channels) - 1 if name is None else index.channels.index(name)


def _warn(algorithms: Sequence[str], empty: Counter[str], full: Counter[str], cases: int) -> None:
    for name in algorithms:
        said = [f"{n} of {cases} annotations {what}" for n, what in ((empty[name], "empty"), (full[name], "cover all"))
                if n]  # fmt: skip
        if said:
            log.warning("%s: %s.", name, ", ".join(said))
