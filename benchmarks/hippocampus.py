"""Does the same code serve 3D and several classes? Hippocampus MRI with simulated annotators."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
from trials import (
    Trial,
    difference,
    do_all,
    interval,
    read_arguments,
    show,
    simulate_all,
    table,
    values,
    write_report,
)

METHODS = ("truth", "majority", "staple", "uma-net")
MEASURES = ("consensus_dice", "uncertainty_auroc", "quality_auroc")
COUNTS = {"train": 80, "validation": 10, "test": 60}


def trials(arguments: Namespace) -> list[Trial]:
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
    rows = [[name, *(show(*interval(values(chosen[group, name], "dice"))) for group in groups)] for name in METHODS]
    found = []
    for group in groups:
        ours = chosen[group, "uma-net"]
        cells = [show(*difference(ours, chosen[group, rival], "dice"), 2) for rival in ("majority", "staple")]
        graded = [json.loads(trial.result.read_text())["grading"] for trial in ours]
        means = (f"{np.mean([entry[measure] for entry in graded]):.3f}" for measure in MEASURES)
        found.append([group, *cells, *means])
    return [
        f"Cases: {COUNTS}. Seeds: {sorted({trial.seed for trial in done})}. Mean Dice of both foreground classes",
        "against the truth, test cases; 95 % bootstrap interval over seeds and patients.",
        "",
        *table(["method", *groups], rows),
        "",
        "UMA-Net, paired difference in Dice points, and grades of the training annotations (means over seeds):",
        "",
        *table(["scenario", "minus majority", "minus staple", *(m.replace("_", " ") for m in MEASURES)], found),
    ]


def main() -> None:
    arguments = read_arguments(
        __doc__,
        Path("benchmarks/work/hippocampus"),
        Path("benchmarks/results/hippocampus.md"),
        seeds=2,
        steps=300,
        scenarios=("hard",),
    )
    done = do_all(trials(arguments), arguments.processes)
    write_report(arguments.output, "Hippocampus in 3D, two classes, simulated annotators", done, report(done))


if __name__ == "__main__":
    main()
