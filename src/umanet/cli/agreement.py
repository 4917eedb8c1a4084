from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from umanet.cli.case_parallel import CaseParallel
from umanet.cli.terminal import command, next_step, print_table, print_text, progress, say

if TYPE_CHECKING:
    from umanet.agreement import Agreement as Found

SHOWN = 5
WHERE = {"union": "near annotations", "image": "whole image"}
CASE_COLUMNS = ("case", "class", "drew", "mean_pairwise_dice", "farthest", "least_voxels", "most_voxels")


@dataclass(frozen=True)
class Agreement(CaseParallel):
    """How far annotators agree, who draws more or less than the others, and on which cases they differ. No training."""

    dataset: tyro.conf.Positional[Path]
    """A dataset.json."""
    split: str | None = None
    """Only the cases of this split."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print what was found as JSON instead of tables."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A new folder for agreement.html, agreement.json and agreement.csv (every case)."""

    def run(self) -> None:
        from umanet.agreement import measure_agreement
        from umanet.data.files import whole_folder
        from umanet.data.index import read_index
        from umanet.report import write_agreement

        executor = self.executor()
        index = read_index(self.dataset)
        with nullcontext() if self.output is None else whole_folder(self.output) as place:
            with progress("Comparing annotators") as report:
                found = measure_agreement(index, split=self.split, executor=executor, progress=report)
            if place is not None:
                found.write(place)
                write_agreement(found, index, place / "agreement.html", command=self._typed())
        print_text(found.to_json()) if self.json else _print(found)
        if self.output is None:
            next_step("agreement", self.dataset, "-o", "agreement")
        else:
            say(f"Open {self.output / 'agreement.html'} in a browser; every case is in agreement.csv.")

    def _typed(self) -> str:
        split = () if self.split is None else ("--split", self.split)
        return command("agreement", self.dataset, "-o", self.output, *split)


def _print(found: "Found") -> None:
    from umanet.agreement import ANONYMOUS

    protocol = found.protocol
    title = f"{protocol['data']}: agreement in {protocol['cases']} cases of {protocol['patients']} patients, with 95 % "
    print_table(_statistics(found), title + "intervals over patients")
    if protocol["left_out"]:
        cases = protocol["left_out"] + protocol["cases"]
        say(f"{protocol['left_out']} of {cases} cases are left out: they have fewer than two annotations.")
    if protocol["annotators_are_identified"]:
        print_table(_annotators(found), "Each annotator against the consensus of the others; ratio above 1: draws more")
    else:
        say(ANONYMOUS)
    rows = [{name: _plain(row[name]) for name in CASE_COLUMNS} for row in found.cases[:SHOWN]]
    print_table(rows, f"The {len(rows)} cases with least agreement")


def _statistics(found: "Found") -> list[dict[str, Any]]:
    rows = []
    for name, row in found.statistics.items():
        several = [("mean Dice of pairs", "", row["mean_pairwise_dice"])]
        for key, measure in (("krippendorff_alpha", "Krippendorff's alpha"), ("fleiss_kappa", "Fleiss' kappa")):
            several += [(measure, WHERE[region], estimate) for region, estimate in row[key].items()]
        rows += [
            {"class": name, "measure": measure, "where": where, "value": _with_interval(estimate)}
            for measure, where, estimate in several
            if estimate["value"] is not None
        ]
    return rows


def _annotators(found: "Found") -> list[dict[str, Any]]:
    return [
        {
            "annotator": row["annotator"],
            "class": row["class"],
            "cases": row["cases"],
            "Dice": _with_interval(row["dice"]),
            "sensitivity": _with_interval(row["sensitivity"]),
            "volume ratio": _with_interval(row["volume_ratio"], 2),
            "empty": _plain(row["empty"]),
            "missed": _plain(row["missed"]),
        }
        for row in found.per_annotator
    ]


def _with_interval(estimate: dict[str, Any], digits: int = 3) -> str:
    if estimate["value"] is None:
        return "-"
    low, high = estimate["ci95"]
    interval = "" if low is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{estimate['value']:.{digits}f}{interval}"


def _plain(value: Any) -> Any:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else value
