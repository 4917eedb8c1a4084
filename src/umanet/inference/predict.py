"""Label maps, probabilities and entropy for images, in the images' own geometry and file type."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from umanet.data.files import whole_folder
from umanet.data.geometry import resample
from umanet.data.images import read_case, read_image
from umanet.data.index import DatasetIndex
from umanet.data.sources.folder import CHANNEL
from umanet.data.transforms import prepare_image
from umanet.errors import ConfigError, DatasetError, TaskError, counted
from umanet.inference.also.copies import Copies
from umanet.inference.image_files import find_images
from umanet.inference.model_file import Model, check_task
from umanet.inference.prediction_files import MANIFEST, CaseFiles, write_case, write_manifest, write_parts
from umanet.inference.tiles import Network, maps_in_tiles, mirrored
from umanet.types import Case, Prediction, Sample

Progress = Callable[[int, int], None]
"""Called with how many cases are done, and of how many."""


def predict_case(
    model: Model, sample: Sample, *, network: Network | None = None, mirror: tuple[int, ...] = ()
) -> Prediction:
    """Class probabilities of one image on its own grid (not the working grid). For the rest see ``predict``."""
    network = mirrored(network or _network_of(model), mirror)
    (maps,) = _maps(model, _prepared(model, sample), sample.geometry.shape, network)
    return Prediction(torch.stack(list(maps))[None])


def _network_of(model: Model, *, annotators: bool = False, samples: bool = False) -> Network:
    """Of a tile the maps of the prediction, then of each annotator, then of each sample, as asked for."""

    def network(tile: Tensor) -> Tensor:
        found = model.method.predict(tile)
        parts = [found.probabilities[:, None]]
        parts += [found.annotator_probabilities] if annotators and found.annotator_probabilities is not None else []
        parts += [found.samples] if samples and found.samples is not None else []
        return torch.cat(parts, 1).flatten(1, 2)

    return network


def _prepared(model: Model, sample: Sample) -> Float[Tensor, "1 C *working"]:
    if len(sample.image) != len(model.task.channels):
        raise TaskError(
            f"{counted(len(sample.image), 'channel')} found, {len(model.task.channels)} expected, in case "
            f"{sample.case!r}. Give images like those that the model was trained on."
        )
    return prepare_image(sample, model.config.data)[None]


def _maps(
    model: Model, image: Float[Tensor, "1 C *working"], shape: tuple[int, ...], network: Network
) -> list[Iterator[Float[Tensor, "*spatial"]]]:
    """What the network says, a prediction after the other, class after class.

    On the working grid those that are still to come are in memory, on the image's own, which may be finer, one is.
    """
    patch = model.config.data.patch or tuple(image.shape[2:])
    maps = maps_in_tiles(network, image, patch, model.device, model.config.trainer.precision)
    count = len(model.classes)
    return [_given_up(maps[first : first + count], shape) for first in range(0, len(maps), count)]


def _given_up(maps: list[Float[Tensor, "*spatial"]], shape: tuple[int, ...]) -> Iterator[Float[Tensor, "*spatial"]]:
    """On the grid of the image, one after the other; none is kept behind."""
    while maps:
        yield resample(maps.pop(0)[None], shape, "linear")[0]


def predict(
    model: Model,
    cases: Iterable[Sample],
    output: Path,
    *,
    total: int = 0,
    split: str | None = None,
    annotators: bool = False,
    samples: bool = False,
    also: Copies | None = None,
    network: Network | None = None,
    mirror: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> Path:
    """Predict samples one after the other and write them: labels, one probability map per class, entropy.

    Args:
        model: From ``load_model``.
        cases: Read lazily: one is in memory at a time.
        output: A folder that does not exist yet, or is empty.
        total: How many cases there are, for ``progress``.
        split: The split that the cases are, written down for the evaluation.
        annotators: Also write what each annotator would draw.
        samples: Also write label maps drawn from the prediction.
        also: Further copies, in other formats.
        network: Computes class probabilities in the model's place, as ``open_onnx`` gives it.
        mirror: Spatial axes. The network also sees every tile flipped along each of them, and along several at once;
            what it says is flipped back, and the mean of all taken.
        progress: Called after every case.

    Returns:
        The path of ``predictions.json``, which lists every file. Nothing is left where something fails.

    Raises:
        OutputError: ``output`` is in use, or cannot be written.
        TaskError: An image is not of the kind that the model was trained on, or the method has nothing to say of
            annotators, or no samples.
        ConfigError: ``network`` or ``mirror`` with what they cannot have, or an axis that images do not have.
    """
    _check_asked(model, annotators=annotators, samples=samples)
    _check_speed(model, mirror, exported=network is not None, annotators=annotators, samples=samples)
    network = mirrored(network or _network_of(model, annotators=annotators, samples=samples), mirror)
    made_by = {"method": model.config.method, "sha256": model.digest}
    with whole_folder(output) as place:
        entries: dict[str, CaseFiles] = {}
        for sample in cases:
            case, geometry = sample.case, sample.geometry
            _refuse_twice(case, entries)
            image = _prepared(model, sample)
            del sample  # large volumes: the image as it was read need not stay while the network computes
            whole, *parts = _maps(model, image, geometry.shape, network)
            del image
            files = write_case(case, whole, geometry, model.classes, place)
            names = model.task.annotators if annotators else ()
            files = write_parts(case, files, parts, names, geometry, model.classes, place)
            entries[case] = also.write(case, files, geometry, place) if also else files
            if progress:
                progress(len(entries), total)
        if also:
            also.finish(place)
        write_manifest(entries, model.classes, made_by, place, split=split)
    return output / MANIFEST


def _check_asked(model: Model, *, annotators: bool, samples: bool) -> None:
    for asked, able, flag in (
        (annotators, model.method.per_annotator, "--annotators"), (samples, model.method.samples, "--samples"),
    ):  # fmt: skip
        if asked and not able:
            raise TaskError(
                f"{flag} found, a method that can do that expected: {model.config.method!r} cannot. `umanet methods` "
                "lists what each can do."
            )


def _check_speed(model: Model, mirror: tuple[int, ...], *, exported: bool, annotators: bool, samples: bool) -> None:
    dims = model.task.spatial_dims
    if len(set(mirror)) < len(mirror) or any(not 0 <= axis < dims for axis in mirror):
        raise ConfigError(
            f"--mirror {' '.join(map(str, mirror))} found, different axes from 0 to {dims - 1} expected: the images "
            f"are {dims}D. Mend the axes."
        )
    flags = [flag for flag, asked in (("--annotators", annotators), ("--samples", samples)) if asked]
    if exported and flags:
        raise ConfigError(
            f"{' and '.join(flags)} with --runtime onnx found, --runtime torch expected: only the class probabilities "
            "of a network are exported. Leave one of them out."
        )
    if mirror and samples:
        raise ConfigError(
            "--samples with --mirror found, one of them expected: a mean of samples is more alike than samples are. "
            "Leave one of them out."
        )


def _refuse_twice(case: str, entries: dict[str, CaseFiles]) -> None:
    if case in entries:
        raise DatasetError(
            f"Two images named {case!r} found, different names expected, because outputs are named as images. "
            "Rename one, or predict them apart."
        )


def samples_of_index(model: Model, index: DatasetIndex, split: str | None) -> tuple[list[Case], Iterable[Sample]]:
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
    bare = index.model_copy(update={"annotators": ()})  # no room for annotations either
    return cases, (read_case(replace(case, annotations={}, truth=None), bare) for case in cases)


def samples_of_images(model: Model, images: list[Path]) -> tuple[list[Case], Iterable[Sample]]:
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
    cases = [Case(name, (path,)) for name, path in find_images(images, spatial_dims)]
    named = all(re.fullmatch(CHANNEL, case.id) for case in cases)
    if channels > 1 and named and len(read_image(cases[0].image, spatial_dims)[0]) < channels:
        cases = _by_channel(cases, channels)

    def sample(case: Case) -> Sample:
        image, geometry = read_image(case.image, spatial_dims)
        nobody = torch.zeros((0, *geometry.shape), dtype=torch.uint8)
        return Sample(case.id, torch.from_numpy(image), nobody, torch.zeros(0, dtype=torch.bool), geometry)

    return cases, map(sample, cases)


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
