from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from umanet.cli.evaluate import Layout, require_one_form, show
from umanet.cli.terminal import say
from umanet.errors import ConfigError

if TYPE_CHECKING:
    from umanet.evaluation import Comparison


@dataclass(frozen=True)
class Compare:
    """Compare methods case by case: differences to the first, with intervals and Wilcoxon's test over patients."""

    first: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """A folder that `umanet evaluate -o` wrote."""
    others: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="B [C ...]")]
    """More of them, of the same cases."""
    baseline: str | None = None
    """The folder that the others are compared with. Default: the first."""
    metrics: tuple[str, ...] = ()
    """Only these. Default: all that every evaluation has."""
    correction: Literal["holm", "none"] = "holm"
    """Of the p-values of a metric, for the number of methods compared with the baseline."""
    seed: int = 0
    """Of the bootstrap."""
    format: Layout = "table"
    """How to print the differences: Markdown and LaTeX are ready to paste."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print them as JSON instead."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A new folder for comparison.json and comparison.csv."""

    def run(self) -> None:
        from umanet.data.files import whole_folder
        from umanet.evaluation import compare, differences_table, read_evaluation

        require_one_form(self.format, as_json=self.json)
        names = names_of((self.first, *self.others))
        read = {name: read_evaluation(path) for name, path in names.items()}
        baseline = next((name for name, path in names.items() if self.baseline in (name, str(path))), self.baseline)
        found = compare(
            read, baseline=baseline, metrics=self.metrics or None, correction=self.correction, seed=self.seed
        )
        for name, metrics in found.protocol["left_out"].items():
            say(f"Not compared, as not all have them: {', '.join(metrics)} of {name}.")
        say(*remarks(found))
        if self.output is not None:
            with whole_folder(self.output) as place:
                found.write(place)
            say(f"The differences in {self.output / 'comparison.csv'} and comparison.json.")
        show(found.to_json() if self.json else [differences_table(found, self.format)], self.format)


def remarks(found: "Comparison") -> list[str]:
    """Whether labels are compared with probabilities."""
    numbers = found.protocol["cases_with_probabilities"]
    if len(set(numbers.values())) < 2:
        return []
    each = ", ".join(f"{number} of {name}" for name, number in numbers.items())
    return [
        f"Cases with probabilities: {each}. The others' labels count as probabilities of 0 and 1, which calibration "
        "and soft scores punish."
    ]


def names_of(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Names of methods: of the folders, or where two have the same, the paths.

    Raises:
        ConfigError: One is given twice.
    """
    folders = [path.parent if path.suffix == ".json" else path for path in paths]
    again = [folder for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if again:
        raise ConfigError(f"{again[0]} found twice, different evaluations expected. Name another one.")
    short = [folder.resolve().name for folder in folders]
    twice = max(Counter(short).values(), default=0) > 1
    return {str(path) if twice else name: path for name, path in zip(short, paths, strict=True)}
