"""Uncertainty and quality of every annotation of a data set: which are doubtful, and where."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from umanet.data.case_size import largest_case
from umanet.data.files import replace_file, whole_folder
from umanet.data.geometry import ras_affine, resample
from umanet.data.images import file_name, read_case, write_map
from umanet.data.index import DatasetIndex
from umanet.data.transforms import prepare
from umanet.errors import ConfigError, DatasetError, TaskError
from umanet.executor import INLINE, Executor, Shared, shared
from umanet.inference.model_file import Model, ModelElsewhere, check_task
from umanet.inference.tiles import run_in_tiles
from umanet.methods import GradesAnnotations, Method
from umanet.types import IGNORE, AnnotationGrades, Batch, Case, Geometry, Sample

# An annotation is doubtful where it is more probably wrong than right: u > log 2.
DOUBTFUL = float(np.log(2))
# Mean w over disputed voxels: starts at 0.88; runs that learned to doubt end at 0.6 to 0.75.
BLIND = 0.85
log = logging.getLogger("umanet")


@dataclass(frozen=True)
class GradedCase:
    """A case, as read, with the grades of its annotations on the image's own grid (``B`` is 1)."""

    case: Case
    sample: Sample
    grades: AnnotationGrades


def for_annotators(model: Model, index: DatasetIndex) -> Model:
    """The model, ready to grade the annotators of ``index`` (in training or not; new ones count as average).

    Raises:
        TaskError: The data set is of another task, or the method cannot grade.
    """
    check_task(model, index, annotations=True)
    method = model.method
    if not isinstance(method, GradesAnnotations):
        raise TaskError(f"{model.config.method!r} cannot grade annotations. Train with --method uma-net.")
    method = method.with_annotators(index.annotators, index.task.drawn)
    return dataclasses.replace(model, method=method, task=index.task)


@dataclass(frozen=True)
class Grader:
    """A model that grades the annotators of a data set, and travels; loaded once in each process.

    Attributes:
        there: Where it is.
        index: The data set, without its cases.
    """

    there: ModelElsewhere
    index: DatasetIndex = field(hash=False)

    def model(self) -> Model:
        """Raises: ModelFileError: It is not there, or another one by now."""
        return _loaded(self)


@lru_cache(maxsize=1)
def _loaded(grader: Grader) -> Model:
    return for_annotators(grader.there.load(grading=True), grader.index)


def grader_for(model: Model, index: DatasetIndex, executor: Executor, run: Path | None) -> Callable[[], Model]:
    """Gives a model that is ready ``for_annotators``, wherever ``executor`` asks for it.

    Raises:
        ConfigError: Other processes are to load it, and ``run`` is not given.
    """
    if not executor.elsewhere:
        return lambda: model
    if run is None:
        raise ConfigError("Several workers found, but no `run`, the folder that each loads the model from. Give it.")
    return Grader(ModelElsewhere(run.resolve(), model.digest, str(model.device)), index.without_cases()).model


@torch.inference_mode()
def grade_case(model: Model, sample: Sample) -> AnnotationGrades:
    """Grades of one case's annotations: maps on the image's own grid, qualities as seen on the working grid."""
    method = model.method
    assert isinstance(method, GradesAnnotations)
    data, present = model.config.data, sample.present[None]
    prepared = prepare(sample, data, model.task.num_classes)
    channels, annotators = len(prepared.image), len(present[0])

    def network(tile: Tensor) -> Tensor:
        labels = tile[:, channels:].round().to(torch.uint8)
        batch = Batch(tile[:, :channels], labels, present.to(tile.device).expand(len(tile), -1))
        return torch.cat(method.own_uncertainty(batch), 1)

    inputs = torch.cat([prepared.image, prepared.annotations.float()])[None]
    patch = data.patch or tuple(inputs.shape[2:])
    working = run_in_tiles(network, inputs, patch, model.device, model.config.trainer.precision)[0]
    seen = method.assess(working[None, :annotators], working[None, annotators:], prepared.annotations[None], present)
    if tuple(working.shape[1:]) == sample.geometry.shape:
        return seen
    full = resample(working, sample.geometry.shape, "linear")
    grades = method.assess(full[None, :annotators], full[None, annotators:], sample.annotations[None], present)
    return dataclasses.replace(
        grades, quality=seen.quality, image_quality=seen.image_quality, low=seen.low, image_low=seen.image_low
    )


