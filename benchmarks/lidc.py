"""Four real, anonymous readers: how good and how calibrated are networks taught by fusions and by UMA-Net?"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import nibabel as nib
from PIL import Image
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
SIDE = 64
"""Pixels around the centre, where the nodule is. Other patches of the larger crops teach a network to find a nodule in
every tile, and half the resolution leaves five pixels of the median one (docs/concepts/log.md)."""
PATCH = {2: (SIDE, SIDE), 3: (SIDE, SIDE, 16)}
METRICS = ("soft_dice", "mean_dice", "ece", "brier")
FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


def crop_centres(data: Path, folder: Path) -> Path:
    """A copy of the data, every file cut to its central ``SIDE`` x ``SIDE`` pixels. Done once."""
    for source in sorted([*data.glob("images/*"), *data.glob("annotations/*/*")]):
        target = folder / source.relative_to(data)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"partial-{source.name}")
        if source.suffix == ".png":
            picture = Image.open(source)
            left, top = ((side - SIDE) // 2 for side in picture.size)
            picture.crop((left, top, left + SIDE, top + SIDE)).save(partial)
        else:
            volume = nib.Nifti1Image.from_filename(source)
            left, top = ((side - SIDE) // 2 for side in volume.shape[:2])
            volume.slicer[left : left + SIDE, top : top + SIDE].to_filename(partial)
        partial.replace(target)
    return folder


def trials(arguments: Namespace) -> list[Trial]:
    planned = []
    for seed in arguments.seeds:
        dataset = arguments.work / arguments.data.name / f"split-{seed}.json"
        if not dataset.exists():
            crops = crop_centres(arguments.data, dataset.parent / "crops")
            index = folder.index(crops, fractions=FRACTIONS, seed=seed, **LAYOUT)
            dataset.parent.mkdir(parents=True, exist_ok=True)
            write_index(index, dataset)
        common = {
            "preset": "cpu-small",
            "data": {"longest_side": 0, "patch": PATCH[read_index(dataset).spatial_dims]},
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
        f"Central {SIDE} x {SIDE} pixels of every crop. Cases: {sizes} (split by patient). Seeds: {seeds}. Test cases",
        "against their four annotations: RIGA soft Dice, mean Dice over annotators, ECE and Brier in the dilated union",
        "of annotations and prediction. 95 % bootstrap interval over seeds and patients. ECE is the mean of",
        "single cases' ECE, which is larger than a pooled one.",
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
