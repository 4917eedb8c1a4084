"""Does the same code serve 3D and several classes? Hippocampus MRI with simulated annotators."""

import argparse
import json
from pathlib import Path

import numpy as np
from trials import Trial, difference, do_all, interval, show, simulate_all, values, write_report

METHODS = ("truth", "majority", "staple", "uma-net")
COUNTS = {"train": 80, "validation": 10, "test": 60}


def trials(arguments: argparse.Namespace) -> list[Trial]:
    wanted = {
        (scenario, seed): arguments.work / f"{scenario}-{seed}" / "data" / "dataset.json"
        for seed in arguments.seeds
        for scenario in arguments.scenarios
    }
    simulate_all(arguments.data, wanted, COUNTS, arguments.processes)
    planned = []
    for (scenario, seed), dataset in wanted.items():
        folder = dataset.parent.parent
        common = {"preset": "cpu-small", "data": {"patch": (32, 48, 32)}, "trainer": {"max_steps": arguments.steps}}
        planned += [Trial(scenario, m, seed, dataset, {**common, "method": m}, folder / m) for m in METHODS]
    return planned


def report(done: list[Trial]) -> list[str]:
    groups = list(dict.fromkeys(trial.group for trial in done))
    chosen = {
        (group, name): [t for t in done if (t.group, t.name) == (group, name)] for group in groups for name in METHODS
    }
    lines = [
        f"Cases: {COUNTS}. Seeds: {sorted({trial.seed for trial in done})}. Mean Dice of both foreground classes",
        "against the truth, test cases; 95 % bootstrap interval over seeds and patients.",
        "",
        "| method | " + " | ".join(groups) + " |",
        "|---" * (len(groups) + 1) + "|",
    ]
    for name in METHODS:
        lines.append(
            f"| {name} | " + " | ".join(show(*interval(values(chosen[group, name], "dice"))) for group in groups) + " |"
        )
    lines += [
        "",
        "UMA-Net, paired difference in Dice points, and grades of the training annotations (means over seeds):",
        "",
    ]
    lines += [
        "| scenario | minus majority | minus staple | consensus dice | uncertainty auroc | quality auroc |",
        "|---" * 6 + "|",
    ]
    for group in groups:
        ours = chosen[group, "uma-net"]
        cells = [show(*difference(ours, chosen[group, rival], "dice"), 2) for rival in ("majority", "staple")]
        graded = [json.loads(trial.result.read_text())["grading"] for trial in ours]
        for measure in ("consensus_dice", "uncertainty_auroc", "quality_auroc"):
            cells.append(f"{np.mean([entry[measure] for entry in graded]):.3f}")
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and truth/")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/hippocampus"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/hippocampus.md"))
    parser.add_argument("--scenarios", nargs="+", default=("hard",))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    done = do_all(trials(arguments), arguments.processes)
    write_report(arguments.output, "Hippocampus in 3D, two classes, simulated annotators", lambda: report(done))


if __name__ == "__main__":
    main()
