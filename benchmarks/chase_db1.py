"""Large RGB images in patches, two identified observers: vessels in fundus photographs."""

import argparse
from pathlib import Path

from trials import Trial, do_all, interval, show, values, write_report

from umanet.data.index import write_index
from umanet.data.sources import folder

CONFIGS = {
    "majority (ties are background)": {"method": "majority"},
    "mean": {"method": "mean"},
    "staple": {"method": "staple"},
    "uma-net, hard target": {"uma_net": {"target": "hard"}},
    "uma-net, soft target": {"uma_net": {"target": "soft"}},
}
METRICS = ("soft_dice", "mean_dice", "ece", "brier")


def trials(arguments: argparse.Namespace) -> list[Trial]:
    planned = []
    for seed in arguments.seeds:
        dataset = arguments.work / f"split-{seed}.json"
        if not dataset.exists():
            index = folder.index(
                arguments.data,
                image_pattern=r"(?P<case>Image_\d+[LR])",
                annotation_pattern=r"(?P<case>Image_\d+[LR])_(1st|2nd)HO",
                patient_pattern=r"Image_(\d+)",
                fractions={"train": 0.6, "validation": 0.1, "test": 0.3},
                seed=seed,
            )
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
    lines = [
        "28 photographs of 14 patients, split by patient 0.6 / 0.1 / 0.3; seeds "
        f"{sorted({t.seed for t in done})}. Test cases against both observers;",
        "95 % bootstrap interval over seeds and patients (few: the intervals are wide).",
        "",
        "| method | " + " | ".join(metric.replace("_", " ") for metric in METRICS) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for name in CONFIGS:
        own = [trial for trial in done if trial.name == name]
        lines.append(f"| {name} | " + " | ".join(show(*interval(values(own, metric))) for metric in METRICS) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and annotations/")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/chase-db1"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/chase_db1.md"))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    done = do_all(trials(arguments), arguments.processes)
    write_report(arguments.output, "CHASE_DB1, two observers, patches of large RGB images", lambda: report(done))


if __name__ == "__main__":
    main()
