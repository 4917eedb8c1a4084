"""One label map per case out of all its annotations, by a fusion or by a trained run, ready for any other trainer."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from umanet.data.files import whole_folder
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.errors import ConfigError, DatasetError
from umanet.fusion import FUSIONS, fusion_options
from umanet.fusion.staple import OneClassWarning
from umanet.grading import for_annotators, graded_cases, log_left_out, warn_if_blind
from umanet.inference.model_file import Model
from umanet.inference.prediction_files import CaseFiles, write_case, write_manifest
from umanet.types import IGNORE, Case, Sample

CONSENSUS = "consensus"
Fusing = tuple[Sample, Float[Tensor, "K *spatial"], Bool[Tensor, "*spatial"] | None]
"""A case, its class probabilities, and where its label is unknown (None: nowhere)."""
log = logging.getLogger("umanet")


def fuse_dataset(
    index: DatasetIndex,
    how: str | Model,
    output: Path,
    *,
    split: str | None = None,
    options: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Fuse the annotations of every case and write labels, probabilities and entropy.

    Args:
        index: The data set.
        how: The name of a fusion, or a model loaded with ``grading=True``: then the image-aware consensus, which
            weights every annotation by its reliability at every voxel.
        output: A new or empty folder; becomes a data set of its own whose only annotator is ``consensus``. Label maps
            have a value of ``ignore`` where nobody says anything; with a fusion also where all that is said leaves the
            background and a class open, as nobody who annotated the case draws it.
        split: Fuse only this split.
        options: Further arguments of the fusion: ``ties`` of ``majority``, ``seed`` of ``random``, the name of the
            ``annotator`` of ``single``; cases without this annotator are then left out.
        progress: Called with the number of cases that are done, and of all.

    Returns:
        The index of the new data set, also written to ``output/dataset.json``.

    Raises:
        ConfigError: No such fusion, annotator or option.
        DatasetError: No case has an annotation.
        TaskError: The model is made for another task.
    """
    if isinstance(how, Model):
        if options:
            raise ConfigError(f"Option {next(iter(options))!r} found with a run, which takes none. Leave it out.")
        cases = {case.id: case for case in index.select(split) if case.annotations}
        drawn, fused = _drawn(index, cases.values()), _by_model(how, index, split)
        made_by = {"method": how.config.method, "sha256": how.digest}
    else:
        needed = {options["annotator"]} if options and "annotator" in options else set()
        options = fusion_options(how, options or {}, index.annotators)
        cases = {c.id: c for c in index.select(split) if c.annotations and needed <= set(c.annotations)}
        drawn = _drawn(index, cases.values(), options.get("annotator"))
        fused, made_by = _by_vote(how, index, cases, options, drawn), {"method": how}
    if not cases:
        raise DatasetError(
            f"No annotation found in split {split!r} of {index.name!r}, at least one expected. Check --split."
        )
    log_left_out(len(index.select(split)) - len(cases), len(index.select(split)))
    with whole_folder(output) as place:
        written: dict[str, CaseFiles] = {}
        ignore = index.ignore
        for sample, probabilities, unknown in fused:
            ignore = ignore or ((_free_value(index),) if unknown is not None else ())
            given = sample.case, probabilities, sample.geometry, index.classes, place
            written[sample.case] = write_case(*given, unknown=unknown, ignore=next(iter(ignore), None))
            if progress:
                progress(len(written), len(cases))
        write_manifest(written, index.classes, made_by, place, split=split, ignore=ignore)
        new = tuple(_with_consensus(cases[name], place / files["labels"]) for name, files in written.items())
        changed = {
            "annotators": (CONSENSUS,),
            "cases": new,
            "ignore": ignore,
            "annotator_classes": _named(index, drawn),
        }
        write_index(index.model_copy(update=changed), place / "dataset.json")
    if isinstance(how, Model):
        warn_if_blind(how.method)
    return read_index(output / "dataset.json")


def _drawn(index: DatasetIndex, cases: Iterable[Case], annotator: int | None = None) -> tuple[int, ...]:
    """The classes that the consensus draws: those of all who annotated, or of one annotator alone."""
    who = {name for case in cases for name in case.annotations} if annotator is None else {index.annotators[annotator]}
    return tuple(sorted({k for name in who for k in index.drawn_by(name)}))


def _named(index: DatasetIndex, drawn: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    """``annotator_classes`` of the consensus."""
    return {} if len(drawn) == len(index.classes) - 1 else {CONSENSUS: tuple(index.classes[k].name for k in drawn)}


def _free_value(index: DatasetIndex) -> int:
    """A value that no class has, of 8 bits if there is one."""
    taken = {value for definition in index.classes for value in definition.values}
    return next(value for value in (*range(IGNORE, 0, -1), *range(IGNORE + 1, 2**16)) if value not in taken)


def _by_model(model: Model, index: DatasetIndex, split: str | None) -> Iterator[Fusing]:
    for graded in graded_cases(for_annotators(model, index), index, split):
        silent = (graded.sample.annotations[graded.sample.present] == IGNORE).all(0)
        yield graded.sample, graded.grades.consensus[0], silent if silent.any() else None


def _unknown(
    sample: Sample, index: DatasetIndex, fused: Float[Tensor, "K *spatial"], drawn: tuple[int, ...]
) -> Bool[Tensor, "*spatial"] | None:
    """Where nothing is said, or the background wins by votes that may as well mean a class of ``drawn``."""
    unknown = fused.sum(0) == 0
    if index.annotator_classes:
        background = fused.argmax(0) == 0
        for k in drawn:
            against = sample.present & torch.from_numpy(index.task.who_draws(k))
            unknown |= background & ~(sample.annotations[against] == 0).any(0)
    return unknown if unknown.any() else None


def _by_vote(
    how: str, index: DatasetIndex, cases: dict[str, Case], options: dict[str, Any], drawn: tuple[int, ...]
) -> Iterator[Fusing]:
    one_class, alone = 0, options.get("annotator")
    for case in cases.values():
        sample = read_case(case, index)
        named = {"seed": 0, "epoch": 0, **options, "case": case.id} if how == "random" else options
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneClassWarning)  # counted instead
            given = (sample.annotations.numpy(), sample.present.numpy(), index.task.num_classes)
            fused = torch.from_numpy(FUSIONS[how](*given, drawn=index.task.drawn, **named)[0])
        one_class += len(sample.annotations[sample.present].unique()) == 1
        if alone is not None:  # nobody else was asked
            sample = replace(sample, present=torch.arange(len(index.annotators)) == alone)
        yield sample, fused, _unknown(sample, index, fused, drawn)
    if how == "staple" and one_class:
        log.warning(
            "In %d of %d cases all annotations hold one class everywhere (all empty, say): nothing for STAPLE to "
            "learn.",
            one_class,
            len(cases),
        )


def _with_consensus(case: Case, labels: Path) -> Case:
    return Case(case.id, case.image, {CONSENSUS: labels}, case.truth, case.patient, case.split)
