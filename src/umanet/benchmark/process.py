"""A process for every row, forked from one that has imported everything: imports take as long as a short training."""

import os
from functools import cache
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

IMPORTED = ("umanet.benchmark.check", "umanet.benchmark.grades", "umanet.benchmark.validation", "umanet.evaluation",
            "umanet.inference.predict", "umanet.methods", "umanet.training", "lightning", "tensorboard")  # fmt: skip


def do_in_process(folder: Path, seconds: float) -> int | None:
    """Do the row in ``folder`` in a process of its own, which writes ``log.txt``.

    Returns:
        Its exit code, negative where a signal ended it; None where it took longer than ``seconds`` and was stopped.
    """
    process = _context().Process(target=_do, args=(folder,))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


@cache
def _context() -> Any:
    os.environ["OMP_NUM_THREADS"] = "1"  # what is imported there reads it
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def _do(folder: Path) -> None:
    from umanet.benchmark.row import do_and_write

    with (folder / "log.txt").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        do_and_write(folder)
