from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from umanet.cli.terminal import command, progress, say
from umanet.errors import ConfigError, UmanetError
from umanet.executor import Executor

SHOWN = 3
"""Rows without a result whose reason is said; the page has all."""


@dataclass(frozen=True)
class Benchmark:
    """Compare methods on the same data, splits, budget and metrics. Start again to go on."""

    suite: tyro.conf.Positional[Path]
    """A suite.toml."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for data sets, runs and results."""
    root: Path | None = None
    """Folder that the paths in the suite are relative to. Default: that of the suite."""
    processes: Annotated[int, tyro.conf.arg(aliases=["--workers"])] = 1
    """Rows at a time, one thread each."""
    scheduler: str | None = None
    """Address of a Dask scheduler, as tcp://HOST:8786: each of its workers does a row at a time. The output must lie on
    a file system that they share. Needs umanet[cluster]."""
    retry: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also do again what failed or took too long."""
    page_only: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write the page of the rows that are done, and do none."""

    def run(self) -> None:
        from umanet.benchmark.page import progress_of, write_results
        from umanet.benchmark.run import LOST, UNABLE, done_rows, run_suite
        from umanet.benchmark.state import made_on
        from umanet.benchmark.suite import read_suite

        if self.processes < 1:
            raise ConfigError(f"--processes {self.processes} found, at least 1 expected. Mend it.")
        executor = Executor(self.processes, self.scheduler)
        suite = read_suite(self.suite)
        root = self.suite.parent if self.root is None else self.root
        if self.page_only:
            results = done_rows(suite, self.output)
        else:
            try:
                with progress("Benchmark") as report:
                    results = run_suite(suite, root, self.output, executor=executor, retry=self.retry, progress=report)
            except KeyboardInterrupt:
                say("The same command goes on with the rows that are not done.")
                raise
        rooted = [] if self.root is None else ["--root", self.root]
        made_by = command("benchmark", self.suite, "-o", self.output, *rooted)
        page = write_results(suite, results, self.output, made_by, made_on(self.output))
        none = not any(result["status"] == "done" for _, result in results)
        lost = [(row, result["why"]) for row, result in results if result["status"] in LOST or none]
        for row, why in lost[:SHOWN]:
            say(f"{row.key}: {why.splitlines()[0] if why else 'no reason'}")
        if not none:
            unable = {(row.contestant, row.data): one["why"] for row, one in results if one["status"] == UNABLE}
            for (name, data), why in unable.items():
                say(f"{name} is not applicable to {data}: {why}")
        say(f"{progress_of(suite, results)}: {page}, {self.output / 'results.csv'}.")
        if results and none:
            raise UmanetError(f"No row has a result. {page} has why.")
