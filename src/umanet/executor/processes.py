"""Cases in several processes of this machine. A process that dies costs time, no case."""

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

from umanet.errors import ExecutorError, counted
from umanet.executor.outcome import attempt

AHEAD = 4
"""Cases per worker that are begun or done before the first of them was asked for: so many results are in memory."""
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
log = logging.getLogger("umanet")


@dataclass
class Task:
    """A case that is not delivered yet.

    Attributes:
        name: Of the case.
        item: What the function takes.
        future: None where no pool has it.
        losses: How many workers died while they may have been at it.
    """

    name: str
    item: Any
    future: Future[Any] | None = None
    losses: int = 0


def in_processes(
    function: Callable[[Any], Any], items: Sequence[Any], names: Sequence[str], workers: int
) -> Generator[Any, None, None]:
    """The results, in order. Where a worker dies, what ran is done again, by half as many.

    Raises:
        ExecutorError: A case whose worker died once has it die again with no other beside it.
    """
    coming = (Task(name, item) for name, item in zip(names, items, strict=True))
    tasks: deque[Task] = deque()
    pool = _pool(workers)
    try:
        while True:
            tasks.extend(islice(coming, max(0, AHEAD * workers - len(tasks))))
            if not tasks:
                return
            try:
                for task in tasks:
                    if task.future is None:
                        with _spawning():
                            task.future = pool.submit(attempt, function, task.item)
                assert tasks[0].future is not None  # submitted above
                outcome = tasks[0].future.result()
            except BrokenProcessPool:
                _stop(pool)
                workers = _after_a_loss(tasks, workers)
                pool = _pool(workers)
                continue
            tasks.popleft()
            yield outcome.deliver()
    finally:
        _stop(pool)


def _after_a_loss(tasks: deque[Task], workers: int) -> int:
    """How many go on. What is done stays; the first of the rest were being worked on, one by each worker."""
    rest = [task for task in tasks if task.future is None or not task.future.done() or task.future.exception()]
    for task in rest:
        task.future = None
    suspects = rest[:workers]
    for task in suspects:
        task.losses += 1
        if workers == 1 and task.losses > 1:
            raise ExecutorError(
                f"A worker that died twice at case {task.name!r}, the last time with no other beside it, found; one "
                "that ends by itself expected. It is short of memory (see what the system logged), or the files of "
                "the case crash a reader: try it with --workers 1. (A script of yours must call it under "
                "if __name__ == '__main__', as workers import the script.)"
            )
    left = max(1, workers // 2)
    log.warning(
        "A worker died, perhaps for want of memory: %s done again, by %s.",
        f"{counted(len(suspects), 'case')} {'is' if len(suspects) == 1 else 'are'}",
        counted(left, "worker"),
    )
    return left


def _pool(workers: int) -> ProcessPoolExecutor:
    """Spawned, not forked: threads of this process (torch, readers) may hold locks."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    import torch  # here, in the worker

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _spawning() -> Iterator[None]:
    """What is started in the block takes one thread, and leaves Ctrl-C to this process, which then stops it."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    masks = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _stop(pool: ProcessPoolExecutor) -> None:
    """Now, whatever they are at: when this returns, nobody writes any more."""
    # Python has `kill_workers` from 3.14 on.
    processes = tuple((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    pool.shutdown(wait=True)
