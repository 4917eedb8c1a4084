"""Samples that are read when they are asked for: here one after the other, or each where it is predicted."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from umanet.data.images import read_case, read_image
from umanet.data.index import DatasetIndex
from umanet.data.sources.folder import CHANNEL
from umanet.errors import DatasetError, TaskError, counted
from umanet.inference.image_files import find_images
from umanet.inference.model_file import Model, check_task
from umanet.types import Case, Sample


@dataclass(frozen=True)
class UnreadSamples:
    """Samples of cases, without annotations.

    Attributes:
        cases: Whose.
        read: Reads the sample of a case; goes to other processes.
    """

    cases: list[Case]
    read: Callable[[Case], Sample]

    def __iter__(self) -> Iterator[Sample]:
        return map(self.read, self.cases)


def samples_of_index(model: Model, index: DatasetIndex, split: str | None) -> tuple[list[Case], UnreadSamples]:
    """The cases of a data set (or of one split) and their samples, read when they are asked for.

    Raises:
        TaskError: The data set is of another task than the model.
        DatasetError: The split has no cases.
    """
    check_task(model, index, annotations=False)
    cases = index.select(split)
    if not cases:
        raise DatasetError(
            f"No case found in split {split!r} of {index.name!r}. Choose another split or leave --split out."
        )
    bare = index.without_cases().model_copy(update={"annotators": ()})  # no room for annotations either
    return cases, UnreadSamples(cases, partial(_read_of_index, index=bare))


def _read_of_index(case: Case, index: DatasetIndex) -> Sample:
    return read_case(replace(case, annotations={}, truth=None), index)


def samples_of_images(model: Model, images: list[Path]) -> tuple[list[Case], UnreadSamples]:
    """Images that belong to no data set as cases, and their samples, read when they are asked for.

    Folders stand for the images below them, as ``find_images`` has it.

    A file holds all channels of a case; or, where the model has several and the first file has fewer, one channel,
    named as in a data set: ``CASE_0000``, ``CASE_0001`` and so on.

    Raises:
        TaskError: A case lacks channels.
        ImageError: The first file cannot be read, or one is of a type that is not read.
        DatasetError: There is no image, or a folder without one.
    """
    if not images:
        raise DatasetError("No image found, image files or a folder of them expected after the run. Name some.")
    spatial_dims, channels = model.task.spatial_dims, len(model.task.channels)
    cases = [Case(name, (path.absolute(),)) for name, path in find_images(images, spatial_dims)]
    named = all(re.fullmatch(CHANNEL, case.id) for case in cases)
    if channels > 1 and named and len(read_image(cases[0].image, spatial_dims)[0]) < channels:
        cases = _by_channel(cases, channels)
    return cases, UnreadSamples(cases, partial(_read_of_image, spatial_dims=spatial_dims))


def _read_of_image(case: Case, spatial_dims: int) -> Sample:
    image, geometry = read_image(case.image, spatial_dims)
    nobody = torch.zeros((0, *geometry.shape), dtype=torch.uint8)
    return Sample(case.id, torch.from_numpy(image), nobody, torch.zeros(0, dtype=torch.bool), geometry)


def _by_channel(images: list[Case], channels: int) -> list[Case]:
    files: dict[str, dict[Path, str]] = defaultdict(dict)
    for image in sorted(images, key=lambda image: image.id):
        match = re.fullmatch(CHANNEL, image.id)
        assert match is not None
        files[match["case"]][image.image[0]] = match["channel"]
    for case, paths in files.items():
        if len(set(paths.values())) != channels or len(paths) != channels:
            raise TaskError(
                f"{counted(len(paths), 'file')} found for case {case!r} ({', '.join(path.name for path in paths)}), "
                f"{channels} expected, one per channel, as the model was trained with. Name them all."
            )
    return [Case(case, tuple(paths)) for case, paths in files.items()]
