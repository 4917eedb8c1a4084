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
from umanet.export.nnunet import write_nnunet
from umanet.inference.model_file import Model

LAYOUTS = ("nnunet", "monai", "bids")
NUMBERS = (1, 999)
"""nnU-Net's numbers of data sets; it keeps those below 500 to itself."""
log = logging.getLogger("umanet")


def export_dataset(
    index: DatasetIndex,
    to: str,
    output: Path,
    *,
    how: str | Model | None = None,
    split: str | None = None,
    number: int = 501,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write images and labels as another tool reads them.

    Args:
        index: The data set.
        to: One of ``LAYOUTS``.
        output: A new or empty folder.
        how: A fusion or a model, as in ``fuse_dataset``: one label map per case. None: one per annotation.
        split: Only this split.
        number: Of nnU-Net's data set.
        progress: Called with the number of cases that are written, and of all.

    Returns:
        What to open: nnU-Net's data set folder, MONAI's list, the BIDS folder.

    Raises:
        ConfigError: No such layout, fusion or number.
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
    if index.annotator_classes and how is None:
        log.warning(
            "%s has no place for which annotators draw which classes: their background is exported as it is.", to
        )
    with whole_folder(output) as place:
        fusing = place / ".fusing"
        entries = _entries(index, split) if how is None else _fused(index, how, split, fusing)
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


def _entries(index: DatasetIndex, split: str | None) -> list[Entry]:
    return _with_labels([Entry(case, case.annotations, index) for case in index.select(split)], index, split)


def _fused(index: DatasetIndex, how: str | Model, split: str | None, place: Path) -> list[Entry]:
    """One label map per case, fused into ``place``."""
    fused = fuse_dataset(index, how, place, split=split)
    labels = {case.id: {"": case.annotations[CONSENSUS]} for case in fused.cases}
    return _with_labels([Entry(case, labels.get(case.id, {}), fused) for case in index.select(split)], index, split)


def _with_labels(entries: list[Entry], index: DatasetIndex, split: str | None) -> list[Entry]:
    """Those with a label map, and images of the test split without one."""
    kept = [entry for entry in entries if entry.labels or entry.is_test]
    if not any(entry.labels for entry in kept):
        raise DatasetError(
            f"No annotation found in split {split!r} of {index.name!r}, at least one expected. Check --split."
        )
    if len(kept) < len(entries):
        log.warning("%s without annotation left out.", counted(len(entries) - len(kept), "case"))
    return kept
