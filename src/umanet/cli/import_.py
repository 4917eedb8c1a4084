from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from umanet.cli.terminal import next_step, say
from umanet.errors import ConfigError, OutputError, counted

if TYPE_CHECKING:
    from umanet.data.index import ClassDefinition, DatasetIndex


@dataclass(frozen=True)
class Import:
    """Describe raw data in a dataset.json, with seeded splits by patient."""

    layout: tyro.conf.Positional[Literal["folder"]]
    """How the raw data are laid out. folder: ROOT/images/CASE.png, ROOT/annotations/ANNOTATOR/CASE.png, and
    ROOT/truth/CASE.png where the truth is known; NIfTI, TIFF and JPEG alike."""
    root: tyro.conf.Positional[Path]
    """The folder of the raw data."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The dataset.json to write; the paths in it are relative to its folder."""
    images: str = "images"
    """Name of the folder of images."""
    annotations: str = "annotations"
    """Name of the folder that has a folder per annotator."""
    truth: str = "truth"
    """Name of the folder of the truth; may be absent."""
    image_pattern: str | None = None
    """Regular expression of image names without type, with groups (?P<case>...) and perhaps (?P<channel>...)."""
    annotation_pattern: str | None = None
    """The same for annotations, with a group (?P<case>...)."""
    patient_pattern: str | None = None
    """Regular expression found in case names that gives the patient. Default: every case is a patient."""
    anonymous: tyro.conf.FlagCreatePairsOff[bool] = False
    """An annotator's folder is not one person across cases."""
    classes: tuple[str, ...] = ()
    """Names and file values, as background=0 lesion=1,255. Default: one class per value that is found."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of the patients for training, validation and test."""
    seed: int = 0
    """Of the splits."""
    name: str | None = None
    """Of the data set. Default: the folder's name."""
    dates: Path | None = None
    """A CSV file with the columns case, annotator, date (2024-05-31): the report then shows quality over time."""

    def run(self) -> None:
        from umanet.data.dates import with_dates
        from umanet.data.index import SPLITS, write_index
        from umanet.data.sources.folder import index

        _refuse_existing(self.output)
        found = index(
            self.root, images=self.images, annotations=self.annotations, truth=self.truth,
            image_pattern=self.image_pattern, annotation_pattern=self.annotation_pattern,
            patient_pattern=self.patient_pattern, classes=parse_classes(self.classes),
            annotators_are_identified=not self.anonymous, fractions=dict(zip(SPLITS, self.fractions, strict=True)),
            seed=self.seed, name=self.name,
        )  # fmt: skip
        write_index(with_dates(found, self.dates) if self.dates else found, self.output)
        cases, annotators = counted(len(found.cases), "case"), counted(len(found.annotators), "annotator")
        say(f"{cases} ({found.spatial_dims}D), {annotators}, in {self.output}.")
        say(f"Classes: {', '.join(f'{c.name} = {_values(c.values)}' for c in found.classes)}.")
        if any(case.annotations or case.truth for case in found.cases):
            say(describe_splits(found))
            next_step("check", self.output)
        else:
            next_step("predict", "RUN", self.output, "-o", "predictions")


def parse_classes(texts: tuple[str, ...]) -> "list[ClassDefinition] | None":
    """``("background=0", "lesion=1,255")`` to definitions; None for none.

    Raises:
        ConfigError: Not of that form.
    """
    from umanet.data.index import ClassDefinition

    definitions = []
    for text in texts:
        name, _, values = text.partition("=")
        try:
            definitions.append(ClassDefinition(name=name, values=tuple(int(value) for value in values.split(","))))
        except ValueError:
            raise ConfigError(
                f"--classes {text} found, NAME=VALUE or NAME=VALUE,VALUE expected, as in lesion=1,255."
            ) from None
    return definitions or None


def describe_splits(index: "DatasetIndex") -> str:
    """How many patients and cases each split has."""
    from umanet.data.index import SPLITS

    parts = []
    for split in SPLITS:
        cases = index.select(split)
        patients = {case.patient or case.id for case in cases}
        parts.append(f"{split} {counted(len(patients), 'patient')} with {counted(len(cases), 'case')}")
    return f"Splits: {', '.join(parts)}."


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise OutputError(f"{path} exists already, a new file expected. Choose another --output, or remove it.")


def _values(values: tuple[int, ...]) -> str:
    return " or ".join(map(str, values))
