"""Four real, anonymous readers: how good and how calibrated are networks taught by fusions and by UMA-Net?"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from trials import Trial, do_all, interval, read_arguments, show, table, values, write_report

from umanet.data.index import read_index, write_index
from umanet.data.sources import folder

LAYOUT: dict[str, Any] = {"annotators_are_identified": False, "patient_pattern": r"(LIDC-IDRI-\d+)"}
CONFIGS = {
    "majority": {"method": "majority"},
    "staple": {"method": "staple"},
    "mean": {"method": "mean"},
    "uma-net, hard target": {"uma_net": {"target": "hard"}},
    "uma-net, soft target": {"uma_net": {"target": "soft"}},
}
# Whole crops: patches around nodules teach a network to find one in every tile (docs/concepts/log.md).
WORKING_GRID = {2: {"longest_side": 64}, 3: {"longest_side": 64, "patch": (64, 64, 16)}}
METRICS = ("soft_dice", "mean_dice", "ece", "brier")
FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


def trials(arguments: Namespace) -> list[Trial]:
    planned = []
    for seed in arguments.seeds:
        dataset = arguments.work / arguments.data.name / f"split-{seed}.json"
        if not dataset.exists():
            index = folder.index(arguments.data, fractions=FRACTIONS, seed=seed, **LAYOUT)
            dataset.parent.mkdir(parents=True, exist_ok=True)
            write_index(index, dataset)
        common = {
            "preset": "cpu-small",
            "data": WORKING_GRID[read_index(dataset).spatial_dims],
            "trainer": {"max_steps": arguments.steps},
        }
        for name, values_ in CONFIGS.items():
            where = dataset.parent / f"{seed}" / name
            planned.append(Trial("lidc", name, seed, dataset, {**common, **values_}, where, "annotations"))
    return planned


def report(done: list[Trial]) -> list[str]:
    index = read_index(done[0].dataset)
    sizes = {split: len(index.select(split)) for split in FRACTIONS}
    seeds = sorted({trial.seed for trial in done})
    rows = []
    for name in CONFIGS:
        own = [trial for trial in done if trial.name == name]
        rows.append([name, *(show(*interval(values(own, metric))) for metric in METRICS)])
    return [
        f"Cases: {sizes} (split by patient). Seeds: {seeds}. Test cases against their four annotations: RIGA soft",
        "Dice, mean Dice over annotators, ECE and Brier in the dilated union of annotations and prediction. Mean with",
        "a 95 % bootstrap interval over seeds and patients. ECE is the mean of single cases' ECE, which is larger than",
        "a pooled one.",
        "",
        *table(["method", *(metric.replace("_", " ") for metric in METRICS)], rows),
    ]


def main() -> None:
    arguments = read_arguments(
        __doc__, Path("benchmarks/work/lidc"), Path("benchmarks/results/lidc.md"), seeds=3, steps=500
    )
    done = do_all(trials(arguments), arguments.processes)
    write_report(arguments.output, f"LIDC, four anonymous readers: {arguments.data.name}", done, report(done))


if __name__ == "__main__":
    main()
