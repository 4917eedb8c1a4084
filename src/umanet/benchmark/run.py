"""Does the rows of a suite that are not done yet, each in a process of its own: a crash loses one row."""

import json
import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from umanet.benchmark.digest import code_digest, method_digest
from umanet.benchmark.plan import plan_rows, prepare_data, search_rows
from umanet.benchmark.process import Processes
from umanet.benchmark.processor import processor
from umanet.benchmark.row import RESULT, ROW, Row
from umanet.benchmark.suite import Suite
from umanet.data.files import replace_file, what_to_do
from umanet.errors import ConfigError, OutputError, counted
from umanet.method_options import EnsembleOptions

DATA, ROWS, STATE, LOCK = "data", "rows", "suite.json", ".lock"
LIBRARIES = ("lightning", "monai", "numpy", "torch")
"""What all results depend on, beside the code of the package."""
MADE_ON, UNKNOWN = "made on", "a machine that was not written down"
LOST = ("failed", "out of time")
"""States of rows that were to have a result: they may be done again."""
Results = Sequence[tuple[Row, dict[str, Any]]]
"""Rows, and what ``result.json`` has of each."""
Progress = Callable[[int, int, str], None]


def run_suite(
    suite: Suite, root: Path, output: Path, *, processes: int = 1, retry: bool = False, progress: Progress | None = None
) -> Results:
    """Do what is not done yet; start again to go on.

    Args:
        suite: What is compared.
        root: The folder that its paths are relative to.
        output: Data sets, rows and what they share.
        processes: Rows at a time, one thread each.
        retry: Also those that failed or took too long.
        progress: Called after every row with the numbers of done and of all rows, and the row.

    Returns:
        The rows of the comparison with their results, those that failed or are not applicable included.

    Raises:
        ConfigError: The output holds results of another suite or of other code, another process is at work in it, or
            a path is not there.
        OutputError: The output cannot be written to.
    """
    with _alone(output):
        state = require_same(suite, output)
        here = f"{processor()}, {counted(processes, 'row')} at a time"
        state[MADE_ON] = list(dict.fromkeys([*state[MADE_ON], here]))
        replace_file(output / STATE, _json(state))
        for data in (output / DATA).glob("*"):
            _remove_unfinished(data, "*", "dataset.json")
        prepare_data(suite, root, output, progress and (lambda done, total: progress(done, total, "data sets")))
        given = output, suite, processes, progress
        tried = _do(search_rows(suite, output), *given, retry=retry)
        rows, untuned = _at_best_rates(suite, output, tried)
        return [*_with_lost_rates(_do(rows, *given, retry=retry), tried), *untuned]


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Two benchmarks in one folder would write the same rows. The lock of one that was killed is free."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = FileLock(output / LOCK).acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"A benchmark that is running found in {output}, none expected: two would write the same rows. Wait until "
            "it ends (--page-only shows what it has so far), or choose another --output."
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
    return [(row, json.loads(path.read_text(encoding="utf-8"))) for row, path in paths if path.exists()]


def made_on(output: Path) -> list[str]:
    """The machines that a benchmark's rows were made on."""
    return json.loads((output / STATE).read_text(encoding="utf-8")).get(MADE_ON, [UNKNOWN])


def require_same(suite: Suite, output: Path) -> dict[str, Any]:
    """Refuse results of another suite or other code; returns what is to be written down of both.

    A suite may grow: further seeds, methods, variants, scenarios, metrics, data, learning rates and time change no row
    that is done. What was written down binds as far as something was made of it.

    Raises:
        ConfigError: As said.
    """
    path = output / STATE
    parts = {
        "code of": {name: method_digest(name) for name in sorted(suite.taught)},
        "version of": {name: version(name) for name in LIBRARIES},
        "data": {one.name: one.model_dump(mode="json", exclude={"scenarios", "metrics"}) for one in suite.data},
    }
    state = {"code": code_digest(), "name": suite.name, "config": dict(suite.config), **parts, MADE_ON: []}
    state = json.loads(_json(state))
    made = {folder.name for part in (DATA, ROWS) for folder in (output / part).glob("*")}
    if not path.exists() and any((output / ROWS).glob("*")):
        raise ConfigError(
            f"Rows without their {STATE} found in {output}: nothing says which code made them. Choose another "
            f"--output, or put {STATE} back."
        )
    if not made or not path.exists():
        return state
    before = json.loads(path.read_text(encoding="utf-8"))
    bound = {"code of": _taught_in(output), "version of": {*LIBRARIES}, "data": made}
    other = [f"another {key}" for key in ("code", "name", "config") if before.get(key) != state[key]]
    for key, names in bound.items():
        known = before.get(key, {})
        other += [
            f"{'another' if name in known else 'an unknown'} {key} {name}"
            for name, value in state[key].items()
            if name in names and known.get(name) != value
        ]
        state[key] = {name: value for name, value in known.items() if name in names} | state[key]
    if other:
        raise ConfigError(
            f"Results with {other[0]} found in {output}, the same expected: results of two are never mixed. Choose "
            "another --output, or go back to what made them."
        )
    return state | {MADE_ON: made_on(output)}


