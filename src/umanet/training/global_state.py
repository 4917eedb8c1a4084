"""What training changes in the whole process, put back."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

SEED_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
"""Where Lightning notes the seed that it was given."""


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
