from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from umanet.cli.classes import parse_classes
from umanet.cli.sources.source import describe_splits
from umanet.cli.terminal import next_step, progress, say
from umanet.errors import counted


@dataclass(frozen=True)
class Simulate:
    """Let simulated annotators with known faults annotate images whose truth is known."""

    images: Path
    """Folder with an image per case."""
    truth: Path
    """Folder with a label map of the same name per case."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new folder for annotations and dataset.json."""
    scenario: str = "hard"
    """Who annotates, and how well: hard, mild, bias, equal, sparse, crowd, clean or anonymous; annotators-1 to
    annotators-12; bad-0 to bad-60."""
    seed: int = 0
    """Of annotators, splits and the choice of cases."""
    split_seed: int | None = None
    """Of splits and the choice of cases alone: several seeds then share their test cases."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255. Default: one class per value that is found."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the patients for training, validation and test; or numbers of cases."""
    patient_pattern: str | None = None
    """Regular expression found in case names that gives the patient. Default: every case is a patient."""
    longest_side: int | None = None
    """Shrink 2D images that are longer."""
    limit: int | None = None
    """Most cases."""

    def run(self) -> None:
        from umanet.data.index import SPLITS
        from umanet.simulation.simulate import simulate

        with progress("Annotating") as report:
            index = simulate(
                self.images, self.truth, self.scenario, self.seed, self.output,
                classes=parse_classes(self.classes), fractions=dict(zip(SPLITS, self.fractions, strict=True)),
                patient_pattern=self.patient_pattern, longest_side=self.longest_side, limit=self.limit,
                split_seed=self.split_seed, progress=report,
            )  # fmt: skip
        say(f"{counted(len(index.cases), 'case')} annotated by {', '.join(index.annotators)}, in {self.output}.")
        say(describe_splits(index))
        next_step("train", self.output / "dataset.json", "-o", "run")
