"""Sample to sample: onto the working grid, normalised, cropped, augmented; and samples to a batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    Randomizable,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Transform,
)
from torch import Tensor
from torch.nn import functional

from umanet.config import AugmentOptions, DataOptions
from umanet.data.geometry import resample, resample_labels, working_shape
from umanet.types import IGNORE, Batch, Sample

HALF = 0.5
"""A target sums to 1, or to 0 where nothing is known."""


def normalise(image: Float[Tensor, "C *spatial"], how: str) -> Float[Tensor, "C *spatial"]:
    """Bring every channel to a common range; a constant channel becomes zero.

    Args:
        image: As read.
        how: ``zscore`` (mean 0, deviation 1), ``unit`` (1st to 99th percentile to 0..1, clipped), or ``none``.
    """
    if how == "none":
        return image
    flat = image.flatten(1)
    if how == "zscore":
        low, width = flat.mean(1), flat.std(1)
    else:
        bounds = torch.from_numpy(np.percentile(flat.numpy(), [1, 99], axis=1).astype(np.float32))
        low, width = bounds[0], bounds[1] - bounds[0]
    shape = (-1, *[1] * (image.ndim - 1))
    image = (image - low.view(shape)) / width.clamp_min(1e-6).view(shape)
    return image.clamp(0, 1) if how == "unit" else image


def prepare_image(sample: Sample, options: DataOptions) -> Float[Tensor, "C *working"]:
    """The image as a network sees it: on the working grid, normalised."""
    shape = working_shape(sample.geometry, options.longest_side or None, options.millimetres, options.size)
    return normalise(resample(sample.image, shape, "linear"), options.normalise)


def prepare(sample: Sample, options: DataOptions, num_classes: int) -> Sample:
    """The whole sample on the working grid, its image normalised. ``geometry`` stays that of the file."""
    image = prepare_image(sample, options)
    shape = tuple(image.shape[1:])
    truth = sample.truth
    return replace(
        sample,
        image=image,
        annotations=resample_labels(sample.annotations, shape, num_classes),
        truth=None if truth is None else resample_labels(truth[None], shape, num_classes)[0],
    )


def foreground_voxels(sample: Sample) -> Integer[np.ndarray, " N"]:
    """Where some annotation says foreground: positions in the flattened grid, ascending."""
    drawn = ((sample.annotations > 0) & (sample.annotations != IGNORE)).any(0).flatten()
    return drawn.nonzero()[:, 0].numpy().astype(np.int32 if len(drawn) < 2**31 else np.int64)


def crop(
    sample: Sample,
    patch: tuple[int, ...],
    foreground: float,
    rng: np.random.Generator,
    voxels: Callable[[Sample], Integer[np.ndarray, " N"]] = foreground_voxels,
) -> Sample:
    """A patch of the sample. Shorter sides are padded at both ends: image and labels with zero, targets as background.

    Args:
        sample: A prepared sample.
        patch: Voxels per axis.
        foreground: Probability that the patch is centred on a voxel that some annotation calls foreground.
        rng: Draws the place.
        voxels: What ``foreground_voxels`` finds, from somebody who keeps it: a search of a large volume takes long.
    """
    lacking = [max(0, side - have) for side, have in zip(patch, sample.image.shape[1:], strict=True)]
    padded = _pad(sample, lacking)
    shape = padded.image.shape[1:]
    if tuple(shape) == tuple(patch):
        return padded
    room = np.array(shape) - np.array(patch)
    start = rng.integers(0, room + 1)
    if rng.random() < foreground:
        centres = voxels(sample)
        if len(centres):
            centre = np.unravel_index(centres[rng.integers(len(centres))], sample.image.shape[1:])
            start = np.clip(np.array(centre) + np.array(lacking) // 2 - np.array(patch) // 2, 0, room)
    window = (..., *(slice(int(at), int(at) + side) for at, side in zip(start, patch, strict=True)))
    return _map(padded, lambda array: array[window])


def _pad(sample: Sample, lacking: Sequence[int]) -> Sample:
    if not any(lacking):
        return sample
    ends = [end for lack in reversed(lacking) for end in (lack // 2, lack - lack // 2)]
    padded = _map(sample, lambda array: functional.pad(array, ends))
    if padded.target is not None:
        missing = 1 - padded.target.sum(0)
        within = functional.pad(torch.ones_like(sample.image[0]), ends)
        # What nobody knows within the image stays so.
        padded.target[0] += missing.masked_fill_((within > 0) & (missing > HALF), 0)
    return padded


def _map(sample: Sample, change) -> Sample:
    """Apply one spatial change to image, annotations, truth and target together."""
    return replace(
        sample,
        image=change(sample.image),
        annotations=change(sample.annotations),
        truth=None if sample.truth is None else change(sample.truth),
        target=None if sample.target is None else change(sample.target),
    )


class Augmentation:
    """Random changes of training samples by MONAI, the same for image, annotations and target."""

    def __init__(self, options: AugmentOptions, patch: tuple[int, ...]):
        keys = {"image": "bilinear", "annotations": "nearest", "target": "bilinear"}
        half = options.probability / 2
        angle = np.deg2rad(options.rotate)
        changes = [
            RandAffined(
                list(keys),
                prob=options.probability,
                rotate_range=[angle] * (1 if len(patch) == 2 else 3),
                translate_range=[options.shift * side for side in patch],
                scale_range=[options.scale] * len(patch),
                mode=list(keys.values()),
                padding_mode="border",
                allow_missing_keys=True,
            ),
            *(RandFlipd(list(keys), prob=0.5, spatial_axis=axis, allow_missing_keys=True) for axis in options.flip),
        ]
        if options.intensity:
            changes += [
                RandScaleIntensityd("image", options.intensity, half),
                RandShiftIntensityd("image", options.intensity, prob=half),
            ]
        if options.noise:
            changes.append(RandGaussianNoised("image", prob=half, std=options.noise))
        self.changes = Compose(changes)
        self.changes.set_random_state(seed=0)  # gives everything that draws a state of its own
        self.draws = list(_draws(self.changes))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for each, seed in zip(self.draws, rng.integers(2**32, size=len(self.draws)), strict=True):
            each.R.seed(seed)  # MONAI would make new ones, which takes far longer
        arrays = {"image": sample.image, "annotations": sample.annotations.float()}
        if sample.target is not None:
            arrays["target"] = sample.target
        tracked = get_track_meta()
        set_track_meta(False)  # a third of the time, and nobody asks where a voxel came from
        try:
            changes: Any = self.changes(arrays)
        finally:
            set_track_meta(tracked)
        changed = {key: torch.as_tensor(array).as_subclass(Tensor) for key, array in changes.items()}
        if sample.target is not None and bool((sample.target.sum(0) < HALF).any()):
            changed["target"] = _known_or_not(changed["target"])
        return replace(
            sample,
            image=changed["image"].contiguous(),
            annotations=changed["annotations"].round().to(torch.uint8),
            target=changed.get("target"),
            truth=None,  # was not moved along; training has no use for it
        )


def _draws(change: object) -> Iterator[Randomizable]:
    """What draws in a change of MONAI's: itself, and what it is made of."""
    if isinstance(change, Randomizable):
        yield change
    parts = vars(change).values() if isinstance(change, Transform) else ()
    for part in (*parts, *getattr(change, "transforms", ())):
        yield from _draws(part)


def _known_or_not(target: Float[Tensor, "K *spatial"]) -> Float[Tensor, "K *spatial"]:
    """Interpolated between known and unknown voxels: each is again the one or the other."""
    total = target.sum(0)
    return torch.where(total < HALF, 0.0, target / total.clamp_min(HALF))


def collate(samples: list[Sample]) -> Batch:
    """Samples of one shape as a batch."""
    targets = [sample.target for sample in samples if sample.target is not None]
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.annotations for sample in samples]),
        torch.stack([sample.present for sample in samples]),
        torch.stack(targets) if targets else None,
    )
