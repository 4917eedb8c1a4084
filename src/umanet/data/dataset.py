"""Cases as a torch data set: read, prepared and fused once, then cut and changed anew for every draw."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from umanet.config import DataOptions
from umanet.data.case_cache import CaseCache
from umanet.data.change import draw_change
from umanet.data.images import read_case
from umanet.data.index import DatasetIndex
from umanet.data.patches import Patch, cut
from umanet.data.prepared_case import PreparedCase, prepare_case
from umanet.errors import OutputError
from umanet.types import Case, Sample

Target = Float[Tensor, "K *spatial"] | None
Draw = tuple[int, int, int]
"""Epoch, position within the epoch, case number: all that a training sample depends on besides the seed."""
OPEN = 4096
"""Files that are mapped at a time: systems allow some tens of thousands."""
WITHOUT = "Now memory has to do; cases that do not fit are read again for every patch."
log = logging.getLogger("umanet")


class PreparedCases:
    """Whole cases on the working grid, each prepared once.

    They stay in memory as far as ``data.cache_gib`` goes; those beyond it are kept on disk. With ``data.cache``, or
    where several processes load, all are on disk, which one process writes and all read. Where the disk cannot be
    written to, memory has to do, and what does not fit is read again for every patch.

    Args:
        cases: What to prepare.
        index: Their data set.
        options: How.
        disk: For what does not stay in memory; None: nothing is kept on disk.
        target: Makes the target of a whole case; None: there is none, or it is made of every patch anew.
        made_by: All that the target depends on besides the case.
    """

    def __init__(
        self,
        cases: list[Case],
        index: DatasetIndex,
        options: DataOptions,
        disk: CaseCache | None = None,
        target: Callable[[Sample], Target] | None = None,
        made_by: str = "",
    ):
        self.cases, self.index, self.options, self.target, self.made_by = cases, index, options, target, made_by
        self.disk = disk
        # Every loading process has a memory of its own.
        self._room = int(options.cache_gib * 2**30) // max(1, options.workers)
        self._disk_first = options.cache is not None or options.workers > 0
        self._kept: dict[int, PreparedCase] = {}
        self._mapped: OrderedDict[int, PreparedCase] = OrderedDict()

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: int) -> PreparedCase:
        for have in (self._kept, self._mapped):
            if number in have:
                return have[number]
        disk = None if self.disk is None or self.disk.refuses else self.disk
        if disk is not None and self._disk_first:
            try:
                return self._on_disk(number, disk)
            except OutputError as error:
                disk.refuses = True
                worker = get_worker_info()
                if worker is None or worker.id == 0:  # one of them is enough
                    log.warning("%s %s", error, WITHOUT)
        prepared = self._taught(self._prepared(number))
        if prepared.nbytes <= self._room:
            self._room -= prepared.nbytes
            self._kept[number] = prepared
        elif disk is not None and not disk.refuses:
            self._disk_first = True  # from now on; what is in memory stays there
            return self[number]
        return prepared

    def _prepared(self, number: int) -> PreparedCase:
        sample = read_case(self.cases[number], self.index)
        return prepare_case(sample, self.options, self.index.task.num_classes)

    def _taught(self, prepared: PreparedCase) -> PreparedCase:
        target = None if self.target is None else self.target(prepared.whole())
        return prepared if target is None else prepared.taught(target)

    def _on_disk(self, number: int, disk: CaseCache) -> PreparedCase:
        case = self.cases[number]
        try:
            digest = disk.digest(case)
        except OSError:
            return self._taught(self._prepared(number))  # which says what is wrong with the file
        prepared = disk.read(digest, case)
        if prepared is None:
            disk.keep(digest, self._prepared(number))
            prepared = disk.read(digest, case) or self._prepared(number)
        if self.target is not None:
            prepared = self._taught_on_disk(prepared, digest, disk)
        self._mapped[number] = prepared
        if len(self._mapped) > OPEN:
            self._mapped.popitem(last=False)
        return prepared

    def _taught_on_disk(self, prepared: PreparedCase, digest: str, disk: CaseCache) -> PreparedCase:
        target = disk.read_target(digest, self.made_by)
        if target is not None:
            return replace(prepared, target=target)
        taught = self._taught(prepared)
        assert taught.target is not None
        disk.keep_target(digest, self.made_by, taught.target)
        return taught


class TrainingDataset(Dataset[Patch]):
    """Patches (or whole images) of training cases; what is drawn depends on the seed and the ``Draw`` alone.

    Args:
        cases: What to cut from.
        patch: Voxels per axis.
        seed: Of all draws.
        target: Makes the target of every patch anew, for one that changes with the epoch.
    """

    def __init__(
        self,
        cases: PreparedCases,
        *,
        patch: tuple[int, ...],
        seed: int,
        target: Callable[[Sample, int], Target] | None = None,
    ):
        self.cases, self.patch, self.seed, self.target = cases, patch, seed, target

    def __getitem__(self, draw: Draw) -> Patch:
        epoch, position, number = draw
        rng, options = np.random.default_rng([self.seed, epoch, position]), self.cases.options
        case = self.cases[number]
        patch = cut(case, self.patch, options.foreground, rng, draw_change(options.augment, self.patch, rng))
        return patch if self.target is None else replace(patch, target=self.target(patch.sample(case), epoch))


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
