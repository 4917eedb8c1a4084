"""One label map per case out of all its annotations, by a fusion or by a trained run, ready for any other trainer."""

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from umanet.data.files import whole_folder
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.data.silence import refuse_partial
from umanet.errors import ConfigError, DatasetError
from umanet.fusion import FUSIONS, fusion_options
from umanet.fusion.staple import OneClassWarning
from umanet.grading import for_annotators, graded_cases, log_left_out, warn_if_blind
from umanet.inference.model_file import Model
from umanet.inference.prediction_files import CaseFiles, write_case, write_manifest
from umanet.types import Case, Sample

CONSENSUS = "consensus"
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
        output: A new or empty folder; becomes a data set of its own whose only annotator is ``consensus``.
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
    refuse_partial(index, "fuse")
    if isinstance(how, Model):
        if options:
            raise ConfigError(f"Option {next(iter(options))!r} found with a run, which takes none. Leave it out.")
        cases = {case.id: case for case in index.select(split) if case.annotations}
        fused = _by_model(how, index, split)
        made_by = {"method": how.config.method, "sha256": how.digest}
    else:
        needed = {options["annotator"]} if options and "annotator" in options else set()
        options = fusion_options(how, options or {}, index.annotators)
        cases = {c.id: c for c in index.select(split) if c.annotations and needed <= set(c.annotations)}
        fused, made_by = _by_vote(how, index, cases, options), {"method": how}
    if not cases:
        raise DatasetError(
            f"No annotation found in split {split!r} of {index.name!r}, at least one expected. Check --split."
        )
    log_left_out(len(index.select(split)) - len(cases), len(index.select(split)))
    with whole_folder(output) as place:
        written: dict[str, CaseFiles] = {}
        for sample, probabilities in fused:
            written[sample.case] = write_case(sample.case, probabilities, sample.geometry, index.classes, place)
            if progress:
                progress(len(written), len(cases))
        write_manifest(written, index.classes, made_by, place, split=split)
        new = tuple(_with_consensus(cases[name], place / files["labels"]) for name, files in written.items())
        write_index(index.model_copy(update={"annotators": (CONSENSUS,), "cases": new}), place / "dataset.json")
    if isinstance(how, Model):
        warn_if_blind(how.method)
    return read_index(output / "dataset.json")


def _by_model(
    model: Model, index: DatasetIndex, split: str | None
) -> Iterator[tuple[Sample, Float[Tensor, "K *spatial"]]]:
    for graded in graded_cases(for_annotators(model, index), index, split):
        yield graded.sample, graded.grades.consensus[0]


def _by_vote(
    how: str, index: DatasetIndex, cases: dict[str, Case], options: dict[str, Any]
) -> Iterator[tuple[Sample, Float[Tensor, "K *spatial"]]]:
    one_class = 0
    for case in cases.values():
        sample = read_case(case, index)
        named = {"seed": 0, "epoch": 0, **options, "case": case.id} if how == "random" else options
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneClassWarning)  # counted instead
            fused, _ = FUSIONS[how](sample.annotations.numpy(), sample.present.numpy(), index.task.num_classes, **named)
        one_class += len(sample.annotations[sample.present].unique()) == 1
        yield sample, torch.from_numpy(fused)
    if how == "staple" and one_class:
        log.warning(
            "In %d of %d cases all annotations hold one class everywhere (all empty, say): nothing for STAPLE to "
            "learn.",
            one_class,
            len(cases),
        )


def _with_consensus(case: Case, labels: Path) -> Case:
    return Case(case.id, case.image, {CONSENSUS: labels}, case.truth, case.patient, case.split)
