"""How far do real annotators agree: the yardstick for every network that is compared with them."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from pages import commit, table
from readers import LAYOUTS

from umanet.agreement import Agreement, measure_agreement
from umanet.data.sources import folder
from umanet.metrics.interval import RESAMPLES

ABOUT = {
    "lidc-2d": "Lung nodules in CT, one slice each that all four readers drew on; a reader's name is not one person.",
    "lidc-3d": "Lung nodules in CT, whole; a reader's name is not one person. Cases are nodules that all four drew.",
    "chase-db1": "Retinal vessels in photographs of both eyes of 14 children, two observers.",
}
WORST = 5


def shown(estimate: dict[str, Any], digits: int = 3) -> str:
    if estimate["value"] is None:
        return "-"
    low, high = estimate["ci95"]
    return f"{estimate['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def statistics(found: Agreement) -> list[str]:
    header = ["class", "mean Dice of pairs", "alpha, near annotations", "alpha, whole image", "kappa, near annotations"]
    rows = [
        [
            name,
            shown(row["mean_pairwise_dice"]),
            *(shown(row["krippendorff_alpha"][region]) for region in ("union", "image")),
            shown(row["fleiss_kappa"]["union"]),
        ]
        for name, row in found.statistics.items()
    ]
    return table(header, rows)


def annotators(found: Agreement) -> list[str]:
    """Of two, each is the consensus of the others for the other one."""
    if not found.per_annotator:
        return ["The readers are anonymous: nothing is said of single ones."]
    header = ["annotator", "class", "cases", "Dice", "sensitivity", "specificity, near", "volume ratio", "empty"]
    rows = [
        [
            row["annotator"],
            row["class"],
            str(row["cases"]),
            *(shown(row[name]) for name in ("dice", "sensitivity")),
            shown(row["specificity"]["union"]),
            shown(row["volume_ratio"], 2),
            str(row["empty"]),
        ]
        for row in found.per_annotator
    ]
    return ["Each against the others:", "", *table(header, rows)]


def worst(found: Agreement) -> list[str]:
    rows = [
        [row["case"], f"{row['mean_pairwise_dice']:.3f}", f"{row['least_voxels']:,} to {row['most_voxels']:,}"]
        for row in found.cases[:WORST]
    ]
    return ["Least agreement:", "", *table(["case", "mean Dice of pairs", "voxels drawn"], rows)]


def report(found: Agreement, name: str) -> list[str]:
    protocol = found.protocol
    counts = protocol["cases_by_annotations"]
    numbers = ", ".join(f"{cases} with {number} annotations" for number, cases in counts.items())
    empty = [f"{row['both_empty']} and {row['one_empty']}" for row in found.statistics.values()]
    return [
        f"# Agreement of the annotators of {name}",
        "",
        f"Command: `python benchmarks/agreement.py {name} --data {name}`, at commit {commit()}.",
        "",
        ABOUT[name],
        f"{protocol['patients']} patients; cases: {numbers}. 95 % intervals over",
        f"patients ({RESAMPLES} bootstrap resamples). Dice is a mean over cases, both empty 1; pairs of which both are",
        f"empty, and one: {', '.join(empty)}. Alpha and kappa are of all voxels; near annotations:",
        f"{protocol['regions']['union']}.",
        "",
        *statistics(found),
        "",
        *annotators(found),
        "",
        *worst(found),
    ]


def read_arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=LAYOUTS)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and annotations/")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/agreement_NAME.md")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    name = arguments.name
    index = folder.index(arguments.data, **LAYOUTS[name])
    found = measure_agreement(index)
    output = arguments.output or Path("benchmarks/results") / f"agreement_{name.replace('-', '_')}.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(report(found, name)) + "\n", encoding="utf-8")
    print(output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
