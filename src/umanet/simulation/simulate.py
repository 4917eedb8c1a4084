"""A data set whose annotators are simulated, from any images of which the truth is known."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch

from umanet.data.files import replace_file, whole_folder
from umanet.data.formats import TIFF, VOLUMES, suffix_of
from umanet.data.geometry import resample, resample_labels, working_shape
from umanet.data.images import file_name, read_image, read_labels, write_labels
from umanet.data.index import ClassDefinition, DatasetIndex, read_index, write_index
from umanet.data.pictures import write_picture
from umanet.data.sources import folder
from umanet.data.splits import split_index
from umanet.errors import ConfigError, DatasetError, counted
from umanet.simulation.annotators import Labels
from umanet.simulation.scenarios import (
    WRONG,
    Scenario,
    annotate_case,
    find_scenario,
    generator,
    has_bad_day,
    plan_case,
)
from umanet.types import Case, Geometry

FRACTIONS = MappingProxyType({"train": 0.7, "validation": 0.1, "test": 0.2})


def simulate(
    images: Path,
    truth: Path,
    scenario: str,
    seed: int,
    output: Path,
    *,
    classes: Sequence[ClassDefinition] | None = None,
    fractions: Mapping[str, float | int] = FRACTIONS,
    patient_pattern: str | None = None,
    longest_side: int | None = None,
    limit: int | None = None,
    split_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetIndex:
    """Annotate the truth as the annotators of a scenario would, and write a data set, all of it or nothing.

    ``output`` gets ``annotations/<annotator>/<case>``, ``dataset.json`` and ``simulation.json``: the recipes, the
    cases on which everybody had a bad day, and who drew what. The same arguments give the same files.

    Args:
        images: Folder with a file per case, or one per channel.
        truth: Folder with label maps of the same names.
        scenario: A key of ``SCENARIOS``.
        seed: Of annotators and presence.
        output: New or empty folder.
        classes: What the values in the truth mean. Default: a class per value that occurs.
        fractions: Shares of the patients per split, with sum 1; or numbers of cases, whose sum is then the limit.
        patient_pattern: As ``umanet.data.sources.folder.index``.
        longest_side: Longer images are shrunk to it, and written to ``output`` with their truth. Not for NIfTI.
        limit: Most cases; more are chosen from by chance, the same ones first whatever the limit.
        split_seed: Of splits and the choice of cases, so that several seeds can share test cases. Default: ``seed``.
        progress: Called with the numbers of finished and of all cases.

    Returns:
        The index that was written.

    Raises:
        ConfigError: Unknown scenario, ``limit`` below 1, or ``longest_side`` for NIfTI.
        DatasetError: A case without truth, a truth without image, fewer cases than asked for.
        OutputError: The output holds something or cannot be written.
        ImageError, GeometryError, AnnotationError: A file is unreadable, on another grid, or has unknown values.
    """
    group = find_scenario(scenario)
    output = output.resolve()
    split_seed = seed if split_seed is None else split_seed
    with whole_folder(output) as place:
        index = _index(images, truth, place, classes, patient_pattern)
        _refuse_volumes(index, longest_side)
        counts, limit = _limit(fractions, limit, len(index.cases))
        index = index.model_copy(
            update={
                "name": f"{images.resolve().parent.name} {scenario} {seed}",
                "cases": _chosen(index.cases, limit, split_seed),
                "annotators": group.names,
                "annotators_are_identified": group.identified,
            }
        )
        index = split_index(index, counts, split_seed)
        cases = []
        for case in index.cases:
            cases.append(_annotated(case, index, group, seed, place, longest_side))
            if progress:
                progress(len(cases), len(index.cases))
        write_index(index.model_copy(update={"cases": tuple(cases)}), place / "dataset.json")
        record = {"scenario": scenario, "seed": seed, **_record(group, [case.id for case in cases], seed)}
        replace_file(place / "simulation.json", (json.dumps(record, indent=2) + "\n").encode())
    return read_index(output / "dataset.json")


def _index(
    images: Path, truth: Path, place: Path, classes: Sequence[ClassDefinition] | None, patient_pattern: str | None
) -> DatasetIndex:
    """All cases, each with its truth and without annotations."""
    if not truth.is_dir() or not any(truth.iterdir()):
        raise DatasetError(f"No label map found in {truth}, one per image of {images} expected. Check the folder.")
    index = folder.index(
        images.absolute().parent,
        images=str(images.absolute()),
        truth=str(truth.absolute()),
        annotations=str(place / "none"),
        classes=classes,
        patient_pattern=patient_pattern,
    )
    bare = [case.id for case in index.cases if case.truth is None]
    if bare:
        raise DatasetError(
            f"{counted(len(bare), 'image')} without truth found in {images}, a label map of the same name in {truth} "
            f"expected: {', '.join(bare[:8])}. Add it or take the image away."
        )
    return index


def _limit(
    fractions: Mapping[str, float | int], limit: int | None, cases: int
) -> tuple[Mapping[str, float | int], int]:
    """Shares, and how many cases: numbers of cases become shares of their sum."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit = {limit} found, at least 1 expected. Leave it out for all cases.")
    asked = sum(fractions.values())
    if asked <= 1 + 1e-6:
        return fractions, min(limit or cases, cases)
    if asked > cases:
        raise DatasetError(f"{cases} cases found, {asked:g} expected for the splits {dict(fractions)}. Ask for fewer.")
    return {name: count / asked for name, count in fractions.items()}, round(asked)


