"""The flags of every command that works on many cases at a time."""

from dataclasses import dataclass

from umanet.executor import Executor


@dataclass(frozen=True, kw_only=True)
class CaseParallel:
    """Commands inherit the flags; what they write does not depend on them."""

    workers: int | None = None
    """Processes that work on cases, one thread each; fewer where memory is short. Default: no process but this one, as
    each takes seconds to start and about 0.5 GB."""
    scheduler: str | None = None
    """Address of a Dask scheduler, as tcp://HOST:8786: its workers do the cases. All files must lie on a file system
    that they share. Needs umanet[cluster]."""

    def executor(self) -> Executor:
        """Raises: ConfigError: No worker, or both flags."""
        return Executor(1 if self.workers is None else self.workers, self.scheduler)
