"""A sample as read to one on the working grid, its image normalised."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from umanet.config import DataOptions
from umanet.data.geometry import resample, resample_labels, working_shape
from umanet.types import Sample


def normalise(image: Float[Tensor, "C *spatial"], how: str) -> Float[Tensor, "C *spatial"]:
    """Bring every channel to a common range; a constant channel becomes zero.

    Args:
        image: As read.
        how: ``zscore`` (mean 0, deviation 1), ``unit`` (1st to 99th percentile to 0..1, clipped), or ``none``.
    """
    return image if how == "none" else rescale(image, intensity_range(image, how), clip=how == "unit")


def intensity_range(image: Float[Tensor, "C *spatial"], how: str) -> Float32[Tensor, "C 2"]:
    """Per channel what ``normalise`` subtracts, and what it divides by."""
    flat = image.flatten(1)
    if how == "none":
        low, width = torch.zeros(len(flat)), torch.ones(len(flat))
    elif how == "zscore":
        low, width = flat.mean(1), flat.std(1)
    else:
        bounds = torch.from_numpy(np.percentile(flat.numpy(), [1, 99], axis=1).astype(np.float32))
        low, width = bounds[0], bounds[1] - bounds[0]
    return torch.stack([low, width.clamp_min(1e-6)], 1)


def rescale(
    image: Float[Tensor, "C *spatial"], intensity: Float32[Tensor, "C 2"], *, clip: bool
) -> Float[Tensor, "C *spatial"]:
    """``normalise`` for a part of an image, whose range is known from the whole."""
    low, width = intensity.T.reshape(2, -1, *[1] * (image.ndim - 1))
    image = (image - low) / width
    return image.clamp_(0, 1) if clip else image


def prepare_image(sample: Sample, options: DataOptions) -> Float[Tensor, "C *working"]:
    """The image as a network sees it: on the working grid, normalised."""
    return normalise(resample(sample.image, _shape(sample, options), "linear"), options.normalise)


def prepare(sample: Sample, options: DataOptions, num_classes: int) -> Sample:
    """The whole sample on the working grid, its image normalised. ``geometry`` stays that of the file."""
    sample = on_working_grid(sample, options, num_classes)
    return replace(sample, image=normalise(sample.image, options.normalise))


def on_working_grid(sample: Sample, options: DataOptions, num_classes: int) -> Sample:
    """Image, annotations and truth resampled; the image has its intensities. ``geometry`` stays that of the file."""
    shape, truth = _shape(sample, options), sample.truth
    return replace(
        sample,
        image=resample(sample.image, shape, "linear"),
        annotations=resample_labels(sample.annotations, shape, num_classes),
        truth=None if truth is None else resample_labels(truth[None], shape, num_classes)[0],
    )


def _shape(sample: Sample, options: DataOptions) -> tuple[int, ...]:
    return working_shape(sample.geometry, options.longest_side or None, options.millimetres, options.size)