def graded_cases(model: Model, index: DatasetIndex, split: str | None = None) -> Iterator[GradedCase]:
    """Grade case after case; one is in memory at a time. Cases without any annotation are left out."""
    for case in index.select(split):
        if case.annotations:
            yield graded_case(model, case, index)


def graded_case(model: Model, case: Case, index: DatasetIndex) -> GradedCase:
    sample = read_case(case, index)
    return GradedCase(case, sample, grade_case(model, sample))


def blindness(method: Method) -> str | None:
    """What to say of a method that never learned to doubt, and so grades at random; None where it did."""
    if not isinstance(method, GradesAnnotations):
        return None
    reliability = method.monitor().get("reliability_where_disputed")
    if reliability is None:
        return "No two annotations of a training case ever differed: uncertainty and quality say nothing here."
    if reliability > BLIND:
        return (
            f"The run calls annotations reliable ({reliability:.3f}) even where they disagree: its uncertainty and "
            "quality say nothing. Train longer; uma_net.uncertainty_loss = bce learns more than attenuated."
        )
    return None


def warn_if_blind(method: Method) -> None:
    """Say so where grades are no more than chance."""
    warning = blindness(method)
    if warning:
        log.warning("%s", warning)


def log_left_out(count: int, total: int) -> None:
    """Say that cases without the annotations in question are not in the output."""
    if count:
        log.warning("%d of %d cases are left out: they have no annotation to work on.", count, total)


