"""Does the rows of a suite that are not done yet, each in a process of its own: a crash loses one row."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from umanet.benchmark.cluster_rows import ClusterRows
from umanet.benchmark.inputs import require_inputs
from umanet.benchmark.plan import plan_rows, prepare_data, search_rows
from umanet.benchmark.process import Processes
from umanet.benchmark.processor import processor
from umanet.benchmark.row import RESULT, ROW, Row
from umanet.benchmark.state import DATA, LOCK, MADE_ON, ROWS, STATE, read_json, require_a_benchmark, require_same
from umanet.benchmark.suite import Suite
from umanet.benchmark.unfinished import remove_unfinished
from umanet.data.files import replace_file, what_to_do
from umanet.errors import ConfigError, OutputError, counted
from umanet.executor import INLINE, Executor

LOST = ("failed", "out of time")
"""States of rows that were to have a result: they may be done again."""
UNABLE = "not applicable"
"""State of a row whose method cannot do the task."""
Results = Sequence[tuple[Row, dict[str, Any]]]
"""Rows, and what ``result.json`` has of each."""
Doers = Processes | ClusterRows
Progress = Callable[[int, int, str], None]


def run_suite(
    suite: Suite,
    root: Path,
    output: Path,
    *,
    executor: Executor = INLINE,
    retry: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Do what is not done yet; start again to go on.

    Args:
        suite: What is compared.
        root: The folder that its paths are relative to.
        output: Data sets, rows and what they share.
        executor: How many rows at a time, one thread each; or the cluster that does them.
        retry: Also those that failed or took too long.
        progress: Called after every row with the numbers of done and of all rows, and the row.

    Returns:
        The rows of the comparison with their results, those that failed or are not applicable included.

    Raises:
        ConfigError: The output holds results of another suite or of other code, another process is at work in it, or
            a path is not there.
        OutputError: The output cannot be written to.
        ExecutorError: The workers' scheduler is gone, or they see another file system.
    """
    require_a_benchmark(output)
    require_inputs(suite, root)
    with _alone(output), _rows_at(executor) as (number, processes, where):
        for data in (output / DATA).glob("*"):
            remove_unfinished(data, "*", "dataset.json")
        state = require_same(suite, output)
        here = f"{where}, {counted(number, 'row')} at a time"
        state[MADE_ON] = list(dict.fromkeys([*state[MADE_ON], here]))
        replace_file(output / STATE, _json(state))
        prepare_data(suite, root, output, progress and (lambda done, total: progress(done, total, "data sets")))
        searched = search_rows(suite, output)
        total = len(plan_rows(suite, output)) + len(searched) - len({_whose(row) for row in searched})
        done: set[str] = set()

        def report(row: Row, status: str) -> None:
            done.add(row.key)
            if progress:
                progress(len(done), total, f"{row.key} {status}")

        given = output, suite, number, processes, report
        tried = _do(searched, *given, retry=retry)
        rows, untuned = _at_best_rates(suite, output, tried)
        return [*_with_lost_rates(_do(rows, *given, retry=retry), tried), *untuned]


@contextmanager
def _rows_at(executor: Executor) -> Iterator[tuple[int, Doers, str]]:
    """How many rows at a time, what does them, and on what."""
    if executor.scheduler is None:
        yield executor.workers, Processes(), processor()
        return
    from umanet.executor.cluster import connected  # here, as few need it

    with connected(executor.scheduler) as (number, do):
        yield number, ClusterRows(do), do(_processor, None, "the first")


def _processor(_: None) -> str:
    return processor()


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Two benchmarks in one folder would write the same rows. The lock of one that was killed is free."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = FileLock(output / LOCK).acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"Another benchmark, still running, found in {output}: two would write the same rows. Wait until it ends "
            "(--page-only shows what it has so far), or choose another --output."
        ) from None
    except OSError as error:
        raise OutputError(f"{output} could not be written: {error.strerror or error}. {what_to_do(error)}.") from None
    with held:
        yield


def done_rows(suite: Suite, output: Path) -> Results:
    """The rows that have a result, as they are; none of whom not all learning rates have been tried.

    Raises:
        ConfigError: As ``require_same``, or there is no such folder.
    """
    if not (output / STATE).exists():
        raise ConfigError(f"No {STATE} found in {output}, that of a benchmark expected. Check --output.")
    require_same(suite, output)
    searched = search_rows(suite, output)
    tried = _present(searched, output)
    lacking = Counter(_whose(row) for row in searched)
    lacking -= Counter(_whose(row) for row, _ in tried)
    tried = [(row, result) for row, result in tried if _whose(row) not in lacking]
    rows, untuned = _at_best_rates(suite, output, tried)
    done = _present([row for row in rows if _whose(row) not in lacking], output)
    return [*_with_lost_rates(done, tried), *untuned]


