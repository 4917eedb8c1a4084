"""All cases of a data set, several at a time."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

from umanet.data.case_size import largest_case
from umanet.data.check.across import count_drawn, problems_across
from umanet.data.check.cases import CaseFindings, check_case
from umanet.data.check.listing import listing_problems
from umanet.data.check.problems import SEVERITIES
from umanet.data.check.report import CheckReport, counts_of, coverage_of
from umanet.data.index import DatasetIndex
from umanet.executor import Executor
from umanet.executor.processors import usable

MOST_WORKERS = 8
"""More cases are not held in memory at a time unless the caller says so; a disk is busy with fewer."""


SAMPLED_CASES, LARGE_FILE = 20, 2**19
"""Bytes of an image, on average over some: unpacking less takes no longer than what Python does beside it."""


def check(
    index: DatasetIndex, *, executor: Executor | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Read every file that the index lists and report every problem.

    Args:
        index: As ``read_index`` gives it, so free of contradictions within itself.
        executor: Where cases are read. None: in this process, and where files are large in as many threads as there
            are CPUs, at most ``MOST_WORKERS``: these begin at once, but for small files they only wait for each other.
            The report is the same everywhere.
        progress: Called after every case with the number of cases done and of all.

    Raises:
        ExecutorError: The workers or their scheduler are gone.
    """
    found = []
    with closing(_in_threads(index, _threads(index)) if executor is None else _by(executor, index)) as results:
        for findings in results:
            found.append(findings)
            if progress is not None:
                progress(len(found), len(index.cases))
    drawn = count_drawn(found)
    problems = [*listing_problems(index)]
    problems += [problem for findings in found for problem in findings.problems]
    problems += problems_across(index, found, drawn)
    problems.sort(key=lambda problem: SEVERITIES.index(problem.severity))
    return CheckReport(
        index.name, len(index.cases), tuple(problems), coverage_of(index, found), counts_of(index, drawn)
    )


def _threads(index: DatasetIndex) -> int:
    sizes = [path.stat().st_size for case in index.cases[:SAMPLED_CASES] for path in case.image if path.is_file()]
    return min(MOST_WORKERS, usable()) if sizes and sum(sizes) / len(sizes) >= LARGE_FILE else 1


def _by(executor: Executor, index: DatasetIndex) -> Generator[CaseFindings, None, None]:
    look = partial(check_case, index=index.without_cases())
    names = [case.id for case in index.cases]
    with executor.map(look, index.cases, names, partial(largest_case, index.cases)) as results:
        yield from results


def _in_threads(index: DatasetIndex, threads: int) -> Generator[CaseFindings, None, None]:
    """In the order of the cases. Unpacking and numpy leave Python's lock, and nothing is imported anew."""
    if threads <= 1:
        yield from (check_case(case, index) for case in index.cases)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="check")
    try:
        yield from pool.map(lambda case: check_case(case, index), index.cases)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for all cases
