"""Does UMA-Net beat the fusions on real chest X-rays with simulated annotators, and does it know who errs where?"""

import argparse
import json
from pathlib import Path

import numpy as np
from trials import Trial, difference, do_all, interval, show, simulate_all, values, write_report

from umanet.data.index import read_index

SCENARIOS = ("hard", "mild", "bias", "sparse", "clean")
FUSIONS = ("truth", "majority", "staple", "mean", "random")
UMA_NET = {"uma-net": {}, "uma-net, by annotation": {"grade": "annotation"}}
COUNTS = {"train": 160, "validation": 24, "test": 148}


def trials(arguments: argparse.Namespace) -> list[Trial]:
    wanted = {
        (scenario, seed): arguments.work / f"{scenario}-{seed}" / "data" / "dataset.json"
        for scenario in arguments.scenarios
        for seed in arguments.seeds
    }
    simulate_all(arguments.data, wanted, COUNTS, arguments.processes)
    planned = []
    for (scenario, seed), dataset in wanted.items():
        folder = dataset.parent.parent
        common = {"preset": "cpu-small", "data": {"longest_side": 64}, "trainer": {"max_steps": arguments.steps}}
        configs = {method: {"method": method} for method in FUSIONS}
        configs |= {name: {"uma_net": options} for name, options in UMA_NET.items()}
        planned += [
            Trial(scenario, name, seed, dataset, {**common, **own}, folder / name) for name, own in configs.items()
        ]
    return [trial for trial in planned if not arguments.methods or trial.name in arguments.methods]


def report(done: list[Trial]) -> list[str]:
    names = list(dict.fromkeys(trial.name for trial in done))
    groups = list(dict.fromkeys(trial.group for trial in done))
    seeds = sorted({trial.seed for trial in done})
    sizes = {split: len(read_index(done[0].dataset).select(split)) for split in COUNTS}
    chosen = {
        (group, name): [t for t in done if (t.group, t.name) == (group, name)] for group in groups for name in names
    }
    lines = [
        f"Cases: {sizes}. Seeds: {seeds}. Dice of the test cases against the truth, at the files' 256 x 256 pixels;",
        "the network sees 64 x 64. Mean with a 95 % bootstrap interval over seeds and patients.",
        "",
        "| method | " + " | ".join(groups) + " |",
        "|---" * (len(groups) + 1) + "|",
    ]
    for name in names:
        lines.append(
            f"| {name} | " + " | ".join(show(*interval(values(chosen[group, name], "dice"))) for group in groups) + " |"
        )
    lines += ["", "Paired difference to the fusion with the highest mean (truth left out), in Dice points:", ""]
    lines += ["| scenario | best fusion | " + " | ".join(UMA_NET) + " |", "|---" * (len(UMA_NET) + 2) + "|"]
    for group in groups:
        rivals = [name for name in names if name not in ("truth", *UMA_NET)]
        best = max(rivals, key=lambda name: np.mean(list(values(chosen[group, name], "dice").values())))
        cells = [show(*difference(chosen[group, name], chosen[group, best], "dice"), 2) for name in UMA_NET]
        lines.append(f"| {group} | {best} | " + " | ".join(cells) + " |")
    return lines + grading_table(chosen, groups)


def grading_table(chosen: dict[tuple[str, str], list[Trial]], groups: list[str]) -> list[str]:
    measures = ("consensus_dice", "uncertainty_auroc", "quality_auroc", "quality_spearman")
    lines = [
        "",
        "UMA-Net (graded by image) on the *training* annotations, mean over seeds (lowest to highest seed): Dice of",
        "the image-aware consensus against the truth; AUROC of uncertainty against wrong pixels (whole image, mean",
        "over cases); AUROC with which a low quality finds annotations whose Dice is below 0.6; rank correlation of",
        "quality and Dice.",
        "",
        "| scenario | " + " | ".join(measure.replace("_", " ") for measure in measures) + " |",
        "|---" * (len(measures) + 1) + "|",
    ]
    for group in groups:
        found = [json.loads(trial.result.read_text())["grading"] for trial in chosen[group, "uma-net"]]
        cells = []
        for measure in measures:
            each = [entry[measure] for entry in found]
            cells.append(f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})")
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and truth/")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/chest-xray"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/chest_xray.md"))
    parser.add_argument("--scenarios", nargs="+", default=SCENARIOS)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    done = do_all(trials(arguments), arguments.processes)
    if not arguments.methods:
        write_report(arguments.output, "Chest X-rays, simulated annotators", lambda: report(done))


if __name__ == "__main__":
    main()
