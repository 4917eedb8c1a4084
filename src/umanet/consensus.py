"""One label map per case out of all its annotations, by a fusion or by a trained run, ready for any other trainer."""

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from umanet.data.case_size import largest_case
from umanet.data.files import whole_folder
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.errors import ConfigError, DatasetError
from umanet.executor import INLINE, Executor, Shared, shared
from umanet.fusion import FUSIONS, fusion_options
from umanet.fusion.staple import OneClassWarning
from umanet.grading import for_annotators, graded_case, grader_for, log_left_out, warn_if_blind
from umanet.inference.model_file import Model
from umanet.inference.prediction_files import CaseFiles, write_case, write_manifest
from umanet.types import IGNORE, Case, Sample

CONSENSUS = "consensus"
Fusing = tuple[Sample, Float[Tensor, "K *spatial"], Bool[Tensor, "*spatial"] | None]
"""A case, its class probabilities, and where its label is unknown (None: nowhere)."""
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class Fused:
    """What is written of a case.

    Attributes:
        files: Relative to the output.
        ignore: Values in its label map where nothing is said.
        one_class: Whether all its annotations hold one class everywhere.
    """

    files: CaseFiles
    ignore: tuple[int, ...]
    one_class: bool


def fuse_dataset(
    index: DatasetIndex,
    how: str | Model,
    output: Path,
    *,
    split: str | None = None,
    options: dict[str, Any] | None = None,
    executor: Executor = INLINE,
    run: Path | None = None,
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
        executor: Where cases are fused.
        run: The folder of the model, which other processes load it from.
        progress: Called with the number of cases that are done, and of all.

    Returns:
        The index of the new data set, also written to ``output/dataset.json``.

    Raises:
        ConfigError: No such fusion, annotator or option.
        DatasetError: No case has an annotation.
        TaskError: The model is made for another task.
        ExecutorError: The workers or their scheduler are gone.
    """
    known = index.without_cases()
    if isinstance(how, Model):
        if options:
            raise ConfigError(f"Option {next(iter(options))!r} found with a run, which takes none. Leave it out.")
        cases = {case.id: case for case in index.select(split) if case.annotations}
        drawn = _drawn(index, cases.values())
        fuse = partial(_by_model, ready=grader_for(for_annotators(how, index), index, executor, run), index=known)
        made_by = {"method": how.config.method, "sha256": how.digest}
    else:
        needed = {options["annotator"]} if options and "annotator" in options else set()
        options = fusion_options(how, options or {}, index.annotators)
        cases = {c.id: c for c in index.select(split) if c.annotations and needed <= set(c.annotations)}
        drawn = _drawn(index, cases.values(), options.get("annotator"))
        fuse, made_by = partial(_by_vote, how=how, index=known, options=options, drawn=drawn), {"method": how}
    if not cases:
        raise DatasetError(
            f"No annotation found in split {split!r} of {index.name!r}, at least one expected. Check --split."
        )
    log_left_out(len(index.select(split)) - len(cases), len(index.select(split)))
    with whole_folder(output) as place:
        written: dict[str, CaseFiles] = {}
        ignore, one_class = index.ignore, 0
        write = partial(_fuse_and_write, fuse=fuse, index=known, place=shared(place))
        with executor.map(write, list(cases.values()), cases, partial(largest_case, cases.values())) as results:
            for case, fused in zip(cases, results, strict=True):
                written[case] = fused.files
                ignore, one_class = ignore or fused.ignore, one_class + fused.one_class
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
    elif how == "staple" and one_class:
        log.warning(
            "In %d of %d cases all annotations hold one class everywhere (all empty, say): nothing for STAPLE to "
            "learn.",
            one_class,
            len(cases),
        )
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


def _fuse_and_write(case: Case, fuse: Callable[[Case], Fusing], index: DatasetIndex, place: Shared) -> Fused:
    folder = place.here()
    sample, probabilities, unknown = fuse(case)
    ignore = index.ignore or ((_free_value(index),) if unknown is not None else ())
    given = case.id, probabilities, sample.geometry, index.classes, folder
    files = write_case(*given, unknown=unknown, ignore=next(iter(ignore), None))
    return Fused(files, ignore, len(sample.annotations[sample.present].unique()) == 1)


def _by_model(case: Case, ready: Callable[[], Model], index: DatasetIndex) -> Fusing:
    graded = graded_case(ready(), case, index)
    silent = (graded.sample.annotations[graded.sample.present] == IGNORE).all(0)
    return graded.sample, graded.grades.consensus[0], silent if silent.any() else None


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


def _by_vote(case: Case, how: str, index: DatasetIndex, options: dict[str, Any], drawn: tuple[int, ...]) -> Fusing:
    sample, alone = read_case(case, index), options.get("annotator")
    named = {"seed": 0, "epoch": 0, **options, "case": case.id} if how == "random" else options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OneClassWarning)  # counted instead
        given = (sample.annotations.numpy(), sample.present.numpy(), index.task.num_classes)
        fused = torch.from_numpy(FUSIONS[how](*given, drawn=index.task.drawn, **named)[0])
    if alone is not None:  # nobody else was asked
        sample = replace(sample, present=torch.arange(len(index.annotators)) == alone)
    return sample, fused, _unknown(sample, index, fused, drawn)


def _with_consensus(case: Case, labels: Path) -> Case:
    return Case(case.id, case.image, {CONSENSUS: labels}, case.truth, case.patient, case.split)
