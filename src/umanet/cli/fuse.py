from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from umanet.cli.case_parallel import CaseParallel
from umanet.cli.model import Device, open_model
from umanet.cli.terminal import next_step, progress, say
from umanet.errors import ConfigError, counted, did_you_mean


@dataclass(frozen=True)
class Fuse(CaseParallel):
    """Make one label map per case out of all its annotations, ready for any other trainer."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json."""
    how: Annotated[str, tyro.conf.arg(name="with", metavar="FUSION|RUN")]
    """majority, staple, mean, union, intersection, random, single; or a run folder: then the image-aware consensus,
    which weights every annotation by its reliability at every voxel."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new folder: labels, probabilities, entropy, and a dataset.json whose only annotator is the consensus."""
    ties: Literal["background", "lowest", "highest", "split"] | None = None
    """majority: what a voxel gets where classes tie. Default: the lowest class among them."""
    annotator: str | None = None
    """single: whose annotations to take."""
    seed: int | None = None
    """random: of the draws."""
    split: str | None = None
    """Only the cases of this split."""
    device: Device = "auto"
    """Where a run's network computes."""
    threads: int | None = None
    """CPU threads for a run's network, where there is one worker. Default: as many as the run was trained with."""

    def run(self) -> None:
        from umanet.consensus import fuse_dataset
        from umanet.data.index import read_index
        from umanet.fusion import FUSIONS

        executor = self.executor()
        index = read_index(self.dataset)
        how, run = self.how, None
        if how not in FUSIONS:
            run = run_folder(how)
            how = open_model(run, self.device, self.threads, grading=True)
        with progress("Fusing") as report:
            fused = fuse_dataset(
                index, how, self.output, split=self.split, options=self._options(), executor=executor, run=run,
                progress=report,
            )  # fmt: skip
        cases = counted(len(fused.cases), "case")
        say(f"One consensus for each of {cases} in {self.output}, with its own dataset.json.")
        next_step("check", self.output / "dataset.json")

    def _options(self) -> dict[str, Any]:
        given = {"ties": self.ties, "annotator": self.annotator, "seed": self.seed}
        return {name: value for name, value in given.items() if value is not None}


def run_folder(name: str) -> Path:
    """Raises: ConfigError: Neither a fusion nor a folder."""
    from umanet.fusion import FUSIONS

    if not Path(name).is_dir():
        hint = did_you_mean(name, FUSIONS) or " Check the name."
        raise ConfigError(f"--with {name} found, one of {', '.join(FUSIONS)} or a run folder expected.{hint}")
    return Path(name)
