from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from umanet.cli.terminal import print_table, print_text, progress, say

if TYPE_CHECKING:
    from umanet.evaluation import Evaluation


@dataclass(frozen=True)
class Evaluate:
    """Score predictions against the truth, the annotations, or whatever there is."""

    predictions: tyro.conf.Positional[Path]
    """A folder made by predict or fuse, or one of label maps named as the cases."""
    dataset: tyro.conf.Positional[Path]
    """The dataset.json that has the cases."""
    against: Literal["truth", "annotations"] | None = None
    """What to compare with. Default: all there is."""
    split: str | None = None
    """Only the cases of this split."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the scores as JSON instead of a table."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A folder for evaluation.json and evaluation.csv (every case)."""

    def run(self) -> None:
        from umanet.data.index import read_index
        from umanet.evaluation import evaluate

        index = read_index(self.dataset)
        with progress("Evaluating") as report:
            found = evaluate(self.predictions, index, against=self.against, split=self.split, progress=report)
        if self.output is not None:
            found.write(self.output)
            say(f"Every case in {self.output / 'evaluation.csv'}, the summary in evaluation.json.")
        if self.json:
            print_text(found.to_json())
        else:
            print_table(_rows(found), f"{index.name}: means with 95 % intervals over patients")


def _rows(found: "Evaluation") -> list[dict[str, Any]]:
    return [
        {
            "class": row["class"],
            "metric": row["metric"],
            "mean": _number(row["mean"]),
            "95 %": "" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}",
            "cases": row["cases"],
            "empty": row["both_empty"],
            "missed": row["missed"],
            "false": row["false"],
        }
        for row in found.summary_rows()
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
