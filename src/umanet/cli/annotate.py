from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from umanet.cli.sources.source import describe_splits
from umanet.cli.terminal import next_step, progress, say
from umanet.errors import counted


@dataclass(frozen=True)
class Annotate:
    """Let algorithms annotate images, as annotators of their own: then a network learns from images alone."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json; it needs no annotations."""
    algorithms: Annotated[tuple[str, ...], tyro.conf.arg(name="with", metavar="ALGORITHM [ALGORITHM ...]")]
    """otsu, multi-otsu, li, yen, triangle, kmeans, region-growing, watershed, chan-vese: any number of them."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A new folder for annotations and dataset.json."""
    channel: str | None = None
    """Name of the image channel that they see. Default: the last."""
    drawn: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Name of the class that they draw. Default: the only one."""
    dark: tyro.conf.FlagCreatePairsOff[bool] = False
    """The structure is darker than what is around it."""
    smooth: float = 0.0
    """Smooth the image before: deviation in millimetres, or in pixels where files know no spacing."""
    within: float | None = None
    """See and draw in a box of this side around the image's centre only, in the same units: for images that were cut
    out around a finding. Default: all of the image."""
    keep: Literal["all", "largest", "central"] = "all"
    """Which connected parts stay: all, the largest, or those that reach the central third of what is seen."""
    only: tyro.conf.FlagCreatePairsOff[bool] = False
    """The new data set holds these annotations only; those of people stay where they are, to evaluate against."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the patients for training, validation and test, where cases have no split yet."""
    seed: int = 0
    """Of the splits."""

    def run(self) -> None:
        from umanet.algorithms.annotate import Drawing, annotate
        from umanet.data.index import SPLITS, read_index

        # OUT/dataset.json is what import takes; here it means its folder.
        output = self.output.parent if self.output.name == "dataset.json" else self.output
        with progress("Annotating") as report:
            index = annotate(
                read_index(self.dataset), self.algorithms, output, channel=self.channel, drawn=self.drawn,
                drawing=Drawing(self.dark, self.smooth, self.within, self.keep), only=self.only,
                fractions=dict(zip(SPLITS, self.fractions, strict=True)), seed=self.seed, progress=report,
            )  # fmt: skip
        say(f"{counted(len(index.cases), 'case')} annotated by {', '.join(self.algorithms)}, in {output}.")
        say(describe_splits(index))
        next_step("train", output / "dataset.json", "-o", "run")
