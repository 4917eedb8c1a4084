"""Rows on the workers of a Dask scheduler, each in a process of its own there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from umanet.benchmark.row import ROW
from umanet.errors import ExecutorError, Interrupted

MODULE = ("-m", "umanet.benchmark.process")


class ClusterRows:
    """As ``Processes``, elsewhere.

    Args:
        do: Does something on a worker and waits for it, as ``executor.cluster.connected`` gives it.
    """

    def __init__(self, do: Callable[[Callable[[Any], Any], Any, str], Any]):
        self._do, self._stopped = do, False

    def do(self, folder: Path, seconds: float) -> int | None:
        """As of ``Processes``. Where the worker dies, another one goes on with the row.

        Raises:
            ExecutorError: The scheduler is lost, or the worker sees another file system.
            Interrupted: ``stop`` was called.
        """
        if self._stopped:
            raise Interrupted(f"The row in {folder} was not begun. Start again to go on.")
        return self._do(row_there, (folder.resolve(), seconds), folder.name)

    def stop(self) -> None:
        """Begin no more. Those that run on workers end there; a later benchmark waits for them."""
        self._stopped = True


def row_there(item: tuple[Path, float]) -> int | None:
    """In a worker, which may be one that must not have children of Python's own kind.

    The process ends with this one: it reads from a pipe that then closes.
    """
    folder, seconds = item
    if not (folder / ROW).is_file():
        raise ExecutorError(
            f"No {folder / ROW} found by a worker, that of the benchmark expected there, too. Choose an output on a "
            "file system that all machines share under one path."
        )
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *MODULE, str(folder)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
            process.communicate()  # closes the pipe, too
