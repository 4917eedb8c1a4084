"""How long does ``umanet check`` take beside merely reading the files, and what do threads bring?

Any data sets will do, of small pictures and of large volumes:

    OMP_NUM_THREADS=1 python benchmarks/check_speed.py dataset.json ... --output benchmarks/results/check_speed.md
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from pages import commit

from umanet import read_index
from umanet.data.check import check
from umanet.data.images import read_annotation_values, read_image_values
from umanet.data.index import DatasetIndex

COMMAND = "OMP_NUM_THREADS=1 python benchmarks/check_speed.py"


def read(index: DatasetIndex) -> int:
    """Every file once, decoded; returns how many."""
    files = 0
    for case in index.cases:
        read_image_values(case.image, index.spatial_dims)
        annotations = [*case.annotations.values(), *([case.truth] if case.truth else [])]
        for path in annotations:
            read_annotation_values(path, index.spatial_dims)
        files += len(case.image) + len(annotations)
    return files


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(index: DatasetIndex, repeats: int) -> str:
    files = read(index)  # also warms the cache of the disk
    reading = seconds(lambda: read(index), repeats)
    one, two = (seconds(lambda workers=workers: check(index, workers=workers), repeats) for workers in (1, 2))
    return (
        f"| {index.name} | {len(index.cases)} | {files} | {reading:.2f} | {one:.2f} | {two:.2f} | {one / reading:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+", help="dataset.json files")
    parser.add_argument("--output", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--repeats", type=int, default=3, help="runs per median (default: 3)")
    options = parser.parse_args()
    rows = [row(read_index(path), options.repeats) for path in options.datasets]
    table = [
        "# Speed of check",
        "",
        f"`{COMMAND} {' '.join(path.name for path in options.datasets)} --repeats {options.repeats}`, "
        f"commit {commit()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, "
        f"median wall time of {options.repeats} runs, without starting Python.",
        "",
        "| data set | cases | files | reading (s) | check, 1 worker (s) | check, 2 workers (s) | check / reading |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    print("\n".join(table))
    if options.output:
        options.output.write_text("\n".join(table), encoding="utf-8")


if __name__ == "__main__":
    main()
