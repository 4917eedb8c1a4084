"""A benchmark's test cases scored again with calibration over the whole image, from the predictions that its rows keep.

Rows measure it within some voxels of any annotation and of what the method itself draws, so over other voxels for every
method: one that draws too much is measured where it is easily right. ``SUITE OUT COPY`` scores the rows of ``OUT``
again and writes their page to ``COPY``, as ``umanet benchmark --page-only`` does; rows whose predictions are gone are
left out.
"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from umanet.benchmark import read_suite
from umanet.benchmark.page import write_results
from umanet.benchmark.row import Row
from umanet.benchmark.run import done_rows
from umanet.benchmark.state import ROWS, made_on
from umanet.data.index import read_index
from umanet.evaluation import evaluate

ABOUT = " Calibration (ECE, Brier score) is over the whole image here, the same voxels for every method."


def scored_again(row: Row, result: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The result with calibration over the whole image; as it is where nothing is scored, None without predictions."""
    if result["status"] != "done" or not result["cases"]:
        return result
    if not (folder / "predictions").exists():
        return None
    index = read_index(Path(json.loads((folder / "row.json").read_text())["dataset"]))
    against = "truth" if row.against == "truth" else "annotations"
    scored = evaluate(folder / "predictions", index, split="test", against=against, region="image")
    return result | {"summary": scored.summary, "cases": list(scored.cases)}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    for name in ("suite", "output", "copy"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    suite = read_suite(given.suite)
    rows = done_rows(suite, given.output)
    found = []
    for number, (row, result) in enumerate(rows, start=1):
        print(f"\r{number} of {len(rows)}", end="", file=sys.stderr)
        one = scored_again(row, result, given.output / ROWS / row.key)
        found += [(row, one)] if one else []
    print(file=sys.stderr)
    given.copy.mkdir(parents=True, exist_ok=True)
    command = f"python benchmarks/whole_image.py {given.suite} {given.output} {given.copy}"
    told = suite.model_copy(update={"about": suite.about + ABOUT})
    print(write_results(told, found, given.copy, command, made_on(given.output)))


if __name__ == "__main__":
    main()