def _taught_in(output: Path) -> set[str]:
    """The methods of its rows. Of others nothing was made: who removes the rows of a method may do them again."""
    names: set[str] = set()
    for path in (output / ROWS).rglob(ROW):
        row = json.loads(path.read_text(encoding="utf-8"))
        names |= {row["method"], row.get("consensus_of") or row["method"]}
        if row["method"] == "ensemble":
            names.add(EnsembleOptions.model_validate(row["config"].get("ensemble", {})).of)
    return names


def _require_same_row(row: Row, folder: Path) -> None:
    """Refuse the result of a row that was another one: a variant or data set with other settings then."""
    if (folder / ROW).exists():
        before = json.loads((folder / ROW).read_text(encoding="utf-8"))
        now = json.loads(json.dumps(asdict(row)))
        other = next((key for key in now if key != "dataset" and before.get(key) != now[key]), None)
        if other is not None:
            raise ConfigError(
                f"A row with another {other} found in {folder}: {before.get(other)}; {now[other]} expected. Give the "
                "variant another name, choose another --output, or remove the row."
            )


def _do(
    rows: Sequence[Row], output: Path, suite: Suite, number: int, progress: Progress | None, *, retry: bool
) -> Results:
    for row in rows:
        _require_same_row(row, output / ROWS / row.key)
    found: dict[str, dict[str, Any]] = {}
    processes, pool = Processes(), ThreadPoolExecutor(number)
    given = processes, 60 * suite.minutes
    try:
        waiting = {pool.submit(_result, row, output / ROWS / row.key, *given, retry=retry): row for row in rows}
        for done, future in enumerate(as_completed(waiting), start=1):
            row = waiting[future]
            found[row.key] = future.result()
            if progress:
                progress(done, len(rows), f"{row.key} {found[row.key]['status']}")
    finally:  # Ctrl-C above all: nothing more begins, and what runs is stopped without a result
        pool.shutdown(wait=False, cancel_futures=True)
        processes.stop()
    return [(row, found[row.key]) for row in rows]


def _result(row: Row, folder: Path, processes: Processes, seconds: float, *, retry: bool) -> dict[str, Any]:
    result = folder / RESULT
    if result.exists():
        before = json.loads(result.read_text(encoding="utf-8"))
        if not (retry and before["status"] in LOST):
            return before
        result.unlink()
    row.write(folder)
    _remove_unbegun_runs(folder)
    _remove_unfinished(folder, "consensus", "dataset.json")
    _remove_unfinished(folder, "predictions", "predictions.json")
    exit_code = processes.do(folder, seconds)
    if exit_code is None:
        why = f"Stopped after {seconds / 60:g} minutes. Raise `minutes` or lower --processes, then --retry."
        return _note(result, "out of time", why)
    if not result.exists():
        killed = "killed, perhaps for want of memory" if exit_code < 0 else "it ended without a result"
        said = f"{folder / 'log.txt'} has what it said. Mend that, or lower --processes, then --retry."
        return _note(result, "failed", f"Exit code {exit_code}: {killed}; {said}")
    return json.loads(result.read_text(encoding="utf-8"))


def _remove_unbegun_runs(folder: Path) -> None:
    """Of a row that was killed before they were written down: they cannot be resumed."""
    from umanet.training.checkpoints import FOLDER  # here, as pages need no training
    from umanet.training.run_folder import CONFIG

    for checkpoints in list(folder.rglob(FOLDER)):
        if not (checkpoints.parent / CONFIG).exists():
            shutil.rmtree(checkpoints.parent)


def _remove_unfinished(place: Path, name: str, last: str) -> None:
    """Folders of this name in a place that lack the file which is written last, and what a kill left beside them."""
    unfinished = [folder for folder in place.glob(name) if folder.is_dir() and not (folder / last).exists()]
    for folder in {*unfinished, *place.glob(f".writing-{name}-*")}:
        shutil.rmtree(folder)


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