def _chosen(cases: tuple[Case, ...], limit: int, seed: int) -> tuple[Case, ...]:
    chance = sorted(cases, key=lambda case: generator(seed, "limit", case.id).random())
    kept = {case.id for case in chance[:limit]}
    return tuple(case for case in cases if case.id in kept)


def _refuse_volumes(index: DatasetIndex, longest_side: int | None) -> None:
    volumes = [path for case in index.cases for path in case.image if suffix_of(path) in VOLUMES]
    if longest_side is not None and volumes:
        raise ConfigError(
            f"longest_side = {longest_side} found for {volumes[0]}, pictures expected. Leave it out; data.longest_side "
            "and data.spacing shrink volumes for training."
        )


def _annotated(
    case: Case, index: DatasetIndex, group: Scenario, seed: int, place: Path, longest_side: int | None
) -> Case:
    """Write what is drawn for a case; the case with these files."""
    image, geometry = read_image(case.image, index.spatial_dims)
    labels = read_labels(cast(Path, case.truth), index, geometry)
    shape = working_shape(geometry, longest_side)
    if shape != geometry.shape:
        small = resample(torch.from_numpy(image), shape).numpy()
        labels = resample_labels(torch.from_numpy(labels)[None], shape, len(index.classes))[0].numpy()
        geometry = replace(geometry, shape=shape, resolution=None)
        case = _write_shrunk(case, small, labels, geometry, index, place)
    paths = {}
    for name, drawn in annotate_case(labels, group, case.id, seed, geometry.spacing).items():
        paths[name] = place / "annotations" / name / file_name(case.id, geometry)
        write_labels(paths[name], drawn, geometry, index.classes)
    return replace(case, annotations=paths)


def _write_shrunk(
    case: Case, image: np.ndarray, labels: Labels, geometry: Geometry, index: DatasetIndex, place: Path
) -> Case:
    """One file per channel: TIFF as it is, anything else as PNG with 8 or, where values need them, 16 bits."""
    truth = place / "truth" / file_name(case.id, geometry)
    write_labels(truth, labels, geometry, index.classes)
    paths = []
    for number, values in enumerate(image):
        name = f"{case.id}_{number:04}" if len(image) > 1 else case.id
        paths.append(place / "images" / file_name(name, geometry))
        if geometry.suffix not in TIFF:
            values = np.rint(values).astype(np.uint8 if image.max() < 256 else np.uint16)
        write_picture(paths[-1], values)
    return replace(case, image=tuple(paths), truth=truth)


def _record(group: Scenario, cases: Sequence[str], seed: int) -> dict[str, Any]:
    return {
        "annotators": {name: recipe.describe() for name, recipe in group.annotators},
        "bad_day": WRONG.describe(),
        "bad_days": group.bad_days,
        "annotations_per_case": group.annotations,
        "bad_day_cases": [case for case in cases if has_bad_day(group, case, seed)],
        "drawn_by": {case: {d.name: d.drawn_by for d in plan_case(group, case, seed)} for case in cases},
    }
