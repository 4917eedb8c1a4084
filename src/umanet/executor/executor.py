"""Where the cases of a command are worked on."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from umanet.errors import ConfigError


@dataclass(frozen=True)
class Executor:
    """Maps a function over cases.

    Attributes:
        workers: Processes; with 1, this one does it all.
        scheduler: Address of a Dask scheduler, whose workers then do the cases.
    """

    workers: int = 1
    scheduler: str | None = None

    def __post_init__(self):
        if self.workers < 1:
            raise ConfigError(f"--workers {self.workers} found, at least 1 expected. Mend it.")
        if self.scheduler is not None and self.workers > 1:
            raise ConfigError(
                f"--workers {self.workers} and --scheduler {self.scheduler} found, one of them expected: a cluster has "
                "workers of its own. Leave one out."
            )

    @property
    def elsewhere(self) -> bool:
        """Whether other processes do the work: what they need is then sent to them, and should be small."""
        return self.workers > 1 or self.scheduler is not None

    @contextmanager
    def map(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        names: Iterable[str],
        stored: Callable[[], int] = lambda: 0,
    ) -> Iterator[Iterator[Any]]:
        """Gives the results of ``function(item)``, in order and each once, as they are asked for.

        Leaving the block early, Ctrl-C included, stops what runs. The error of a case is raised where its result would
        have come. A case whose worker dies is tried again.

        Args:
            function: Where it is done ``elsewhere``, from the top of a module (or a ``partial`` of one).
            items: One per case.
            names: Of the cases, for messages.
            stored: Gives the bytes of the largest case as stored, to guess the memory that a worker takes.

        Raises:
            ConfigError: The package for a cluster is not installed.
            ExecutorError: The scheduler is gone, or a case cannot be done as its worker dies each time.
        """
        if self.scheduler is not None:
            from umanet.executor.cluster import on_cluster  # here, as commands that are not parallel need none of it

            results = on_cluster(function, items, list(names), self.scheduler)
        elif self.workers > 1 and len(items) > 1:
            from umanet.executor.memory import that_fit
            from umanet.executor.processes import in_processes

            workers = that_fit(min(self.workers, len(items)), stored())
            results = in_processes(function, items, list(names), workers)
        else:
            results = _one_by_one(function, items)
        with closing(results):
            yield results


def _one_by_one(function: Callable[[Any], Any], items: Sequence[Any]) -> Generator[Any, None, None]:
    for item in items:
        yield function(item)


INLINE = Executor()
"""All in this process."""
