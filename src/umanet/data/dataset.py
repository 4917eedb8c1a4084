"""Cases as a torch data set: read, prepared and fused once, then cropped and augmented anew for every draw."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from umanet.config import DataOptions
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.data.transforms import Augmentation, crop, foreground_voxels, prepare
from umanet.types import Case, Sample

Target = Callable[[Sample, int], Float[Tensor, "K *spatial"] | None]
Draw = tuple[int, int, int]
"""Epoch, position within the epoch, case number: all that a training sample depends on besides the seed."""


class PreparedCases:
    """Whole cases on the working grid, read once as long as they fit into ``cache_gib``."""

    def __init__(self, cases: list[Case], index: DatasetIndex, options: DataOptions):
        self.cases, self.index, self.options = cases, index, options
        self._kept: dict[int, Sample] = {}
        self._foreground: dict[int, Integer[np.ndarray, " N"]] = {}
        # Every loading process has a cache of its own.
        self._room = int(options.cache_gib * 2**30) // max(1, options.workers)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: int) -> Sample:
        if number not in self._kept:
            return self.keep(
                number,
                prepare(read_case(self.cases[number], self.index), self.options, self.index.task.num_classes),
            )
        return self._kept[number]

    def keep(self, number: int, sample: Sample) -> Sample:
        """Hold on to a sample, if there is room; returns it."""
        before = _bytes(self._kept[number]) if number in self._kept else 0
        if _bytes(sample) - before <= self._room:
            self._room -= _bytes(sample) - before
            self._kept[number] = sample
        return sample

    def foreground(self, number: int, sample: Sample) -> Integer[np.ndarray, " N"]:
        """``foreground_voxels`` of the case, held on to with it, if there is room."""
        if number in self._foreground:
            return self._foreground[number]
        found = foreground_voxels(sample)
        if number in self._kept and found.nbytes <= self._room:
            self._room -= found.nbytes
            self._foreground[number] = found
        return found


class TrainingDataset(Dataset[Sample]):
    """Patches (or whole images) of training cases; what is drawn depends on the seed and the ``Draw`` alone."""

    def __init__(
        self,
        cases: PreparedCases,
        target: Target,
        *,
        target_depends_on_epoch: bool,
        patch: tuple[int, ...],
        seed: int,
    ):
        self.cases, self.target, self.target_depends_on_epoch = cases, target, target_depends_on_epoch
        self.patch, self.seed = patch, seed
        self.augmentation = Augmentation(cases.options.augment, patch)

    def __getitem__(self, draw: Draw) -> Sample:
        epoch, position, number = draw
        rng = np.random.default_rng([self.seed, epoch, position])
        sample = self.cases[number]
        if sample.target is None:
            sample = replace(sample, target=self.target(sample, epoch))
            if sample.target is not None and not self.target_depends_on_epoch:
                self.cases.keep(number, sample)
        share = self.cases.options.foreground
        return self.augmentation(crop(sample, self.patch, share, rng, partial(self.cases.foreground, number)), rng)


class EpochSampler(Sampler[Draw]):
    """A fixed number of draws an epoch, going round the shuffled cases; the same in every process and resume.

    Args:
        num_cases: Cases to go round.
        steps: Batches of an epoch.
        batch: Draws of a batch.
        seed: Of the order.
        epoch: Asked for the number of the epoch, from 0, whenever one begins.
        share: Which of how many equal parts of every batch are drawn here: together, processes draw what one would.
    """

    def __init__(
        self,
        num_cases: int,
        steps: int,
        batch: int,
        seed: int,
        epoch: Callable[[], int],
        share: tuple[int, int] = (0, 1),
    ):
        self.num_cases, self.batch, self.draws, self.seed, self.epoch = num_cases, batch, steps * batch, seed, epoch
        (self.part, self.parts) = share

    def __len__(self) -> int:
        return self.draws // self.parts

    def __iter__(self) -> Iterator[Draw]:
        epoch = self.epoch()
        turn, order = -1, np.arange(0)
        for position in range(self.draws):
            now, place = divmod(epoch * self.draws + position, self.num_cases)
            if now != turn:
                turn, order = now, np.random.default_rng([self.seed, now]).permutation(self.num_cases)
            if position % self.batch * self.parts // self.batch == self.part:
                yield epoch, position, int(order[place])


def _bytes(sample: Sample) -> int:
    tensors = (sample.image, sample.annotations, sample.truth, sample.target)
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
