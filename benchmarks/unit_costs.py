"""What does a voxel cost each command, and a case the index? And with that: 100,000 CT volumes and 12 annotators?

Volumes of noise and balls, 12 annotators each, a network of the preset small that was trained two steps. A cost per
voxel is the processor time of a command on five volumes less that on two, so that starting Python is not in it. The
index is one of files that do not exist: it never opens any.

    OMP_NUM_THREADS=1 python benchmarks/unit_costs.py SCRATCH --output docs/concepts/scale.md
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from many_cases import clear, elsewhere, replace_block, started
from pages import commit, table

SHAPE, ANNOTATORS, FEW, MORE = (192, 192, 64), 12, 2, 5
VOLUMES, VOXELS = 100_000, 512 * 512 * 300
"""What is asked for."""
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/unit_costs.py SCRATCH"
TRAINING = (
    "--preset",
    "small",
    "--trainer.max-steps",
    "2",
    "--trainer.batch-size",
    "1",
    "--trainer.validate-every",
    "2",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check", "{data}"),
    "agreement": ("agreement", "{data}", "-o", "{out}"),
    "fuse": ("fuse", "{data}", "--with", "staple", "-o", "{out}"),
    "predict": ("predict", "{run}", "{data}", "-o", "{out}", "--device", "cpu"),
    "evaluate": ("evaluate", "{predict}", "{data}", "-o", "{out}"),
    "grade": ("grade", "{run}", "{data}", "-o", "{out}", "--device", "cpu"),
}
BEGUN = "read and prepare"


def make(folder: Path) -> None:
    """Volumes and their annotations, and the indices of the first few and of some more."""
    from scipy.ndimage import gaussian_filter

    from umanet.data.index import ClassDefinition, DatasetIndex, write_index
    from umanet.data.nifti import write_nifti
    from umanet.types import Case, Geometry

    geometry = Geometry(SHAPE, (0.8, 0.8, 1.5), spacing_is_known=True, affine=np.diag([0.8, 0.8, 1.5, 1.0]))
    distance = np.linalg.norm(np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) / 2, axis=0)
    names = tuple(f"annotator{number:02}" for number in range(ANNOTATORS))
    cases = []
    for number in range(MORE):
        rng = np.random.default_rng(number)
        image = folder / "images" / f"case{number}.nii.gz"
        write_nifti(image, (300.0 * (distance < 22) + rng.normal(0, 25, SHAPE)).astype(np.int16), geometry)
        annotations = {}
        for name in names:
            annotations[name] = folder / "annotations" / name / image.name
            wobble = gaussian_filter(rng.normal(size=SHAPE), 6)
            write_nifti(annotations[name], (distance + 30 * wobble < 22).astype(np.uint8), geometry)
        split = ("train", "validation", "test")[min(number, 2)]
        cases.append(Case(f"case{number}", (image,), annotations, patient=f"case{number}", split=split))
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="ball", values=(1,)))
    index = DatasetIndex(
        spatial_dims=3, channels=("ct",), classes=classes, annotators=names, cases=tuple(cases), name="volumes"
    )
    write_index(index, folder / f"{MORE}.json")
    write_index(index.model_copy(update={"cases": index.cases[:FEW]}), folder / f"{FEW}.json")


def per_voxel(folder: Path, made_by: str) -> dict[str, float]:
    """Nanoseconds of a processor a voxel of the image, all 12 annotations included, of every command.

    What was found of this commit is kept in the folder, and not measured again.
    """
    kept = folder / f"ns-{made_by}.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    if not (folder / f"{FEW}.json").exists():
        elsewhere(make, folder)
    if not (folder / "run").exists():
        started(["train", folder / f"{MORE}.json", "-o", folder / "run", "--threads", "1", *TRAINING], folder)
    for name in (BEGUN, *COMMANDS):
        if name not in found:
            found[name] = elsewhere(begin, folder) if name == BEGUN else of_command(folder, name)
            kept.write_text(json.dumps(found))
            print(f"{name}: {found[name]:.0f} ns a voxel", flush=True)
    return found


def of_command(folder: Path, name: str) -> float:
    used = []
    for number in (FEW, MORE):
        data, out = folder / f"{number}.json", folder / f"{name}-{number}"
        clear(out)
        given = {"data": data, "out": out, "run": folder / "run", "predict": folder / f"predict-{number}"}
        used.append(started([word.format(**given) for word in COMMANDS[name]], folder)["processor"])
    return float(1e9 * (used[1] - used[0]) / ((MORE - FEW) * np.prod(SHAPE)))


def begin(folder: Path) -> float:
    """Nanoseconds a voxel to read a case and bring it onto the working grid, as a training does once for each."""
    from umanet.data.images import read_case
    from umanet.data.index import read_index
    from umanet.data.transforms import prepare
    from umanet.inference.model_file import load_model

    index, model = read_index(folder / f"{MORE}.json"), load_model(folder / "run")
    start = time.process_time()
    for case in index.cases:
        prepare(read_case(case, index), model.config.data, 2)
    return float(1e9 * (time.process_time() - start) / (MORE * np.prod(SHAPE)))


def bytes_per_voxel(folder: Path) -> dict[str, float]:
    """As stored, of what is given and what is made."""
    places = {
        "image": "images",
        "annotation": "annotations",
        "predictions": f"predict-{MORE}",
        "grades": f"grade-{MORE}",
    }
    places |= {"consensus": f"fuse-{MORE}"}
    numbers = {"annotation": MORE * ANNOTATORS}
    return {
        name: sum(file.stat().st_size for file in (folder / place).rglob("*.nii.gz"))
        / (numbers.get(name, MORE) * float(np.prod(SHAPE)))
        for name, place in places.items()
    }


def write_large_index(path: Path, number: int) -> dict[str, Any]:
    from umanet.data.index import ClassDefinition, DatasetIndex, write_index
    from umanet.types import Case

    names, root = tuple(f"annotator{r:02}" for r in range(ANNOTATORS)), path.parent
    cases = []
    for at in range(number):
        file = f"case_{at:06}.nii.gz"
        annotations = {name: root / "annotations" / name / file for name in names}
        split = ("train", "validation", "test")[at % 3]
        cases.append(Case(file[:11], (root / "images" / file,), annotations, patient=f"patient_{at // 2}", split=split))
    classes = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="lesion", values=(1,)))
    index = DatasetIndex(spatial_dims=3, channels=("ct",), classes=classes, annotators=names, cases=tuple(cases))
    return _lap(lambda: write_index(index, path))


def use_large_index(path: Path) -> dict[str, dict[str, Any]]:
    import pickle

    from umanet.data.index import fingerprint, read_index

    kept: list[Any] = []
    found = {"`read_index`": _lap(lambda: kept.append(read_index(path)))}
    index = kept[0]
    found["`select`, a split"] = _lap(lambda: index.select("train"))
    found["`fingerprint`"] = _lap(lambda: fingerprint(index))
    found["a case and the rest of the index, packed for a worker"] = _lap(
        lambda: kept.append(pickle.dumps((index.cases[0], index.without_cases())))
    ) | {"bytes": len(kept[-1])}
    return found


def bootstrap(number: int) -> dict[str, dict[str, Any]]:
    from umanet.metrics import bootstrap_interval

    values, patients = np.random.default_rng(0).random(number), [f"patient_{at}" for at in range(number)]
    runs = (lambda: bootstrap_interval(values, patients, seed=0),) * 2
    first, more = map(_lap, runs)
    return {"`bootstrap_interval`, the first metric": first, "`bootstrap_interval`, each further metric": more}


def _lap(function: Callable[[], object]) -> dict[str, Any]:
    """Processor seconds, and the peak of the process until then."""
    start = time.process_time()
    function()
    seconds = time.process_time() - start
    return {"seconds": seconds, "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def of_index(folder: Path, number: int) -> dict[str, dict[str, Any]]:
    path = folder / "large" / "dataset.json"
    path.parent.mkdir(exist_ok=True)
    written = {"`write_index`": elsewhere(write_large_index, path, number) | {"bytes": path.stat().st_size}}
    return written | elsewhere(use_large_index, path) | elsewhere(bootstrap, number)


def page(found: dict[str, Any], command: str) -> str:
    """Unit costs, what they come to, and the index."""
    each = VOXELS * VOLUMES / 1e9 / 3600
    stored = {name: value * VOXELS * VOLUMES / 1e12 for name, value in found["bytes"].items()}
    stored["annotation"] *= ANNOTATORS
    names = {"image": "images", "annotation": f"{ANNOTATORS} annotations each"}
    return "\n".join(
        [
            f"`{command}`, commit {found['commit']}, one thread, processor time (other processes shared the machine): "
            f"{' x '.join(map(str, SHAPE))} voxels, {ANNOTATORS} annotators, gzipped NIfTI, and an index of "
            f"{found['cases']:,} cases. Per voxel of the image, all {ANNOTATORS} annotations included.",
            "",
            *table(
                ["", "ns a voxel", "s a volume of 512 x 512 x 300", "core hours, 100,000 volumes", "days on 64 cores"],
                (
                    [name, f"{ns:.0f}", f"{ns * VOXELS / 1e9:.0f}", f"{ns * each:,.0f}", f"{ns * each / 64 / 24:.1f}"]
                    for name, ns in found["ns"].items()
                ),
            ),
            "",
            *table(
                ["stored", "bytes a voxel", "TB, 100,000 volumes", "hours to read once at 1 GB/s"],
                (
                    [names.get(name, name), f"{value:.3f}", f"{stored[name]:.1f}", f"{stored[name] / 3.6:.1f}"]
                    for name, value in found["bytes"].items()
                ),
            ),
            "",
            *table(
                [f"{found['cases']:,} cases x {ANNOTATORS}", "processor (s)", "peak of the process (MiB)", "MB"],
                (
                    [
                        name,
                        f"{row['seconds']:.2f}",
                        f"{row['mebibytes']:.0f}",
                        f"{row['bytes'] / 1e6:,.3f}" if "bytes" in row else "",
                    ]
                    for name, row in found["index"].items()
                ),
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path, help="a folder for data: 200 MB")
    parser.add_argument("--cases", type=int, default=VOLUMES, help="of the index")
    parser.add_argument("--label", help="in place of the commit")
    parser.add_argument("--json", action="store_true", help="print all figures as the last line")
    parser.add_argument("--output", type=Path, help="also write the tables to this page, between its marks")
    options = parser.parse_args()
    folder = options.scratch.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    made_by = options.label or commit()
    found: dict[str, Any] = {"commit": made_by, "cases": options.cases, "ns": per_voxel(folder, made_by)}
    found |= {"bytes": bytes_per_voxel(folder), "index": of_index(folder, options.cases)}
    if options.output:
        flags = "".join(f" {word}" for word in sys.argv[2:])
        replace_block(options.output, page(found, COMMAND + flags), "unit_costs")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