def _whose(row: Row) -> tuple[str, str]:
    """Data and contestant, which share a learning rate."""
    return row.data, row.contestant


def _at_best_rates(suite: Suite, output: Path, tried: Results) -> tuple[list[Row], Results]:
    """The rows of the comparison, and those that have no rate, with that as their result."""
    best = _best_rates(tried)
    rows = plan_rows(suite, output, best)
    untuned = {_whose(row) for row, result in tried if result["status"] in LOST} - best.keys()
    why = "No learning rate that was tried has a result. The log.txt of these rows has why; mend that, then --retry."
    failed = [(row, {"status": "failed", "why": why}) for row in rows if _whose(row) in untuned]
    return [row for row in rows if _whose(row) not in untuned], failed


def _with_lost_rates(found: Results, tried: Results) -> Results:
    """With the rates that have no result, where there are any."""
    lost: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for row, result in tried:
        if result["status"] in LOST:
            lost[_whose(row)].append(row.learning_rate)
    return [
        (row, result | {"lost_rates": lost[_whose(row)]} if _whose(row) in lost else result) for row, result in found
    ]


def _present(rows: Sequence[Row], output: Path) -> Results:
    for row in rows:
        _require_same_row(row, output / ROWS / row.key)
    paths = ((row, output / ROWS / row.key / RESULT) for row in rows)
    return [(row, read_json(path)) for row, path in paths if path.exists()]


def _require_same_row(row: Row, folder: Path) -> None:
    """Refuse the result of a row that was another one: a variant or data set with other settings then."""
    if (folder / ROW).exists():
        before = read_json(folder / ROW)
        now = json.loads(json.dumps(asdict(row)))
        other = next((key for key in now if key != "dataset" and before.get(key) != now[key]), None)
        if other is not None:
            raise ConfigError(
                f"A row with another {other} found in {folder}: {before.get(other)}; {now[other]} expected. Give the "
                "variant another name, choose another --output, or remove the row."
            )


def _do(
    rows: Sequence[Row],
    output: Path,
    suite: Suite,
    number: int,
    processes: Doers,
    report: Callable[[Row, str], None],
    *,
    retry: bool,
) -> Results:
    for row in rows:
        _require_same_row(row, output / ROWS / row.key)
    found: dict[str, dict[str, Any]] = {}
    pool, done = ThreadPoolExecutor(number), False
    given = processes, 60 * suite.minutes
    try:
        waiting = {pool.submit(_result, row, output / ROWS / row.key, *given, retry=retry): row for row in rows}
        for future in as_completed(waiting):
            row = waiting[future]
            found[row.key] = future.result()
            report(row, found[row.key]["status"])
        done = True
    finally:  # Ctrl-C above all: nothing more begins, and what runs is stopped without a result
        pool.shutdown(wait=False, cancel_futures=True)
        if not done:
            processes.stop()
    return [(row, found[row.key]) for row in rows]


def _result(row: Row, folder: Path, processes: Doers, seconds: float, *, retry: bool) -> dict[str, Any]:
    result = folder / RESULT
    if result.exists():
        before = read_json(result)
        if not (retry and before["status"] in LOST):
            return before
        result.unlink()
    row.write(folder)
    exit_code = processes.do(folder, seconds)
    if exit_code is None:
        why = f"Stopped after {seconds / 60:g} minutes. Raise `minutes` or lower --processes, then --retry."
        return _note(result, "out of time", why)
    if not result.exists():
        killed = "killed, perhaps for want of memory" if exit_code < 0 else "it ended without a result"
        said = f"{folder / 'log.txt'} has what it said. Mend that, or lower --processes, then --retry."
        return _note(result, "failed", f"Exit code {exit_code}: {killed}; {said}")
    return read_json(result)


def _note(result: Path, status: str, why: str) -> dict[str, Any]:
    found = {"status": status, "why": why}
    replace_file(result, _json(found))
    return found


def _best_rates(tried: Results) -> dict[tuple[str, str], float]:
    """By data and contestant: the rate with the highest ``validation_score``."""
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for row, result in tried:
        score = result.get("validation")
        if score is not None and not math.isnan(score) and row.learning_rate is not None:
            key = _whose(row)
            best[key] = max(best.get(key, (score, 0.0)), (score, row.learning_rate))
    return {key: rate for key, (_, rate) in best.items()}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
