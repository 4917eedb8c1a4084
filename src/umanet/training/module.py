"""The only LightningModule: any method, trained with AdamW on a one-cycle schedule, validated by soft Dice."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from umanet.config import DataOptions, TrainerOptions
from umanet.errors import RunError
from umanet.inference.tiles import run_in_tiles
from umanet.methods import Method
from umanet.metrics import soft_dice
from umanet.ranks import over_ranks, ranks
from umanet.types import IGNORE, Batch, Sample

VALIDATION_METRIC = "validation/soft_dice"


class TrainingModule(pl.LightningModule):
    """Runs a method. Logs every loss term and, once an epoch, what the method has to say of its training."""

    def __init__(
        self,
        method: Method,
        trainer: TrainerOptions,
        data: DataOptions,
        drawn: tuple[tuple[int, ...], ...] = (),
        seed: int = 0,
    ):
        super().__init__()
        self.method, self.options, self.data, self.drawn, self.seed = method, trainer, data, drawn, seed
        self.scores: list[float] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What a method draws depends on the seed and the step alone, so that a resumed run draws the same."""
        of_rank = [self.global_rank] if self.global_rank else []
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.global_step, *of_rank]).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        terms = self.method.loss(batch, self.global_step / self.options.max_steps)
        total = torch.stack(list(terms.values())).sum()
        self._refuse_no_number(total, terms)
        self.log_dict(
            {f"loss/{name}": term.detach() for name, term in terms.items()} | {"loss/total": total.detach()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch.image),
            sync_dist=ranks() > 1,
        )
        return total

    def _refuse_no_number(self, total: Tensor, terms: dict[str, Tensor]) -> None:
        if not total.isfinite():
            bad = [name for name, term in terms.items() if not term.isfinite()] or ["total"]
            raise RunError(
                f"A loss of {float(total.detach())} found ({', '.join(bad)}), a finite one expected, at step "
                f"{self.global_step + 1} of {self.options.max_steps}. Train with a smaller --trainer.learning-rate, or "
                "with --trainer.precision 32. A checkpoint that had been written is kept."
            )

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.global_step >= self.options.max_steps:
            # An epoch that is cut short here is then validated too; there is nothing left to stop.
            self.trainer.should_stop = True

    def validation_step(self, sample: Sample, batch_idx: int) -> None:
        """Soft Dice (RIGA thresholds) of a held-out case against its annotations, on the working grid.

        Of every class against those who draw it, without voxels that any annotation ignores.
        """
        image = sample.image[None]
        patch = self.data.patch or tuple(image.shape[2:])
        probabilities = run_in_tiles(lambda tile: self.method.predict(tile).probabilities, image, patch, self.device)[0]
        heard = ~(sample.annotations == IGNORE)[sample.present].any(0)
        scores = []
        for k in range(1, len(probabilities)):
            draws = torch.tensor([not self.drawn or k in classes for classes in self.drawn or sample.present])
            draws &= sample.present
            if draws.any():
                masks, own = (sample.annotations == k) & heard, probabilities[k] * heard
                scores.append(soft_dice(own.numpy(), masks.numpy(), draws.numpy()))
        if scores:
            self.scores.append(float(np.mean(scores)))

    def on_validation_epoch_end(self) -> None:
        total, cases = over_ranks(torch.tensor([sum(self.scores), len(self.scores)], device=self.device))
        self.scores.clear()
        if cases > 0:
            self.log(VALIDATION_METRIC, total / cases, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        self.log_dict({name: float(value) for name, value in self.method.monitor().items()})

    def configure_optimizers(self) -> Any:
        options = self.options
        optimizer = torch.optim.AdamW(
            self.method.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, options.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
