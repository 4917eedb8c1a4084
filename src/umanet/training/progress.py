"""How far a training is, for whoever shows it."""

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from umanet.training.module import VALIDATION_METRIC

# Reading a loss waits for the device: not at every step.
SECONDS_BETWEEN = 0.3


class StepReports(pl.Callback):
    """Calls ``report(step, steps, note)`` a few times a second and at the end.

    The note holds the last step's loss and, once there has been a validation, its soft Dice.
    """

    def __init__(self, report: Callable[[int, int, str], object]):
        self.report = report
        self._due = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, steps = trainer.global_step, trainer.max_steps
        if time.monotonic() < self._due and step < steps:
            return
        self._due = time.monotonic() + SECONDS_BETWEEN
        note = f"loss {float(outputs['loss']):.3f}"
        if VALIDATION_METRIC in trainer.callback_metrics:
            note += f", soft Dice {float(trainer.callback_metrics[VALIDATION_METRIC]):.3f}"
        self.report(step, steps, note)
