"""All cases of a data set, several at a time."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from umanet.data.check.across import count_drawn, problems_across
from umanet.data.check.cases import CaseFindings, check_case
from umanet.data.check.listing import listing_problems
from umanet.data.check.problems import SEVERITIES
from umanet.data.check.report import CheckReport, counts_of, coverage_of
from umanet.data.index import DatasetIndex

MOST_WORKERS = 8
"""More cases are not held in memory at a time unless the caller says so; a disk is busy with fewer."""


SAMPLED_CASES, LARGE_FILE = 20, 2**19
"""Bytes of an image, on average over some: unpacking less takes no longer than what Python does beside it."""


def check(
    index: DatasetIndex, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Read every file that the index lists and report every problem.

    Args:
        index: As ``read_index`` gives it, so free of contradictions within itself.
        workers: Cases that are read at a time. None: as many as there are CPUs, at most ``MOST_WORKERS``, where files
            are large, and else one, for threads only wait for each other there. The report is the same for any number.
        progress: Called after every case with the number of cases done and of all.
    """
    found = []
    for findings in _checked(index, _workers(index) if workers is None else workers):
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


def usable_cpus() -> int:
    """CPUs that this process may use, at most ``MOST_WORKERS``."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only; containers give out fewer than there are
    return min(MOST_WORKERS, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _workers(index: DatasetIndex) -> int:
    sizes = [path.stat().st_size for case in index.cases[:SAMPLED_CASES] for path in case.image if path.is_file()]
    return usable_cpus() if sizes and sum(sizes) / len(sizes) >= LARGE_FILE else 1


def _checked(index: DatasetIndex, workers: int) -> Iterator[CaseFindings]:
    """In the order of the cases. Threads: unpacking and numpy leave Python's lock, and nothing is imported anew."""
    if workers <= 1:
        yield from (check_case(case, index) for case in index.cases)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="check")
    try:
        yield from pool.map(lambda case: check_case(case, index), index.cases)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for all cases
