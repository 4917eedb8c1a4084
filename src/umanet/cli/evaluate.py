from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from umanet.cli.case_parallel import CaseParallel
from umanet.cli.terminal import print_table, print_text, progress, say
from umanet.errors import ConfigError

if TYPE_CHECKING:
    from umanet.evaluation import Evaluation, Table

Layout = Literal["table", "markdown", "latex"]


@dataclass(frozen=True)
class Evaluate(CaseParallel):
    """Score predictions of this or any other tool against the truth, the annotations, or whatever there is."""

    predictions: tyro.conf.Positional[Path]
    """A folder made by predict or fuse, or one of label maps or probabilities named as the cases."""
    dataset: tyro.conf.Positional[Path]
    """The dataset.json that has the cases."""
    against: Literal["truth", "annotations"] | None = None
    """What to compare with. Default: all there is."""
    split: str | None = None
    """Only the cases of this split."""
    protocol: Literal["default", "riga", "qubiq", "lidc"] = "default"
    """Which metrics, with which thresholds."""
    classes: Literal["apart", "nested"] | None = None
    """nested: a class includes those listed after it, as an optic disc its cup. Default: nested in riga, else
    apart."""
    tolerance_mm: float | None = None
    """Of the surface Dice. Default: 1."""
    missed: Literal["nan", "diagonal"] | None = None
    """The distance where one mask is empty: undefined, and counted beside the mean (the default), or the diagonal of
    the image."""
    uncertainty: Literal["probability", "written"] | None = None
    """That NCC compares with disagreement, and the AUROC with wrong voxels: the entropy of each class's probability
    (the default), or the map in entropy/."""
    bins: int | None = None
    """Of the calibration errors. Default: 15."""
    region: Literal["union", "image"] | None = None
    """Where calibration and uncertainty are measured: near annotations (or truth) and prediction (the default), or in
    the whole image."""
    per_annotator: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the Dice with every annotator; an error where annotators are anonymous."""
    label_values: Literal["file", "index"] = "file"
    """What label maps of other tools hold: values as in the annotations, or 0, 1, 2 in the order of the classes."""
    seed: int = 0
    """Of the bootstrap."""
    format: Layout = "table"
    """How to print the scores: Markdown and LaTeX are ready to paste."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the scores as JSON instead."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A new folder for evaluation.json, evaluation.csv (every case) and annotators.csv; compare reads it."""

    def run(self) -> None:
        from umanet.data.files import whole_folder
        from umanet.data.index import read_index
        from umanet.evaluation import evaluate

        executor = self.executor()
        index = read_index(self.dataset)
        require_one_form(self.format, as_json=self.json)
        with nullcontext() if self.output is None else whole_folder(self.output) as place:
            with progress("Evaluating") as report:
                found = evaluate(
                    self.predictions, index, against=self.against, split=self.split, protocol=self.protocol,
                    per_annotator=self.per_annotator or None, label_values=self.label_values, seed=self.seed,
                    executor=executor, progress=report, **self._options(),
                )  # fmt: skip
            if place is not None:
                found.write(place)
        if self.output is not None:
            say(f"Every case in {self.output / 'evaluation.csv'}, the summary in evaluation.json.")
        say(*remarks(found))
        show(found.to_json() if self.json else self._tables(found), self.format)

    def _options(self) -> dict[str, Any]:
        names = ("classes", "tolerance_mm", "missed", "uncertainty", "bins", "region")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _tables(self, found: "Evaluation") -> "list[Table]":
        from umanet.evaluation import annotators_table, scores_table

        more = [annotators_table(found, self.format)] if self.per_annotator else []
        return [scores_table(found, self.format), *more]


def remarks(found: "Evaluation") -> list[str]:
    """What a reader of the numbers must know and does not see in them."""
    from umanet.evaluation.protocol import METRICS, SCORED_LABELS

    said = found.protocol
    lines = []
    distances = said.get("distances")
    if distances and distances["cases_without_spacing"]:
        number = distances["cases_without_spacing"]
        lines.append(f"{number} of {said['cases']} images do not say how large a voxel is: it counts as 1 mm.")
    if said.get("samples", {}).get("left_out") and said["name"] != "default":
        lines.append(f"The predictions hold no samples: {', '.join(said['samples']['left_out'])} are left out.")
    without = said["cases"] - said["cases_with_probabilities"]
    names = [name for name in found.summary if METRICS[name].part in SCORED_LABELS]
    if without and names:
        lines.append(
            f"{without} of {said['cases']} cases have no probabilities: {', '.join(names)} take labels for "
            "probabilities of 0 and 1."
        )
    for name, number in said.get("cases_drawn_by_nobody", {}).items():
        lines.append(f"No annotator of {number} of {said['cases']} cases draws {name}: no score against annotations.")
    reasons: dict[str, list[str]] = {}
    for name, entry in found.summary.items():
        if not entry["cases"]:
            reasons.setdefault(METRICS[name].undefined, []).append(name)
    return lines + [f"Undefined in every case ({why}): {', '.join(names)}." for why, names in reasons.items()]


def require_one_form(layout: Layout, *, as_json: bool) -> None:
    """Raises: ConfigError: Both JSON and a table to paste are asked for."""
    if as_json and layout != "table":
        raise ConfigError(f"--json found with --format {layout}, one of them expected. Leave one out.")


def show(result: "str | list[Table]", layout: Layout) -> None:
    """On standard output."""
    if isinstance(result, str):
        print_text(result)
        return
    for table in result:
        if layout == "table":
            print_table([dict(row) for row in table.rows], table.title)
        else:
            print_text(table.markdown() if layout == "markdown" else table.latex())
