"""The loaders of a run: endless seeded draws for training, whole cases for validation."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from umanet.config import RunConfig
from umanet.data.augment import augmented
from umanet.data.case_cache import CaseCache
from umanet.data.dataset import EpochSampler, PreparedCases, TrainingDataset
from umanet.data.index import DatasetIndex
from umanet.data.patches import Patches, stack
from umanet.data.prepared_case import PreparedCase
from umanet.methods import Method
from umanet.ranks import launch
from umanet.types import Case, Sample

NOT_OF_TARGETS = {"trainer", "data", "backbone", "device", "threads", "preset"}
"""Of the settings, those on which no target depends."""


class RunData(pl.LightningDataModule):
    """Training and validation cases of a data set. An epoch is as long as the distance between validations.

    Of several ranks each draws its part of every batch, and validates its share of the cases.

    Args:
        index: The data set.
        training: Of it, to learn from.
        validation: Of it, to validate with.
        method: What fuses targets.
        config: With a patch that was decided.
        folder: For prepared cases that do not stay in memory, unless the configuration names one.
    """

    def __init__(
        self,
        index: DatasetIndex,
        training: list[Case],
        validation: list[Case],
        method: Method,
        config: RunConfig,
        folder: Path,
    ):
        super().__init__()
        self.config, data, self.launch = config, config.data, launch()
        assert data.patch is not None  # chosen by plan
        made_by = json.dumps([config.model_dump(mode="json", exclude=NOT_OF_TARGETS), index.task.drawn])
        once, anew = None, None
        if method.target_depends_on_epoch:
            anew = method.target
        elif method.has_target:
            once = partial(method.target, epoch=0)
        disk = CaseCache(data.cache or folder, index, data)
        cases = PreparedCases(training, index, data, disk, once, made_by)
        self.training = TrainingDataset(cases, patch=data.patch, seed=config.seed, target=anew)
        own = validation[self.launch.rank :: self.launch.ranks]
        self.validation = PreparedCases(own, index, data, disk)
        if self.launch.leads:
            disk.tidy()

    def train_dataloader(self) -> DataLoader[Patches]:
        options, workers = self.config.trainer, self.config.data.workers
        steps = min(options.validate_every, options.max_steps)

        def epoch() -> int:
            # Not Lightning's own count (set_epoch), which is one too high after a resume.
            return 0 if self.trainer is None else self.trainer.global_step // steps

        share = self.launch.rank, self.launch.ranks
        cases, batch, seed = len(self.training.cases), options.batch_size, self.config.seed
        return DataLoader(
            self.training,  # type: ignore[arg-type]  # patches in, stacks of them out
            batch_size=batch // self.launch.ranks,
            sampler=EpochSampler(cases, steps, batch, seed, epoch, share),
            collate_fn=stack,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.config.device != "cpu" and torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.validation, batch_size=None, shuffle=False, collate_fn=PreparedCase.whole)  # type: ignore[arg-type]  # a list

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        # Whole cases of the validation stay in main memory: tiles are moved one at a time.
        return batch.to(device) if isinstance(batch, Patches) else batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return augmented(batch) if isinstance(batch, Patches) else batch
