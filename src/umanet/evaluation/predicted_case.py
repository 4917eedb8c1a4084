"""What was predicted for one case, read from its files and checked against the grid of its image."""

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from umanet.data.formats import UNREADABLE
from umanet.data.geometry import grid_difference, to_ras
from umanet.data.images import (
    describe_unknown,
    labels_from_values,
    read_annotation_values,
    read_map,
    read_maps,
    unknown_values,
)
from umanet.errors import AnnotationError, DatasetError, GeometryError, ImageError
from umanet.evaluation.prediction_folder import NPZ, CaseFiles
from umanet.metrics.arrays import to_probability
from umanet.types import IGNORE, Geometry

SLACK = 1e-3
"""By how much probabilities of several classes may sum to more than 1: files round them to 1/65535, or to 16 bits."""


@dataclass(frozen=True, eq=False)
class PredictedCase:
    """Arrays on the grid of the image, each read when it is first asked for.

    Every property raises ImageError, AnnotationError or GeometryError, with the file, where it does not hold what
    it must.

    Attributes:
        files: Of the case.
        geometry: Of the image.
        nested: Whether a class includes those after it.
    """

    files: CaseFiles
    geometry: Geometry
    nested: bool = False

    @cached_property
    def labels(self) -> UInt8[np.ndarray, "*spatial"]:
        """As written; of probabilities alone, the most probable class, ties to the lowest."""
        if self.files.labels is not None:
            return self._read_labels(self.files.labels)
        every = [self._single(k) for k in range(1, len(self.files.classes))]
        rest = 1 - np.sum(every, axis=0, dtype=np.float32)
        return np.argmax([rest, *every], axis=0).astype(np.uint8)

    def mask(self, k: int) -> Bool[np.ndarray, "*spatial"]:
        return of_class(self.labels, k, nested=self.nested)

    def probability(self, k: int) -> Float[np.ndarray, "*spatial"]:
        """Of class ``k``; where there are only labels, zeros and ones."""
        if not self.files.has_probabilities:
            return self.mask(k).astype(np.float32)
        own = self._single(k)
        if not self.nested:
            return own
        for other in range(k + 1, len(self.files.classes)):
            own = own + self._single(other)
        above = own.max(initial=0) - 1
        return own if above > SLACK else np.minimum(own, 1)

    @cached_property
    def written_uncertainty(self) -> Float32[np.ndarray, "*spatial"]:
        """The map in ``entropy``."""
        if self.files.entropy is None:
            raise DatasetError(
                f"No map of uncertainty found for {self.files.labels}, one in entropy/ expected. Write one for every "
                "case, or take the entropy of the probabilities."
            )
        values = read_map(self.files.entropy, self._dims, self.geometry)
        if not np.isfinite(values).all():
            raise ImageError(
                f"NaN or infinity found, finite numbers expected, in {self.files.entropy}. Write 0 where there is no "
                "doubt."
            )
        return values

    def samples(self, k: int) -> Bool[np.ndarray, "M *spatial"]:
        return np.stack([of_class(labels, k, nested=self.nested) for labels in self._drawn])

    @cached_property
    def _drawn(self) -> list[UInt8[np.ndarray, "*spatial"]]:
        return [self._read_labels(path) for path in self.files.samples]

    @property
    def _dims(self) -> int:
        return len(self.geometry.shape)

    def _single(self, k: int) -> Float[np.ndarray, "*spatial"]:
        name = self.files.classes[k].name
        if self.files.channels is not None:
            return self._channels[k - 1]
        if name not in self.files.probabilities:
            raise DatasetError(
                f"Probabilities of {', '.join(self.files.probabilities)} found, of {name} expected, for "
                f"{self.files.labels or next(iter(self.files.probabilities.values()))}. Run the prediction again."
            )
        path = self.files.probabilities[name]
        return to_probability(read_map(path, self._dims, self.geometry, foreign=self.files.foreign), str(path))

    @cached_property
    def _channels(self) -> Float[np.ndarray, "foreground *spatial"]:
        """Of the foreground classes, from one file with all of them."""
        path = self.files.channels
        assert path is not None  # asked for only where there is one
        if path.name.endswith(NPZ):
            every = self._unpack(path)
        else:
            every = read_maps(path, self._dims, self.geometry, foreign=self.files.foreign)
        number = len(self.files.classes)
        if len(every) != number and (len(every), number) != (1, 2):
            only = ", or the foreground alone," if number == 2 else ""
            raise ImageError(
                f"Probabilities of {len(every)} classes found, of {number}{only} expected, in {path}. Write one for "
                "every class, background first."
            )
        return to_probability(every[-(number - 1) :], str(path))

    def _unpack(self, path: Path) -> Float[np.ndarray, "K *spatial"]:
        """nnU-Net's arrays: axes of volumes reversed (z, y, x), pictures with an axis of one before theirs."""
        try:
            with np.load(path, allow_pickle=False) as packed:
                stored = packed["probabilities"]
        except (*UNREADABLE, zipfile.BadZipFile, AttributeError) as error:
            raise ImageError(
                f"{path} cannot be read ({error}), an array 'probabilities' as nnU-Net writes it expected. Write it "
                "again, or remove it to score labels."
            ) from None
        if stored.ndim < 2 or stored.dtype.kind not in "biuf":
            raise ImageError(
                f"An array of shape {stored.shape} and type {stored.dtype} found, numbers with an axis of classes "
                f"first expected, in {path}. Write it again, or remove it to score labels."
            )
        if self.geometry.affine is not None:
            shape = self.geometry.file_shape or self.geometry.shape
            arrays = [one.transpose() for one in stored]
        else:
            shape = self.geometry.shape
            arrays = [one[0] if one.ndim == len(shape) + 1 and len(one) == 1 else one for one in stored]
        for array in arrays:
            if _without_ones(array.shape) != _without_ones(shape):
                raise GeometryError(
                    f"Probabilities of shape {array.shape} found, {shape} expected, in {path}. Predict the case again."
                )
        return np.stack([to_ras(array.reshape(shape), self.geometry) for array in arrays]).astype(np.float32)

    def _read_labels(self, path: Path) -> UInt8[np.ndarray, "*spatial"]:
        try:
            values, own = read_annotation_values(path, self._dims)
        except AnnotationError as error:
            raise AnnotationError(f"{error} {_IF_PROBABILITIES}") from None
        difference = grid_difference(self.geometry, own)
        if difference:
            raise GeometryError(
                f"{difference} found for the image and prediction {path}, the same grid expected. Resample the "
                "prediction."
            )
        unknown = unknown_values(values, self.files.classes, self.files.ignore)
        if unknown:
            raise AnnotationError(f"{describe_unknown(unknown, self.files.classes)} in {path}. {self._mend(unknown)}")
        return labels_from_values(values, self.files.classes, self.files.ignore)

    def _mend(self, unknown: list[float]) -> str:
        if any(value % 1 for value in unknown):
            return _IF_PROBABILITIES
        if min(unknown) >= 0 and max(unknown) < len(self.files.classes):
            return "If the values are 0, 1, 2 in the order of the classes, say --label-values index."
        return "Mend the file, or add the value to a class."


_IF_PROBABILITIES = "Probabilities belong into probabilities/CLASS/ or, with a channel per class, probabilities/."


def of_class(labels: UInt8[np.ndarray, "..."], k: int, *, nested: bool) -> Bool[np.ndarray, "..."]:
    """Voxels of class ``k``, and where classes are nested of all that are listed after it; none that is ignored."""
    return (labels >= k) & (labels != IGNORE) if nested else labels == k


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)
