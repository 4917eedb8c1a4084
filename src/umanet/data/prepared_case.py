"""A case as training keeps it: on the working grid, exact, and a few bytes a voxel however many annotate."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer, Shaped, UInt8
from torch import Tensor

from umanet.config import DataOptions
from umanet.data.codes import encode
from umanet.data.transforms import intensity_range, on_working_grid, rescale
from umanet.types import IGNORE, Geometry, Sample

WHOLE = (np.uint8, np.int16, np.uint16)
"""Types that most files store; whole numbers are kept in the first that holds them."""


@dataclass(frozen=True)
class PreparedCase:
    """A case on the working grid. Its tensors may lie in a file: whoever cuts a patch reads no more than that.

    What is said of a voxel is the row of a table, whose number is its code: there are few such rows in a case. The
    last row is of no voxel of the case but of those around it: background for all.

    Attributes:
        case: The case's id.
        image: As on the working grid before normalisation, whole numbers in a small type.
        intensity: What normalisation subtracts and divides by, per channel.
        clip: Whether it then keeps to 0..1.
        codes: Row of the tables, per voxel.
        patterns: Labels, or ``IGNORE``, per row and annotator; zero of those who are absent.
        present: As of a ``Sample``.
        drawn: Where some annotation says foreground: positions in the flattened grid, ascending.
        geometry: Of the image in its file.
        truths: Labels per row, where the truth is known.
        target: Class probabilities, per row or per voxel.
    """

    case: str
    image: Shaped[Tensor, "C *spatial"]
    intensity: Float32[Tensor, "C 2"]
    clip: bool
    codes: Integer[Tensor, "*spatial"]
    patterns: UInt8[Tensor, "P R"]
    present: Bool[Tensor, " R"]
    drawn: Integer[Tensor, " N"]
    geometry: Geometry
    truths: UInt8[Tensor, " P"] | None = None
    target: Float32[Tensor, "P K"] | Float32[Tensor, "K *spatial"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def whole(self) -> Sample:
        """As a sample: the image normalised, the annotations as labels, without target."""
        codes = self.codes.numpy()
        return Sample(
            self.case,
            rescale(self.image.float(), self.intensity, clip=self.clip),
            torch.from_numpy(np.take(np.ascontiguousarray(self.patterns.T), codes, axis=1)),
            self.present,
            self.geometry,
            None if self.truths is None else torch.from_numpy(np.take(self.truths.numpy(), codes)),
        )

    def taught(self, target: Float[Tensor, "K *spatial"]) -> "PreparedCase":
        """With a target of the whole case; by row, where voxels of a row have the same."""
        codes, flat = self.codes.flatten().numpy(), target.flatten(1).numpy()
        first = np.zeros(len(self.patterns), np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        table = flat[:, first]
        table[:, -1] = np.arange(len(table)) == 0
        # One class at a time: all at once would take as much memory again.
        if all(np.array_equal(np.take(row, codes), values) for row, values in zip(table, flat, strict=True)):
            target = torch.from_numpy(np.ascontiguousarray(table.T))
        return replace(self, target=target.float())


def prepare_case(sample: Sample, options: DataOptions, num_classes: int) -> PreparedCase:
    """A sample, as read, on the working grid and packed."""
    sample = on_working_grid(sample, options, num_classes)
    votes = [sample.annotations[r].numpy() for r in sample.present.nonzero()[:, 0].tolist()]
    votes += [] if sample.truth is None else [sample.truth.numpy()]
    codes, rows = _packed(votes, num_classes, tuple(sample.image.shape[1:]))
    patterns = np.zeros((len(rows), len(sample.present)), np.uint8)
    patterns[:, sample.present.numpy()] = rows[:, : int(sample.present.sum())]
    somebody = ((patterns > 0) & (patterns != IGNORE)).any(1)
    drawn = np.flatnonzero(np.take(somebody, codes))
    return PreparedCase(
        sample.case,
        torch.from_numpy(_smallest(sample.image.numpy())),
        intensity_range(sample.image, options.normalise),
        options.normalise == "unit",
        torch.from_numpy(codes),
        torch.from_numpy(patterns),
        sample.present,
        torch.from_numpy(drawn.astype(np.int32 if codes.size < 2**31 else np.int64)),
        sample.geometry,
        None if sample.truth is None else torch.from_numpy(np.ascontiguousarray(rows[:, -1])),
    )


def _packed(
    votes: list[UInt8[np.ndarray, "*spatial"]], num_classes: int, shape: tuple[int, ...]
) -> tuple[Integer[np.ndarray, "*spatial"], UInt8[np.ndarray, "P S"]]:
    """Codes without gaps, and what each vote says in each; last the row of the background."""
    abstains = [int(vote.max(initial=0)) == IGNORE for vote in votes]
    coded = encode(votes, num_classes, abstains)
    rows = np.where(coded.patterns == num_classes, IGNORE, coded.patterns).astype(np.uint8)
    rows = np.concatenate([rows, np.zeros((1, rows.shape[1]), np.uint8)])
    number = np.zeros(coded.occurring[-1] + 1, np.min_scalar_type(len(rows) - 1))
    number[coded.occurring] = np.arange(len(coded.occurring))
    codes = np.take(number, coded.codes) if coded.codes.size else np.zeros(prod(shape), number.dtype)
    return codes.reshape(shape), rows


def _smallest(values: Float32[np.ndarray, "C *spatial"]) -> Shaped[np.ndarray, "C *spatial"]:
    lowest, highest = values.min(), values.max()
    for kind in WHOLE:
        limits = np.iinfo(kind)
        if limits.min <= lowest and highest <= limits.max:
            whole = values.astype(kind)
            if np.array_equal(whole, values):
                return whole
    return values
