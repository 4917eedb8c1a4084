"""Cases on the workers of a Dask scheduler: other processes, or other machines that share a file system."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from typing import Any

from umanet.errors import ConfigError, ExecutorError
from umanet.executor.outcome import Outcome, attempt

PATIENCE = 10
"""Seconds for the scheduler to answer."""
RETRIES = 2
"""Of what Dask itself fails at. A lost worker's cases it gives to another anyway; our own errors are results to it."""
AHEAD, AT_LEAST = 4, 32
"""Cases that are handed over before the first of them is needed: per thread of the cluster, and in all."""
_one_at_a_time = threading.Lock()
log = logging.getLogger("umanet")


def on_cluster(
    function: Callable[[Any], Any], items: Sequence[Any], names: Sequence[str], address: str
) -> Generator[Any, None, None]:
    """The results, in order.

    Raises:
        ConfigError: Dask is not installed, or the address is none.
        ExecutorError: Nobody answers, the scheduler is lost, or a case kills every worker that it is given to.
    """
    with _quiet(), _connected(address) as client:
        ahead = max(AT_LEAST, AHEAD * _threads(client, address))
        # pure=False: what was computed before is not taken again, as files may have changed.
        executor = client.get_executor(pure=False, retries=RETRIES)
        umanet = version("umanet")
        coming = zip(names, items, strict=True)
        waiting: deque[tuple[str, Future[Outcome]]] = deque()
        try:
            while True:
                for name, item in islice(coming, ahead - len(waiting)):
                    waiting.append((name, executor.submit(do_case, umanet, function, item)))
                if not waiting:
                    return
                yield _result(*waiting.popleft(), address).deliver()
        finally:
            executor.shutdown(wait=False)  # cancels what is left


@contextmanager
def connected(address: str) -> Iterator[tuple[int, Callable[[Callable[[Any], Any], Any, str], Any]]]:
    """How many cases run at a time there, and what does one and waits for it: from several threads, in any order.

    It takes a function, what that takes, and the name of the case.

    Raises:
        ConfigError, ExecutorError: As ``on_cluster``.
    """
    with _quiet(), _connected(address) as client:
        executor, umanet = client.get_executor(pure=False, retries=RETRIES), version("umanet")

        def do(function: Callable[[Any], Any], item: Any, name: str) -> Any:
            return _result(name, executor.submit(do_case, umanet, function, item), address).deliver()

        try:
            yield _threads(client, address), do
        finally:
            executor.shutdown(wait=False)


def do_case(umanet: str, function: Callable[[Any], Any], item: Any) -> Outcome:
    """In a worker. One case at a time: what is logged and how many threads torch takes are of the whole process."""
    import torch  # here, in the worker

    if version("umanet") != umanet:
        raise ExecutorError(f"umanet {version('umanet')} found on a worker, {umanet} expected. Install the same there.")
    with _one_at_a_time:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return attempt(function, item)
        finally:
            torch.set_num_threads(threads)


def _result(name: str, future: Future[Outcome], address: str) -> Outcome:
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except CancelledError:
        raise ExecutorError(
            f"The scheduler at {address} was lost at case {name!r}; one that stays until the end expected. Start it "
            "again, then the command."
        ) from None
    except KilledWorker as error:
        raise ExecutorError(
            f"Every worker that case {name!r} was given to died ({error.last_worker.address} last); one that ends by "
            "itself expected. Give workers more memory (--memory-limit), or see their logs."
        ) from None
    except ExecutorError:
        raise
    except Exception as error:  # what workers cannot import or unpack, in whatever words
        raise ExecutorError(
            f"Case {name!r} could not be done at {address} ({type(error).__name__}: {error}). Install the same umanet "
            "for scheduler and workers as here."
        ) from error


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            f"--scheduler {address} found, but Dask, which it takes, is not installed. Run pip install "
            "'umanet[cluster]', or leave it out."
        ) from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ExecutorError(
            f"No scheduler found at {address} ({' '.join(str(error).split())}), one as `dask scheduler` starts it "
            "expected, in the form tcp://HOST:8786. Start it, or mend --scheduler."
        ) from None
    try:
        yield client
    finally:
        client.close(timeout=PATIENCE)


def _threads(client: Any, address: str) -> int:
    """Of all workers; says what a user may wonder about."""
    threads = client.nthreads()
    if not threads:
        log.warning("No worker is connected to %s yet: waiting for the first one.", address)
        client.wait_for_workers(1)
        threads = client.nthreads()
    if any(number > 1 for number in threads.values()):
        log.warning("Workers at %s have several threads, of which one is used: start them with --nthreads 1.", address)
    return len(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what Dask logs about connections: what matters is an error of ours."""
    handlers = logging.getLogger("distributed").handlers
    before = [(handler, handler.level) for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in before:
            handler.setLevel(level)
