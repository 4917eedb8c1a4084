"""Label maps, probabilities and entropy for images, in the images' own geometry and file type."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from umanet.config import Precision
from umanet.data.case_size import largest_case
from umanet.data.files import whole_folder
from umanet.data.geometry import resample
from umanet.data.transforms import prepare_image
from umanet.errors import ConfigError, DatasetError, TaskError, counted
from umanet.executor import INLINE, Executor, Shared, shared
from umanet.inference.also.copies import Copies
from umanet.inference.model_file import Model, ModelElsewhere
from umanet.inference.overlap import overlapped
from umanet.inference.prediction_files import MANIFEST, CaseFiles, write_case, write_manifest, write_parts
from umanet.inference.tiles import Network, in_bfloat16, maps_in_tiles, mirrored
from umanet.inference.unread import UnreadSamples
from umanet.types import Case, Geometry, Prediction, Sample

LARGE = 2**27
"""Voxels of all maps from which on an image is alone in memory: of two classes, a CT of 256 slices. Three of fewer take
less than one of 600."""
Prepared = tuple[str, Geometry, Float[Tensor, "1 C *working"]]
Computed = tuple[str, Geometry, list[Iterator[Float[Tensor, "*spatial"]]]]
Written = tuple[str, CaseFiles, Geometry]
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
    model: Model,
    image: Float[Tensor, "1 C *working"],
    shape: tuple[int, ...],
    network: Network,
    precision: Precision | None = None,
) -> list[Iterator[Float[Tensor, "*spatial"]]]:
    """What the network says, a prediction after the other, class after class.

    On the working grid those that are still to come are in memory, on the image's own, which may be finer, one is.
    """
    patch = model.config.data.patch or tuple(image.shape[2:])
    maps = maps_in_tiles(network, image, patch, model.device, precision or model.config.trainer.precision)
    count = len(model.classes)
    return [_given_up(maps[first : first + count], shape) for first in range(0, len(maps), count)]


def _given_up(maps: list[Float[Tensor, "*spatial"]], shape: tuple[int, ...]) -> Iterator[Float[Tensor, "*spatial"]]:
    """On the grid of the image, one after the other; none is kept behind."""
    while maps:
        yield resample(maps.pop(0)[None], shape, "linear")[0]


@dataclass(frozen=True)
class Wanted:
    """What a prediction is to say of every image, and how.

    Attributes:
        annotators: Also what each annotator would draw.
        samples: Also label maps drawn from the prediction.
        mirror: Spatial axes. The network also sees every tile flipped along each of them, and along several at once;
            what it says is flipped back, and the mean of all taken.
        network: Gives a network that computes class probabilities in a model's place, as ``open_onnx`` does; goes to
            other processes.
        precision: What the network computes in; None: on a CUDA device that of the training, else float32.
    """

    annotators: bool = False
    samples: bool = False
    mirror: tuple[int, ...] = ()
    network: Callable[[Model], Network] | None = None
    precision: Literal["32", "bf16"] | None = None

    def network_of(self, model: Model) -> Network:
        own = _network_of(model, annotators=self.annotators, samples=self.samples)
        if self.precision == "bf16":
            own = in_bfloat16(own)
        return mirrored(own if self.network is None else self.network(model), self.mirror)


def predict(
    model: Model,
    samples: Iterable[Sample],
    output: Path,
    *,
    total: int = 0,
    split: str | None = None,
    wanted: Wanted = Wanted(),  # frozen
    also: Copies | None = None,
    executor: Executor = INLINE,
    run: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Predict samples and write them: labels, one probability map per class, entropy.

    Args:
        model: From ``load_model``.
        samples: Those that are ``UnreadSamples`` are read as they are needed.
        output: A folder that does not exist yet, or is empty.
        total: How many cases there are, for ``progress``.
        split: The split that the cases are, written down for the evaluation.
        wanted: What else, and how.
        also: Further copies, in other formats.
        executor: Where cases are predicted. In this process, the next is read and the last written meanwhile, unless
            they are large.
        run: The folder of the model, which other processes load it from.
        progress: Called after every case.

    Returns:
        The path of ``predictions.json``, which lists every file. Nothing is left where something fails.

    Raises:
        OutputError: ``output`` is in use, or cannot be written.
        TaskError: An image is not of the kind that the model was trained on, or the method has nothing to say of
            annotators, or no samples.
        ConfigError: Something else than torch, or mirroring, with what they cannot have, or an axis that images do not
            have; or other processes without ``run``.
        ExecutorError: The workers or their scheduler are gone.
    """
    _check_asked(model, wanted)
    _check_speed(model, wanted)
    made_by = {"method": model.config.method, "sha256": model.digest}
    with whole_folder(output) as place:
        entries: dict[str, CaseFiles] = {}
        with _written(model, samples, place, wanted, executor, run) as results:
            for case, files, geometry in results:
                entries[case] = also.write(case, files, geometry, place) if also else files
                if progress:
                    progress(len(entries), total)
        if also:
            also.finish(place)
        write_manifest(entries, model.classes, made_by, place, split=split)
    return output / MANIFEST


