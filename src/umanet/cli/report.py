from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from umanet.cli.model import Device, open_model
from umanet.cli.terminal import command, progress, say
from umanet.errors import ConfigError
from umanet.executor import Executor


@dataclass(frozen=True)
class Report:
    """One HTML page on a run: scores, doubtful annotations with pictures, annotators, hard images."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(name="run", metavar="RUN")]
    """A trained run."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new file, report.html for example."""
    dataset: Path | None = None
    """A dataset.json. Default: the one that the run was trained on."""
    split: str | None = None
    """Only the cases of this split. Default: grade the annotations of all, predict the test split."""
    most_cases: int = 60
    """Annotations that are shown with pictures; all are in the table."""
    device: Device = "auto"
    """Where the network computes."""
    threads: int | None = None
    """CPU threads of torch, where there is one worker. Default: as many as the run was trained with."""
    workers: int = 1
    """Processes that grade, predict, score and compare cases, one thread each; fewer where memory is short. They take
    seconds to start, several times, and about 0.5 GB each."""

    def run(self) -> None:
        from umanet.data.index import read_index
        from umanet.inference.model_file import can_grade
        from umanet.report import build_report
        from umanet.report.page import refuse_existing
        from umanet.report.record import find_dataset

        if self.most_cases < 0:
            raise ConfigError(f"--most-cases {self.most_cases} found, 0 or more expected. Leave it out for 60.")
        executor = Executor(self.workers)
        refuse_existing(self.output)
        model = open_model(self.run_folder, self.device, self.threads, grading=can_grade(self.run_folder))
        index = read_index(find_dataset(self.run_folder, self.dataset))
        with progress("Report") as report:
            build_report(
                model, index, self.run_folder, self.output, split=self.split, most_cases=self.most_cases,
                command=self._typed(), executor=executor, progress=report,
            )  # fmt: skip
        size = self.output.stat().st_size / 1e6
        say(f"{self.output} ({size:.1f} MB) needs no other file: open it in a browser, pass it on, print it.")

    def _typed(self) -> str:
        flags = {"--dataset": self.dataset, "--split": self.split, "--threads": self.threads}
        named = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
        more = ["--most-cases", self.most_cases, "--device", self.device]
        return command("report", self.run_folder, "-o", self.output, *named, *more)
