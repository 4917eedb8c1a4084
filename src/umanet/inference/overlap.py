"""Reading, computing and writing at the same time."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Computed = TypeVar("Computed")
Written = TypeVar("Written")
NO_MORE = object()


def overlapped(
    items: Iterator[Item],
    compute: Callable[[Item], Computed],
    write: Callable[[Computed], Written],
    *,
    alone: Callable[[Item], bool],
) -> Generator[Written, None, None]:
    """``write(compute(item))`` of one item after the other, in order.

    While one is computed, by the calling thread, the next is read by a second and the last written by a third: files
    are packed and unpacked outside Python's lock. So there are three in memory, but for items that are to be ``alone``:
    while one of these is there, nothing else is read or written. An error of any thread is raised in its turn; when the
    generator ends or is closed, no thread works any more.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def ahead() -> Future[Any]:
            return reader.submit(next, items, NO_MORE)

        coming, last = [ahead()], list[Future[Written]]()
        while (item := _next(coming, last)) is not NO_MORE:
            single = alone(item)
            if single:
                yield from _results(last)
            else:
                coming.append(ahead())
            computed = compute(item)
            del item
            yield from _results(last)
            last.append(writer.submit(_without_gradients, write, computed))
            del computed
            if single:
                yield from _results(last)
                coming.append(ahead())
        yield from _results(last)


def _next(coming: list[Future[Any]], last: list[Future[Any]]) -> Any:
    """Popped, as a future holds what it gave. An error of what was to be written before comes first."""
    try:
        return coming.pop().result()
    except BaseException:
        for future in last:
            future.result()
        raise


def _without_gradients(write: Callable[[Computed], Written], computed: Computed) -> Written:
    """What torch is told of gradients counts in one thread only."""
    with torch.inference_mode():
        return write(computed)


def _results(futures: list[Future[Written]]) -> Iterator[Written]:
    while futures:
        yield futures.pop().result()
