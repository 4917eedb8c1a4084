"""What `umanet import` does alike for every source."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from umanet.cli.classes import parse_annotator_classes
from umanet.cli.terminal import Report, next_step, progress, say
from umanet.errors import OutputError, counted

if TYPE_CHECKING:
    from umanet.data.index import DatasetIndex


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A layout of raw data. Subclasses are final, say where the data come from, and add what their layout needs."""

    root: tyro.conf.Positional[Path]
    """The folder of the raw data."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The dataset.json to write; the paths in it are relative to its folder. Converted files go into a folder beside
    it, named as it with -files: data-files for data.json."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the patients for training, validation and test, where the layout has no splits of its own; where it
    has a test split only, the first two are shared out among the rest."""
    seed: int = 0
    """Of the splits."""
    name: str | None = None
    """Of the data set. Default: the folder's name."""
    dates: Path | None = None
    """A CSV file with the columns case, annotator, date (2024-05-31): the report then shows quality over time."""
    annotator_classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ANNOTATOR=CLASS[,CLASS] [...]")] = ()
    """Who draws some classes only, as anna=tumour bob=tumour,oedema: what they leave out is then not taken for
    background. Who is not named draws all classes."""
    anonymous: tyro.conf.FlagCreatePairsOff[bool] = False
    """An annotator's name is not one person across cases."""
    leave_out: tyro.conf.FlagCreatePairsOff[bool] = False
    """Leave out what cannot be used, and say what, instead of refusing all of it."""

    @abstractmethod
    def index(self, files: Path, report: Report) -> "DatasetIndex":
        """Index the raw data; ``files`` is a folder to make for converted files, ``report`` takes the progress."""

    def run(self) -> None:
        from umanet.data.dates import with_dates
        from umanet.data.index import SPLITS, write_index
        from umanet.data.sources.raw_folder import files_beside
        from umanet.data.splits import complete_splits

        if self.output.exists():
            raise OutputError(
                f"{self.output} exists already, a new file expected. Choose another --output, or remove it."
            )
        with files_beside(self.output) as files, progress("Reading") as report:
            found = self.index(files, report)
            if self.annotator_classes:
                named = found.annotator_classes | parse_annotator_classes(self.annotator_classes)
                found = type(found).model_validate(dict(found) | {"annotator_classes": named})
            if any(case.annotations or case.truth for case in found.cases):
                found = complete_splits(found, dict(zip(SPLITS, self.fractions, strict=True)), self.seed)
            if self.anonymous:
                found = found.model_copy(update={"annotators_are_identified": False})
            if self.name:
                found = found.model_copy(update={"name": self.name})
            write_index(with_dates(found, self.dates) if self.dates else found, self.output)
        _say(found, self.output)


def _say(found: "DatasetIndex", output: Path) -> None:
    cases, annotators = counted(len(found.cases), "case"), counted(len(found.annotators), "annotator")
    say(f"{cases} ({found.spatial_dims}D), {annotators}, in {output}.")
    say(f"Classes: {', '.join(f'{c.name} = {_values(c.values)}' for c in found.classes)}.")
    for name, names in found.annotator_classes.items():
        say(f"{name} draws only {' and '.join(names)}.")
    if any(case.annotations or case.truth for case in found.cases):
        say(describe_splits(found))
        next_step("check", output)
    else:
        next_step("predict", "RUN", output, "-o", "predictions")


def describe_splits(index: "DatasetIndex") -> str:
    """How many patients and cases each split has."""
    from umanet.data.index import SPLITS

    parts = []
    for split in SPLITS:
        cases = index.select(split)
        patients = {case.patient or case.id for case in cases}
        parts.append(f"{split} {counted(len(patients), 'patient')} with {counted(len(cases), 'case')}")
    return f"Splits: {', '.join(parts)}."


def _values(values: tuple[int, ...]) -> str:
    return " or ".join(map(str, values))
