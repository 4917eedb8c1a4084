"""Does UMA-Net beat the fusions on real chest X-rays with simulated annotators, and does it know who errs where?"""

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

from umanet.data.index import read_index

SCENARIOS = ("hard", "mild", "bias", "sparse", "clean")
FUSIONS = ("truth", "majority", "staple", "mean", "random")
UMA_NET = {"uma-net": {}, "uma-net, by annotation": {"grade": "annotation"}}
COUNTS = {"train": 160, "validation": 24, "test": 148}


def trials(arguments: Namespace) -> list[Trial]:
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
    return [trial for trial in planned if trial.name in arguments.methods]


def report(done: list[Trial]) -> list[str]:
    names = list(dict.fromkeys(trial.name for trial in done))
    groups = list(dict.fromkeys(trial.group for trial in done))
    seeds = sorted({trial.seed for trial in done})
    sizes = {split: len(read_index(done[0].dataset).select(split)) for split in COUNTS}
    chosen = {
        (group, name): [t for t in done if (t.group, t.name) == (group, name)] for group in groups for name in names
    }
    rows = [[name, *(show(*interval(values(chosen[group, name], "dice"))) for group in groups)] for name in names]
    gains = []
    for group in groups:
        rivals = [name for name in names if name not in ("truth", *UMA_NET)]
        best = max(rivals, key=lambda name: np.mean(list(values(chosen[group, name], "dice").values())))
        others = (*UMA_NET, "truth")
        gains.append(
            [group, best, *(show(*difference(chosen[group, name], chosen[group, best], "dice"), 2) for name in others)]
        )
    return [
        f"Cases: {sizes}. Seeds: {seeds}. Dice of the test cases against the truth, at the files' 256 x 256 pixels;",
        "the network sees 64 x 64. Mean with a 95 % bootstrap interval over seeds and patients.",
        "",
        *table(["method", *groups], rows),
        "",
        "Paired difference to the fusion with the highest mean, in Dice points (that of the truth is what there is to",
        "gain):",
        "",
        *table(["scenario", "best fusion", *UMA_NET, "truth"], gains),
        "",
        *grading_table(chosen, groups),
    ]


def grading_table(chosen: dict[tuple[str, str], list[Trial]], groups: list[str]) -> list[str]:
    measures = ("consensus_dice", "uncertainty_auroc", "quality_auroc", "quality_spearman")
    rows = []
    for group in groups:
        found = [json.loads(trial.result.read_text())["grading"] for trial in chosen[group, "uma-net"]]
        cells = []
        for measure in measures:
            each = [entry[measure] for entry in found]
            cells.append(f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})")
        rows.append([group, *cells])
    return [
        "UMA-Net (graded by image) on the *training* annotations, mean over seeds (lowest to highest seed): Dice of",
        "the image-aware consensus against the truth; AUROC of uncertainty against wrong pixels (whole image, mean",
        "over cases); AUROC with which a low quality finds annotations whose Dice is below 0.6; rank correlation of",
        "quality and Dice.",
        "",
        *table(["scenario", *(measure.replace("_", " ") for measure in measures)], rows),
    ]


def main() -> None:
    arguments = read_arguments(
        __doc__,
        Path("benchmarks/work/chest-xray"),
        Path("benchmarks/results/chest_xray.md"),
        seeds=3,
        steps=600,
        scenarios=SCENARIOS,
        methods=(*FUSIONS, *UMA_NET),
    )
    done = do_all(trials(arguments), arguments.processes)
    if len(arguments.methods) == len(FUSIONS) + len(UMA_NET):
        write_report(arguments.output, "Chest X-rays, simulated annotators", done, report(done))


if __name__ == "__main__":
    main()
