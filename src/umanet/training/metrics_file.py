"""``metrics.csv`` of a run: a row per epoch, whole after every epoch and after a resume."""

import csv
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from umanet.data.files import replace_file

METRICS = "metrics.csv"
FIRST = ("step", "epoch")


class MetricsFile(Logger):
    """Everything that is logged at a step goes into its row: validation and training log apart.

    A resumed run goes on with the file; a step that is done again replaces its row.
    """

    def __init__(self, run: Path, steps_done: Callable[[], int]):
        super().__init__()
        # Lightning's own count of the steps that it logs is one too high after a resume.
        self.path, self.steps_done = run / METRICS, steps_done
        self.rows: dict[int, dict[str, Any]] = {}
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                self.rows = {int(row["step"]): row for row in csv.DictReader(file)}

    @property
    def name(self) -> str:
        return METRICS

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        done = self.steps_done()
        self.rows.setdefault(done, {}).update(metrics, step=done)
        names = sorted({name for row in self.rows.values() for name in row} - set(FIRST))
        text = StringIO()
        writer = csv.DictWriter(text, [*FIRST, *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows[number] for number in sorted(self.rows))
        replace_file(self.path, text.getvalue().encode())

    def log_hyperparams(self, *arguments: Any, **options: Any) -> None:
        """They are in ``run.toml``."""
