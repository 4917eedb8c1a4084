"""``metrics.csv`` of a run, which a resumed run goes on with."""

import csv
import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

from umanet.data.files import replace_file

METRICS = "metrics.csv"


def metrics_logger(run: Path) -> CSVLogger:
    """Lightning's logger, without its habit of deleting (and warning of) what the run has logged before a resume."""
    path = run / METRICS
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    logger = CSVLogger(run, name=None, version="", flush_logs_every_n_steps=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Experiment logs directory")
        writer = logger.experiment
    if before:
        replace_file(path, before.encode())
        writer.metrics_keys = next(csv.reader(before.splitlines()))
    return logger
