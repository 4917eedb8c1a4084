"""The row of a checker: its quality of the training annotations, against the truth."""

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from umanet.benchmark.checkers import agreement_quality, cleanlab_quality, label_probability, staple_quality
from umanet.benchmark.grades import CheckedCase, against_truth
from umanet.config import RunConfig
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.data.splits import patients_of_fold
from umanet.fusion import majority_vote, staple
from umanet.fusion.staple import OneClassWarning
from umanet.inference.model_file import Model, load_model
from umanet.inference.predict import predict_case
from umanet.training import train
from umanet.types import Sample

FOLDS = 4
"""Of the training patients; one each where there are fewer."""


def check(checker: str, config: RunConfig, index: DatasetIndex, folder: Path) -> dict[str, Any]:
    """Check the training annotations; what was stopped goes on.

    Args:
        checker: One of the suite's.
        config: Of the networks that are trained for it, if any: their method is the majority vote.
        index: Has a truth for every training case, or the checker is not applicable.
        folder: Of the row, where these networks lie.

    Returns:
        ``status``, and where it is ``done``: ``seconds``, ``cases`` (none: no test case is predicted) and ``grading``
        as ``against_truth`` has it.
    """
    why = _why_not(checker, index)
    if why:
        return {"status": "not applicable", "why": why}
    started = time.monotonic()
    models = _out_of_sample(config, index, folder) if checker == "cleanlab" else {}
    trained = time.monotonic()
    grading = against_truth(_checked(checker, index, models), index.task.num_classes)
    seconds = {"train": trained - started, "predict": time.monotonic() - trained}
    return {"status": "done", "seconds": seconds, "validation": None, "summary": {}, "cases": [], "grading": grading}


def _why_not(checker: str, index: DatasetIndex) -> str | None:
    cases = index.select("train")
    unknown = sum(case.truth is None for case in cases)
    if unknown:
        return f"{unknown} of {len(cases)} training cases without a truth found, none expected by a checker."
    if index.task.drawn:
        return "Annotators who draw some classes only found, all classes expected by a checker."
    if checker == "cleanlab" and len({case.patient or case.id for case in cases}) < 2:
        return "One training patient found, two or more expected by predictions out of sample."
    return None


def _checked(checker: str, index: DatasetIndex, models: Mapping[str, Model]) -> Iterator[CheckedCase]:
    look = {"cleanlab": partial(_by_cleanlab, models), "others": _by_others, "staple": _by_staple}[checker]
    for case in index.select("train"):
        if case.annotations:
            yield look(read_case(case, index), index.task.num_classes)


def _by_others(sample: Sample, num_classes: int) -> CheckedCase:
    annotations, present = sample.annotations.numpy(), sample.present.numpy()
    consensus = majority_vote(annotations, present, num_classes)[0].argmax(axis=0)
    return CheckedCase(sample, agreement_quality(annotations, present, num_classes), consensus=consensus)


def _by_staple(sample: Sample, num_classes: int) -> CheckedCase:
    annotations, present = sample.annotations.numpy(), sample.present.numpy()
    with warnings.catch_warnings():
        # Where all say one class everywhere, STAPLE's answer is it, and every quality 1.
        warnings.simplefilter("ignore", OneClassWarning)
        probabilities, confusion = staple(annotations, present, num_classes)
    doubt = 1 - label_probability(annotations, probabilities)
    return CheckedCase(sample, staple_quality(confusion, present), doubt, probabilities.argmax(axis=0))


def _by_cleanlab(models: Mapping[str, Model], sample: Sample, num_classes: int) -> CheckedCase:
    annotations, present = sample.annotations.numpy(), sample.present.numpy()
    probabilities = predict_case(models[sample.case], sample).probabilities[0].numpy()
    doubt = 1 - label_probability(annotations, probabilities)
    return CheckedCase(sample, cleanlab_quality(annotations, present, probabilities), doubt)


def _out_of_sample(config: RunConfig, index: DatasetIndex, folder: Path) -> dict[str, Model]:
    """By training case, a network that has seen no case of its patient: cross-validation over patients."""
    models = {}
    training = index.select("train")
    folds = min(FOLDS, len({case.patient or case.id for case in training}))
    for fold in range(folds):
        patients = patients_of_fold(training, folds, fold, config.seed)
        held_out = {case.id for case in training if (case.patient or case.id) in patients}
        # Without a split they are still in the index, and nothing reads them.
        cases = tuple(replace(case, split=None) if case.id in held_out else case for case in index.cases)
        run = folder / f"fold{fold}"
        train(config, index.model_copy(update={"cases": cases}), run, resume="auto")
        models |= dict.fromkeys(held_out, load_model(run))
    return models