def grade(
    model: Model,
    index: DatasetIndex,
    output: Path,
    *,
    split: str | None = None,
    maps: bool = True,
    executor: Executor = INLINE,
    run: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Grade every annotation of a data set and write what was found.

    Writes ``quality.csv`` (a row per annotation, worst first), ``quality.json`` (the same, images, annotators ranked)
    and ``uncertainty/<annotator>/<case>``: the probability ``1 - exp(-u)`` that the annotation is wrong there.

    Args:
        model: From ``load_model(run, grading=True)``.
        index: The data set; need not be the one that the model was trained on.
        output: A new or empty folder.
        split: Grade only this split.
        maps: Whether to write the maps.
        executor: Where cases are graded.
        run: The folder of the model, which other processes load it from.
        progress: Called with the number of cases that are done, and of all.

    Returns:
        The rows of ``quality.csv``.

    Raises:
        TaskError: The data set is of another task than the model.
        DatasetError: No case has an annotation.
        OutputError: ``output`` is in use or cannot be written.
        ExecutorError: The workers or their scheduler are gone.
    """
    trained, model = model.method, for_annotators(model, index)
    ready = grader_for(model, index, executor, run)
    cases = [case for case in index.select(split) if case.annotations]
    if not cases:
        raise DatasetError(
            f"No annotation found in split {split!r} of {index.name!r}, at least one expected. Check --split."
        )
    with whole_folder(output) as place:
        rows: list[dict[str, Any]] = []
        one = partial(_grade_and_write, ready=ready, index=index.without_cases(), place=shared(place) if maps else None)
        with executor.map(one, cases, [case.id for case in cases], partial(largest_case, cases)) as results:
            for done, found in enumerate(results, start=1):
                rows += found
                if progress:
                    progress(done, len(cases))
        table = pd.DataFrame(rows).sort_values(["quality", "case", "annotator"], ignore_index=True)
        _write_tables(table, model.method, index, place)
    log_left_out(len(index.select(split)) - len(cases), len(index.select(split)))
    warn_if_blind(trained)
    return table


def _grade_and_write(
    case: Case, ready: Callable[[], Model], index: DatasetIndex, place: Shared | None
) -> list[dict[str, Any]]:
    """The rows of a case; its maps go to ``place``."""
    folder = None if place is None else place.here()
    graded = graded_case(ready(), case, index)
    if folder is not None:
        _write_maps(graded, index.annotators, folder)
    return annotation_rows(graded, index.annotators)


def _write_tables(table: pd.DataFrame, method: Method, index: DatasetIndex, output: Path) -> None:
    buffer = StringIO()
    table.to_csv(buffer, index=False, float_format="%.4f")
    replace_file(output / "quality.csv", buffer.getvalue().encode())
    summary = {
        "format": "umanet-quality",
        "version": 1,
        "annotators": rank_annotators(table, method, index),
        "images": _images(table),
        "annotations": _records(table),
    }
    replace_file(output / "quality.json", (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows, with None for NaN, which JSON does not have."""
    records = table.to_dict(orient="records")
    return [{str(key): None if value != value else value for key, value in row.items()} for row in records]


def rank_annotators(table: pd.DataFrame, method: Method, index: DatasetIndex) -> list[dict[str, Any]]:
    """Annotators from best to worst: by learned reliability, then those without one, by mean quality.

    Empty where annotators are anonymous: a name is not one person then.
    """
    assert isinstance(method, GradesAnnotations)
    if not index.annotators_are_identified:
        return []
    learned = method.annotator_reliability()
    ranked = []
    for number, name in enumerate(index.annotators):
        own = table[table.annotator == name]
        reliability = None if learned is None or learned[number].isnan() else round(float(learned[number]), 4)
        entry = {
            "annotator": name,
            "annotations": len(own),
            "mean_quality": None if own.quality.isna().all() else round(float(own.quality.mean()), 4),
            "low_quality": int(own.low.sum()),
            "reliability": reliability,
        }
        ranked.append(entry)
    return sorted(ranked, key=lambda entry: (-(entry["reliability"] or 0.0), -(entry["mean_quality"] or 0.0)))


def annotation_rows(graded: GradedCase, annotators: tuple[str, ...]) -> list[dict[str, Any]]:
    """What ``quality.csv`` says of a case: a row per annotation."""
    case, sample, grades = graded.case, graded.sample, graded.grades
    rows = []
    for number, annotator in enumerate(annotators):
        if not sample.present[number]:
            continue
        uncertainty, labels = grades.uncertainty[0, number].numpy(), sample.annotations[number]
        where = _where(uncertainty)
        rows.append(
            {
                "case": case.id,
                "annotator": annotator,
                "quality": float(grades.quality[0, number]),
                "low": bool(grades.low[0, number]),
                "image_quality": float(grades.image_quality[0]),
                "image_low": bool(grades.image_low[0]),
                "doubtful_voxels": int((uncertainty > DOUBTFUL).sum()),
                "where": " ".join(map(str, where)),
                "where_mm": _millimetres(where, sample.geometry),
                "empty": not bool(((labels > 0) & (labels != IGNORE)).any()),
                "patient": case.patient,
                "split": case.split or "",
            }
        )
    return rows


def _where(uncertainty: Float[np.ndarray, "*spatial"]) -> tuple[int, ...]:
    """Voxel inside the largest doubtful region, at its deepest point, in array order; empty if none."""
    regions = np.asarray(ndimage.label(uncertainty > DOUBTFUL)[0])  # type: ignore[index]  # SciPy stubs
    if not regions.any():
        return ()
    largest = int(np.bincount(regions.ravel())[1:].argmax())
    box = ndimage.find_objects(regions)[largest]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(regions[box] == largest + 1, 1)))
    deepest = np.unravel_index(np.argmax(depth), depth.shape)
    return tuple(int(at) - 1 + side.start for at, side in zip(deepest, box, strict=True))


def _millimetres(voxel: tuple[int, ...], geometry: Geometry) -> str:
    """RAS+ millimetres of a voxel of a 3D image whose file has an affine, as viewers show them; else empty."""
    affine = ras_affine(geometry)
    if affine is None or len(voxel) != 3:
        return ""
    return " ".join(f"{x:.1f}" for x in (affine @ [*voxel, 1])[:3])


def _images(table: pd.DataFrame) -> list[dict[str, Any]]:
    images = table[["case", "image_quality", "image_low"]].drop_duplicates()
    return _records(images.sort_values(by=["image_quality"]))  # type: ignore[call-overload]  # pandas stubs


def _write_maps(graded: GradedCase, annotators: tuple[str, ...], output: Path) -> None:
    for number, annotator in enumerate(annotators):
        if graded.sample.present[number]:
            wrong = -torch.expm1(-graded.grades.uncertainty[0, number])
            name = file_name(graded.case.id, graded.sample.geometry)
            write_map(output / "uncertainty" / annotator / name, wrong.numpy(), graded.sample.geometry)
