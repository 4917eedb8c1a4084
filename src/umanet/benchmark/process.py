"""A process for every row, forked from one that has imported everything: imports take as long as a short training."""

import multiprocessing
import os
import sys
import threading
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from filelock import FileLock

from umanet.errors import Interrupted

IMPORTED = ("umanet.benchmark.check", "umanet.benchmark.grades", "umanet.benchmark.validation", "umanet.evaluation",
            "umanet.inference.predict", "umanet.methods", "umanet.training", "lightning", "tensorboard")  # fmt: skip


class Processes:
    """Those of the rows that are being done."""

    def __init__(self):
        self._live: set[Any] = set()
        self._stopped = False

    def do(self, folder: Path, seconds: float) -> int | None:
        """Do the row in ``folder`` in a process of its own, which writes ``log.txt``.

        Returns:
            Its exit code, negative where a signal ended it; None where it took longer than ``seconds`` and was killed.

        Raises:
            Interrupted: ``stop`` was called.
        """
        process = _context().Process(target=_do, args=(folder,))
        process.start()
        self._live.add(process)
        if self._stopped:
            process.kill()
        process.join(seconds)
        too_long = process.is_alive()
        if too_long:
            process.kill()
            process.join()
        self._live.discard(process)
        if self._stopped:
            raise Interrupted(f"The row in {folder} was stopped. Start again to go on.")
        return None if too_long else process.exitcode

    def stop(self) -> None:
        """Kill them, now and those still to come; what they have saved stays."""
        self._stopped = True
        for process in tuple(self._live):
            process.kill()


@cache
def _context() -> Any:
    os.environ["OMP_NUM_THREADS"] = "1"  # what is imported there reads it
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def _do(folder: Path) -> None:
    from umanet.benchmark.row import do_and_write

    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the parent, which then stops this process
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with (folder / "log.txt").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        do_and_write(folder)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child
    wait([parent.sentinel])
    os._exit(1)


def _alone(folder: Path) -> None:
    """The row in ``folder``, in a process that nobody forked; it ends where its standard input does."""
    from umanet.benchmark.row import RESULT, do_and_write

    threading.Thread(target=_end_with_the_input, daemon=True).start()
    with FileLock(folder / "row.lock"):  # another worker, or an earlier benchmark, may still be at it
        if not (folder / RESULT).exists():
            do_and_write(folder)


def _end_with_the_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _alone(Path(sys.argv[1]))
