"""Voxels by a number for what all annotators say there: counted and looked up without an array of wider integers.

The votes of a voxel are the digits of its code. Codes are kept in the smallest unsigned type that holds them: a byte a
voxel up to 256 possible patterns, two up to 65 536. NumPy counts and looks up by 64-bit integers only, so both go
through the volume in parts that stay in the processor's cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Float32, Int64, Integer, UInt

from umanet.types import IGNORE

LARGEST_CODE_TABLE = 2**16
"""Entries of a table over all codes: half a megabyte, which stays in the processor's cache."""

PART = 2**18
"""Voxels at a time: as 64-bit integers two megabytes, and enough for the calls to cost nothing."""

ENOUGH_FOR_PAIRS = 2**20
"""Voxels from which on two at a time are faster: below, making the table of 65 536 pairs takes longer than it saves."""


@dataclass(frozen=True)
class Coded:
    """The codes of a volume, and what they stand for.

    Attributes:
        codes: Code of each voxel, in C order. Not all numbers occur.
        occurring: The codes that do, rising: those of the patterns.
        counts: Voxels of each pattern.
        patterns: What each annotator says in each pattern.
    """

    codes: UInt[np.ndarray, " N"]
    occurring: Int64[np.ndarray, " P"]
    counts: Int64[np.ndarray, " P"]
    patterns: Int64[np.ndarray, "P S"]

    def look_up(self, values: Float32[np.ndarray, "P K"]) -> Float32[np.ndarray, "K N"]:
        """The values of each voxel's pattern."""
        table = np.zeros((values.shape[1], self.occurring[-1] + 1), np.float32)
        table[:, self.occurring] = values.T
        maps = np.empty((len(table), self.codes.size), np.float32)
        if _goes_in_pairs(self.codes):
            pairs = np.arange(2**16, dtype=np.uint16)
            # Two numbers of 32 bits in one of 64. The codes of a pair lie in memory as in the volume.
            table = table.take(pairs.view(np.uint8), axis=1, mode="clip").view(np.complex64)
            _look_up(self.codes.view(np.uint16), table, maps.view(np.complex64))
        else:
            _look_up(self.codes, table, maps)
        return maps


def parts_of(shape: Sequence[int]) -> Iterator[tuple[int | slice, ...]]:
    """Where to find one part after the other, each contiguous in C order and of at most ``PART`` voxels."""
    axis = next(a for a in range(len(shape)) if prod(shape[a + 1 :]) <= PART)
    step = PART // prod(shape[axis + 1 :])
    for leading in np.ndindex(*shape[:axis]):
        for start in range(0, shape[axis], step):
            yield *leading, slice(start, start + step)


def encode(votes: Sequence[Integer[np.ndarray, "*spatial"]], num_classes: int, abstains: Sequence[bool]) -> Coded:
    """Code the votes of all annotators.

    As many annotators at a time as the table holds. Renumbering those patterns that occur before the next ones join
    keeps the table below P * K entries: no sorting, and no overflow however many annotators there are.

    Args:
        votes: Of each annotator: 0..K-1, or ``IGNORE``.
        num_classes: ``K``.
        abstains: Of each annotator: whether there is any ``IGNORE``.
    """
    base = num_classes + any(abstains)  # Abstention is a digit of its own, after those of the classes.
    coded = Coded(np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((1, 0), np.int64))
    done = 0
    while done < len(votes):
        joining = 1
        while done + joining < len(votes) and len(coded.patterns) * base ** (joining + 1) <= LARGEST_CODE_TABLE:
            joining += 1
        some = slice(done, done + joining)
        codes = _appended(coded, votes[some], num_classes, abstains[some], base)
        counts = _count(codes, len(coded.patterns) * base**joining)
        occurring = np.flatnonzero(counts)
        digits = occurring[:, None] // base ** np.arange(joining)[::-1] % base
        patterns = np.concatenate([coded.patterns[occurring // base**joining], digits], axis=1)
        coded = Coded(codes, occurring, counts[occurring], patterns)
        done += joining
    return coded


def _appended(
    coded: Coded, votes: Sequence[np.ndarray], num_classes: int, abstains: Sequence[bool], base: int
) -> UInt[np.ndarray, " N"]:
    """The codes, renumbered, with these votes as further digits."""
    shape = votes[0].shape
    codes = np.zeros(shape, np.min_scalar_type(len(coded.patterns) * base ** len(votes) - 1))
    before = coded.codes.reshape(shape) if coded.codes.size else None
    number = np.zeros(coded.occurring[-1] + 1, codes.dtype)
    number[coded.occurring] = np.arange(len(coded.occurring))
    # 256 becomes 0 in a byte: right, for then the one number that it multiplies is 0.
    factor = np.asarray(base).astype(codes.dtype)
    for part in parts_of(shape):
        code = codes[part]
        if before is not None:
            np.take(number, before[part], out=code, mode="clip")
        for vote, some in zip(votes, abstains, strict=True):
            digit = vote[part]
            if some:
                digit = np.where(digit == IGNORE, num_classes, digit)
            np.multiply(code, factor, out=code)
            np.add(code, digit, out=code, casting="unsafe")
    return codes.reshape(-1)


def _goes_in_pairs(codes: UInt[np.ndarray, " N"]) -> bool:
    return codes.dtype == np.uint8 and codes.size % 2 == 0 and codes.size >= ENOUGH_FOR_PAIRS


def _count(codes: UInt[np.ndarray, " N"], size: int) -> Int64[np.ndarray, " size"]:
    """How often each code below ``size`` occurs."""
    if _goes_in_pairs(codes):
        pairs = _count(codes.view(np.uint16), 2**16).reshape(2**8, 2**8)
        return (pairs.sum(axis=0) + pairs.sum(axis=1))[:size]
    counts = np.zeros(size, np.int64)
    for start in range(0, codes.size, PART):
        code = codes[start : start + PART]
        if code.nbytes % 8 == 0:
            # Mostly all say background, which is code 0: eight bytes of it at a time need no further look.
            words = code.view(np.uint64)
            code = words[words != 0].view(codes.dtype)
        found = np.bincount(code)
        counts[: len(found)] += found
    counts[0] += codes.size - counts.sum()
    return counts


def _look_up(codes: UInt[np.ndarray, " N"], table: np.ndarray, out: np.ndarray) -> None:
    for start in range(0, codes.size, PART):
        code = codes[start : start + PART]
        if code.max() == 0:  # where there is only background
            out[:, start : start + PART] = table[:, :1]
            continue
        index = code.astype(np.intp)
        for of_voxels, of_codes in zip(out[:, start : start + PART], table, strict=True):
            # "raise", the default, would copy the output.
            np.take(of_codes, index, out=of_voxels, mode="clip")
