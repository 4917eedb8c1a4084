from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from umanet.cli.case_parallel import CaseParallel
from umanet.cli.model import Device, open_model
from umanet.cli.terminal import next_step, print_table, progress, say

SHOWN = 5
COLUMNS = ("case", "annotator", "quality", "low", "doubtful_voxels", "where")


@dataclass(frozen=True)
class Grade(CaseParallel):
    """Grade every annotation: how doubtful it is, and where. Works for new annotations of new images too."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(name="run", metavar="RUN")]
    """A run that was trained with uma-net."""
    dataset: tyro.conf.Positional[Path]
    """A dataset.json."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new folder for quality.csv (worst first), quality.json and uncertainty maps."""
    split: str | None = None
    """Only the cases of this split."""
    no_maps: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write no uncertainty maps."""
    device: Device = "auto"
    """Where the network computes."""
    threads: int | None = None
    """CPU threads of torch, where there is one worker. Default: as many as the run was trained with."""

    def run(self) -> None:
        from umanet.data.index import read_index
        from umanet.grading import grade

        executor = self.executor()
        index = read_index(self.dataset)
        model = open_model(self.run_folder, self.device, self.threads, grading=True)
        with progress("Grading") as report:
            table = grade(
                model, index, self.output, split=self.split, maps=not self.no_maps, executor=executor,
                run=self.run_folder, progress=report,
            )  # fmt: skip
        shown = table.head(SHOWN).round(3).to_dict(orient="records")
        rows: list[dict[str, object]] = [
            {name: "-" if row[name] != row[name] else row[name] for name in COLUMNS} for row in shown
        ]
        low = int(table.low.sum())
        if low:
            print_table(rows, f"The {len(rows)} worst of {len(table)} annotations")
            say(f"{low} of {len(table)} annotations are graded low among those seen in training.")
        else:
            print_table(rows, f"The {len(rows)} of least quality among {len(table)} annotations; none is graded low")
            say("No annotation stands out from those seen in training: the first rows are not bad for being first.")
        say(f"All of them, worst first, in {self.output / 'quality.csv'}; annotators ranked in quality.json.")
        next_step("fuse", self.dataset, "--with", self.run_folder, "-o", "consensus")