@contextmanager
def _written(
    model: Model, samples: Iterable[Sample], place: Path, wanted: Wanted, executor: Executor, run: Path | None
) -> Iterator[Iterable[Written]]:
    """What was written of one case after the other."""
    if not executor.elsewhere:
        writer = CaseWriter(model, wanted, wanted.network_of(model), place)
        # Maps hold nothing that they have handed on, as generators would: the image as it was read goes early.
        prepared = map(writer.prepare, map(partial(_once, seen=set()), samples))
        with closing(overlapped(prepared, writer.compute, writer.write, alone=writer.is_large)) as results:
            yield results
        return
    if run is None or not isinstance(samples, UnreadSamples):
        raise ConfigError(
            "Several workers found, but no `run`, the folder that each loads the model from, or samples that are read "
            "already. Give `run`, and samples as `samples_of_index` or `samples_of_images` gives them."
        )
    cases, seen = samples.cases, set[str]()
    for case in cases:
        _refuse_twice(case.id, seen)
    there = ModelElsewhere(run.resolve(), model.digest, str(model.device))
    one = partial(_predict_and_write, model=there, read=samples.read, wanted=wanted, place=shared(place))
    with executor.map(one, cases, [case.id for case in cases], partial(largest_case, cases)) as results:
        yield results


def _once(sample: Sample, seen: set[str]) -> Sample:
    _refuse_twice(sample.case, seen)
    return sample


@dataclass(frozen=True)
class CaseWriter:
    """Predicts and writes cases, in three steps."""

    model: Model
    wanted: Wanted
    network: Network
    folder: Path

    def prepare(self, sample: Sample) -> Prepared:
        return sample.case, sample.geometry, _prepared(self.model, sample)

    def is_large(self, prepared: Prepared) -> bool:
        """How many maps there are of samples, only the network knows."""
        _, geometry, image = prepared
        maps = len(self.model.classes) * (1 + self.wanted.annotators * len(self.model.task.annotators))
        return self.wanted.samples or max(prod(geometry.shape), image[0, 0].numel()) * maps > LARGE

    def compute(self, prepared: Prepared) -> Computed:
        case, geometry, image = prepared
        return case, geometry, _maps(self.model, image, geometry.shape, self.network, self.wanted.precision)

    def write(self, computed: Computed) -> Written:
        case, geometry, (whole, *parts) = computed
        files = write_case(case, whole, geometry, self.model.classes, self.folder)
        names = self.model.task.annotators if self.wanted.annotators else ()
        return case, write_parts(case, files, parts, names, geometry, self.model.classes, self.folder), geometry


def _predict_and_write(
    case: Case, model: ModelElsewhere, read: Callable[[Case], Sample], wanted: Wanted, place: Shared
) -> Written:
    folder = place.here()
    loaded, network = _ready(model, wanted)
    writer = CaseWriter(loaded, wanted, network, folder)
    return writer.write(writer.compute(writer.prepare(read(case))))


@lru_cache(maxsize=1)
def _ready(model: ModelElsewhere, wanted: Wanted) -> tuple[Model, Network]:
    loaded = model.load()
    return loaded, wanted.network_of(loaded)


def _check_asked(model: Model, wanted: Wanted) -> None:
    for asked, able, flag in (
        (wanted.annotators, model.method.per_annotator, "--annotators"),
        (wanted.samples, model.method.samples, "--samples"),
    ):
        if asked and not able:
            raise TaskError(
                f"{flag} found, a method that can do that expected: {model.config.method!r} cannot. `umanet methods` "
                "lists what each can do."
            )


def _check_speed(model: Model, wanted: Wanted) -> None:
    dims, mirror = model.task.spatial_dims, wanted.mirror
    if len(set(mirror)) < len(mirror) or any(not 0 <= axis < dims for axis in mirror):
        raise ConfigError(
            f"--mirror {' '.join(map(str, mirror))} found, different axes from 0 to {dims - 1} expected: the images "
            f"are {dims}D. Mend the axes."
        )
    asked = (("--annotators", wanted.annotators), ("--samples", wanted.samples))
    flags = [flag for flag, given in asked if given]
    if wanted.network is not None and flags:
        raise ConfigError(
            f"{' and '.join(flags)} with --runtime onnx found, --runtime torch expected: only the class probabilities "
            "of a network are exported. Leave one of them out."
        )
    if wanted.network is not None and wanted.precision:
        raise ConfigError(
            f"--precision {wanted.precision} with --runtime onnx found, --runtime torch expected: the graph is in "
            "float32. Leave one of them out."
        )
    if mirror and wanted.samples:
        raise ConfigError(
            "--samples with --mirror found, one of them expected: a mean of samples is more alike than samples are. "
            "Leave one of them out."
        )


def _refuse_twice(case: str, seen: set[str]) -> None:
    if case in seen:
        raise DatasetError(
            f"Two images named {case!r} found, different names expected, because outputs are named as images. "
            "Rename one, or predict them apart."
        )
    seen.add(case)
