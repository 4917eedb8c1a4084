"""What training changes in the whole process, put back."""

import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

SEED_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
"""Where Lightning notes the seed that it was given."""
CHATTY = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.fabric.utilities.distributed",
)
"""Lightning's advertisements and greetings. Its top logger is no use: importing Lightning sets that one's level."""


@contextmanager
def global_state_put_back() -> Iterator[None]:
    """On leaving, also by an error, torch's number of threads and the random states of Python, NumPy and torch are as
    before.
    """
    threads, of_python, of_numpy = torch.get_num_threads(), random.getstate(), np.random.get_state()
    variables = {name: os.environ.get(name) for name in SEED_VARIABLES}
    # Asking a CUDA device for its state would start it up.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def lightning_quiet() -> Iterator[None]:
    """Lightning greets nobody, and does not warn of its own deprecated calls or advise on workers and folders."""
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            for name in CHATTY:
                logging.getLogger(name).setLevel(logging.WARNING)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
