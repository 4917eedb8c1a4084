"""The loaders of a run: endless seeded draws for training, whole cases for validation."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from umanet.config import RunConfig
from umanet.data.dataset import EpochSampler, PreparedCases, TrainingDataset
from umanet.data.index import DatasetIndex
from umanet.data.transforms import collate
from umanet.methods import Method
from umanet.ranks import launch
from umanet.types import Batch, Case, Sample


class RunData(pl.LightningDataModule):
    """Training and validation cases of a data set. An epoch is as long as the distance between validations.

    Of several ranks each draws its part of every batch, and validates its share of the cases.
    """

    def __init__(
        self,
        index: DatasetIndex,
        training: list[Case],
        validation: list[Case],
        method: Method,
        config: RunConfig,
    ):
        super().__init__()
        self.config, data, self.launch = config, config.data, launch()
        assert data.patch is not None  # chosen by plan_patch
        self.training = TrainingDataset(
            PreparedCases(training, index, data),
            method.target,
            target_depends_on_epoch=method.target_depends_on_epoch,
            patch=data.patch,
            seed=config.seed,
        )
        own = validation[self.launch.rank :: self.launch.ranks]
        self.validation = PreparedCases(own, index, data)

    def train_dataloader(self) -> DataLoader[Batch]:
        options, workers = self.config.trainer, self.config.data.workers
        steps = min(options.validate_every, options.max_steps)

        def epoch() -> int:
            # Not Lightning's own count (set_epoch), which is one too high after a resume.
            return 0 if self.trainer is None else self.trainer.global_step // steps

        share = self.launch.rank, self.launch.ranks
        cases, batch, seed = len(self.training.cases), options.batch_size, self.config.seed
        return DataLoader(
            self.training,  # type: ignore[arg-type]  # samples in, batches out
            batch_size=batch // self.launch.ranks,
            sampler=EpochSampler(cases, steps, batch, seed, epoch, share),
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.validation, batch_size=None, shuffle=False, collate_fn=_as_is)  # type: ignore[arg-type]  # a list

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        # Whole cases of the validation stay in main memory: tiles are moved one at a time.
        return batch.to(device) if isinstance(batch, Batch) else batch


def _as_is(sample: Sample) -> Sample:
    return sample
