"""What every metric takes: NumPy arrays or torch tensors, checked once; NumPy inside. Imports no torch."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from umanet.errors import AnnotationError, ConfigError, ImageError


def to_numpy(values: Any) -> np.ndarray:
    """An array from a torch tensor (any device, with or without gradient), an array or a nested list.

    A ``bfloat16`` tensor, as networks give under autocast, becomes 32-bit floats, which hold all its values.
    """
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor = values.detach().cpu()
    # By name, not to import torch: NumPy has no such type.
    return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)


def to_mask(values: Any) -> Bool[np.ndarray, "..."]:
    """A boolean array.

    Raises:
        AnnotationError: Another dtype: 0/255 files or labels of several classes would be counted wrongly.
    """
    mask = to_numpy(values)
    if mask.dtype != np.bool_:
        raise AnnotationError(
            f"A mask of type {mask.dtype} found, bool expected. Compare labels with a class: labels == 1."
        )
    return mask


def to_probability(values: Any, where: str = "the input of a metric") -> Float[np.ndarray, "..."]:
    """Probabilities as floats; a boolean mask gives zeros and ones.

    Raises:
        ImageError: NaN, or a value outside [0, 1].
    """
    probability = to_numpy(values)
    if not np.issubdtype(probability.dtype, np.floating):
        probability = probability.astype(np.float32)
    # Written so that NaN fails the comparison.
    if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
        if np.isnan(probability).any():
            raise ImageError(
                f"NaN found, probabilities in [0, 1] expected, in {where}. Look for what divides by zero, or write 0 "
                "where the image says nothing."
            )
        raise ImageError(
            f"Values from {probability.min():g} to {probability.max():g} found, probabilities in [0, 1] expected, "
            f"in {where}. Apply a softmax or sigmoid first."
        )
    return probability


def require_known(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse an option that would be taken for another one.

    Raises:
        ConfigError: ``value`` is not among the ``known``.
    """
    if value not in known:
        raise ConfigError(f"{name} = {value!r} found, one of {', '.join(known)} expected.")


def require_shape(array: Shaped[np.ndarray, "..."], shape: tuple[int, ...], name: str) -> None:
    """Refuse what NumPy would broadcast silently.

    Raises:
        AnnotationError: ``array`` has another shape.
    """
    if array.shape != shape:
        raise AnnotationError(
            f"{name} of shape {array.shape} found, {shape} expected. Resample to the grid of the image."
        )


def annotations_present(annotations: Any, present: Any, shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """The masks ``(R, *S)`` of the annotators who annotated; all of them where ``present`` is None.

    Raises:
        AnnotationError: No annotator is present, the masks are not boolean or not of ``shape``.
    """
    masks = to_mask(annotations)
    require_shape(masks, (len(masks), *shape), "Annotations")
    if present is not None:
        keep = to_mask(present)
        require_shape(keep, (len(masks),), "A list of present annotators")
        masks = masks if keep.all() else masks[keep]
    if len(masks) == 0:
        raise AnnotationError("No annotator is present, at least one expected. Leave this case out.")
    return masks


def count_votes(masks: Bool[np.ndarray, "R ..."]) -> np.ndarray:
    """Per voxel, how many of the masks ``(R, *S)`` hold it: exact integers ``(*S)``."""
    # The sum of bytes is several times faster than the sum of booleans, which goes through 64-bit integers.
    return np.add.reduce(masks.view(np.uint8), axis=0, dtype=np.uint8 if len(masks) < 256 else np.uint32)
