"""Large RGB images in patches, two identified observers: vessels in fundus photographs."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from trials import Trial, do_all, interval, read_arguments, show, table, values, write_report

from umanet.data.index import write_index
from umanet.data.sources import folder

LAYOUT: dict[str, Any] = {
    "image_pattern": r"(?P<case>Image_\d+[LR])",
    "annotation_pattern": r"(?P<case>Image_\d+[LR])_(1st|2nd)HO",
    "patient_pattern": r"Image_(\d+)",
}
FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}
CONFIGS = {
    "majority (ties are background)": {"method": "majority"},
    "mean": {"method": "mean"},
    "staple": {"method": "staple"},
    "uma-net, hard target": {"uma_net": {"target": "hard"}},
    "uma-net, soft target": {"uma_net": {"target": "soft"}},
}
METRICS = ("soft_dice", "mean_dice", "ece", "brier")


def trials(arguments: Namespace) -> list[Trial]:
    planned = []
    for seed in arguments.seeds:
        dataset = arguments.work / f"split-{seed}.json"
        if not dataset.exists():
            index = folder.index(arguments.data, fractions=FRACTIONS, seed=seed, **LAYOUT)
            dataset.parent.mkdir(parents=True, exist_ok=True)
            write_index(index, dataset)
        common = {
            "preset": "cpu-small",
            "data": {"longest_side": 0, "patch": (96, 96)},
            "trainer": {"max_steps": arguments.steps},
        }
        for name, chosen in CONFIGS.items():
            where = arguments.work / f"{seed}" / name.split(" (")[0]
            planned.append(Trial("chase-db1", name, seed, dataset, {**common, **chosen}, where, "annotations"))
    return planned


def report(done: list[Trial]) -> list[str]:
    rows = []
    for name in CONFIGS:
        own = [trial for trial in done if trial.name == name]
        rows.append([name, *(show(*interval(values(own, metric))) for metric in METRICS)])
    return [
        "28 photographs of 14 patients, split by patient 0.6 / 0.1 / 0.3; seeds "
        f"{sorted({t.seed for t in done})}. Test cases against both observers;",
        "95 % bootstrap interval over seeds and patients (few: the intervals are wide).",
        "",
        *table(["method", *(metric.replace("_", " ") for metric in METRICS)], rows),
    ]


def main() -> None:
    arguments = read_arguments(
        __doc__, Path("benchmarks/work/chase-db1"), Path("benchmarks/results/chase_db1.md"), seeds=2, steps=400
    )
    done = do_all(trials(arguments), arguments.processes)
    write_report(arguments.output, "CHASE_DB1, two observers, patches of large RGB images", done, report(done))


if __name__ == "__main__":
    main()
