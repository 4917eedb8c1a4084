import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from umanet.cli.terminal import next_step, print_text, progress

ERRORS_FOUND = 1


@dataclass(frozen=True)
class Check:
    """Read every file of a data set and report every problem. Exit code 1: there are errors."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the report as JSON."""

    def run(self) -> int:
        from umanet.data.check import check
        from umanet.data.index import read_index

        index = read_index(self.dataset)
        with progress("Checking") as report:
            found = check(index, progress=report)
        print_text(json.dumps(found.to_json(), indent=1, ensure_ascii=False) if self.json else found.to_text())
        if not found.ok:
            return ERRORS_FOUND
        next_step("train", self.dataset, "-o", "run")
        return 0
