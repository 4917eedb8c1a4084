"""The way from a data set to another tool's folder: which label maps of which cases, then the layout."""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from umanet.consensus import CONSENSUS, fuse_dataset
from umanet.data.files import whole_folder
from umanet.data.index import DatasetIndex
from umanet.errors import ConfigError, DatasetError, counted, did_you_mean
from umanet.export.bids import write_bids
from umanet.export.entry import Entry, file_ending
from umanet.export.monai import write_monai
from umanet.export.nnunet import check_case_names, write_nnunet
from umanet.inference.model_file import Model

LAYOUTS = ("nnunet", "monai", "bids")
NUMBERS = (1, 999)
"""nnU-Net's numbers of data sets; it keeps those below 500 to itself."""
TRUTH, SINGLE = "truth", "single"
"""Label maps that need no fusing: they are exported as they were drawn, what is ignored included."""
log = logging.getLogger("umanet")


def export_dataset(
    index: DatasetIndex,
    to: str,
    output: Path,
    *,
    how: str | Model | None = None,
    annotator: str | None = None,
    split: str | None = None,
    number: int = 501,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write images and labels as another tool reads them.

    Args:
        index: The data set.
        to: One of ``LAYOUTS``.
        output: A new or empty folder.
        how: A fusion or a model, as in ``fuse_dataset``, or ``truth``: one label map per case. None: one per
            annotation.
        annotator: Of ``single``: cases that this annotator did not draw are left out.
        split: Only this split.
        number: Of nnU-Net's data set.
        progress: Called with the number of cases that are written, and of all.

    Returns:
        What to open: nnU-Net's data set folder, MONAI's list, the BIDS folder.

    Raises:
        ConfigError: No such layout, fusion, annotator or number.
        DatasetError: No case to export, or names that the layout does not allow.
        ImageError: An image cannot be read.
        OutputError: The output holds something, or cannot be written.
    """
    if to not in LAYOUTS:
        raise ConfigError(f"--to {to} found, one of {', '.join(LAYOUTS)} expected.{did_you_mean(to, LAYOUTS)}")
    if not NUMBERS[0] <= number <= NUMBERS[1]:
        raise ConfigError(
            f"--id {number} found, a number from {NUMBERS[0]} to {NUMBERS[1]} expected. Take one from 500 on."
        )
    _check_annotator(index, how, annotator)
    if index.annotator_classes and how is None:
        log.warning(
            "%s has no place for which annotators draw which classes: their background is exported as it is.", to
        )
    with whole_folder(output) as place:
        fusing = place / ".fusing"
        entries = _entries(index, split, how, annotator, fusing)
        if to == "nnunet":
            check_case_names(entries)
            _say_left_out_truth(entries)
        ending = file_ending([entry.case for entry in entries], index.spatial_dims)
        count = 0

        def done() -> None:
            nonlocal count
            count += 1
            if progress:
                progress(count, len(entries))

        write = {
            "nnunet": partial(write_nnunet, ending=ending, number=number),
            "monai": partial(write_monai, ending=ending),
            "bids": write_bids,
        }[to]
        written = write(entries[0].index, entries, place, done=done)
        shutil.rmtree(fusing, ignore_errors=True)
    return output / written.relative_to(place)


def _check_annotator(index: DatasetIndex, how: str | Model | None, annotator: str | None) -> None:
    if (how == SINGLE) != (annotator is not None):
        raise ConfigError(
            f"--with {how if isinstance(how, str) else 'a run' if how else 'nothing'} and "
            f"{f'--annotator {annotator}' if annotator else 'no --annotator'} found, both or neither of --with single "
            f"and --annotator expected: one of {', '.join(index.annotators)}."
        )
    if annotator is not None and annotator not in index.annotators:
        raise ConfigError(
            f"--annotator {annotator} found, one of {', '.join(index.annotators)} expected."
            f"{did_you_mean(annotator, index.annotators)}"
        )


def _entries(
    index: DatasetIndex, split: str | None, how: str | Model | None, annotator: str | None, fusing: Path
) -> list[Entry]:
    """The cases with what is exported of them; fusions are written to ``fusing``.

    Raises:
        DatasetError: Not one label map.
    """
    cases = index.select(split)
    if how is None:
        entries = [Entry(case, case.annotations, index, truth=case.truth) for case in cases]
    elif how == TRUTH:
        entries = [Entry(case, {"": case.truth} if case.truth else {}, index, TRUTH) for case in cases]
    elif how == SINGLE and annotator is not None:
        drawn = [{"": case.annotations[annotator]} if annotator in case.annotations else {} for case in cases]
        own = _with_classes_of(annotator, index)
        entries = [Entry(c, labels, own, annotator, c.truth) for c, labels in zip(cases, drawn, strict=True)]
    else:
        fused = fuse_dataset(index, how, fusing, split=split)
        labels = {case.id: {"": case.annotations[CONSENSUS]} for case in fused.cases}
        entries = [Entry(case, labels.get(case.id, {}), fused, CONSENSUS, case.truth) for case in cases]
    return _with_labels(entries, index, split, "truth" if how == TRUTH else "annotation")


def _with_classes_of(annotator: str, index: DatasetIndex) -> DatasetIndex:
    """With the classes that the annotator draws; what the truth has of others is background."""
    drawn = index.drawn_by(annotator)
    parts = [one for k, one in enumerate(index.classes) if k and k in drawn]
    others = [value for k, one in enumerate(index.classes) if k not in drawn for value in one.values]
    background = index.classes[0].model_copy(update={"values": (*index.classes[0].values, *others)})
    return index.model_copy(update={"classes": (background, *parts)})


def _with_labels(entries: list[Entry], index: DatasetIndex, split: str | None, what: str) -> list[Entry]:
    """Those with a label map, and images of the test split without one."""
    kept = [entry for entry in entries if entry.labels or entry.is_test]
    if not any(entry.labels for entry in kept):
        instead = " The truth is known: --with truth exports it." if any(entry.truth for entry in entries) else ""
        raise DatasetError(
            f"No {what} found in {f'split {split!r}' if split else 'all splits'} of {index.name!r}, at least one "
            f"expected. Check --split and --with.{instead}"
        )
    if len(kept) < len(entries):
        log.warning("%s without %s left out.", counted(len(entries) - len(kept), "case"), what)
    return kept


def _say_left_out_truth(entries: list[Entry]) -> None:
    known = sum(entry.truth is not None and not entry.is_test for entry in entries)
    if known:
        log.warning(
            "The truth of %s for training is not exported: nnU-Net has no place for it. --with truth trains on it.",
            counted(known, "case"),
        )
