"""How long does a training wait for its data, compared with its steps?

Pictures and volumes with several annotators are simulated into a scratch folder. Measured are what it costs to prepare
a case (read, decoded, packed, fused) and to open it again, what a batch costs once cases are prepared (cut, stacked and
augmented in the training process: the step waits for all of it), and a step itself (forward, backward, clipping and
AdamW), in turn. On a CPU, one thread:

    OMP_NUM_THREADS=1 python benchmarks/loader_cost.py --output benchmarks/results/loader_cost.md
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from math import prod
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from pages import commit, table
from PIL import Image
from scipy.ndimage import gaussian_filter

from umanet.config import RunConfig, build_config
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.methods import Method, build_method
from umanet.training.datamodule import RunData
from umanet.types import Batch, Case

SHAPES = {"2d": ((512, 512), (256, 256), 8, 24), "3d": ((160, 160, 160), (64, 64, 64), 2, 6)}
"""Image, patch, batch, and number of cases."""
TARGET = 0.10
"""Largest share of a step."""
LEARNED = 0.5
"""How far the training is: weights and grades are in force."""
WARM_UP = 10
METHODS = ("majority", "uma-net")
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/loader_cost.py"


@dataclass(frozen=True)
class Row:
    """Of one method: seconds, of batches and steps the medians over rounds; bytes a voxel of a prepared case."""

    dims: str
    annotators: int
    method: str
    place: str
    prepare: float
    reopen: float
    bytes: float
    batch: float
    step: float

    @property
    def share(self) -> float:
        return self.batch / self.step


def simulate(folder: Path, dims: str, annotators: int) -> DatasetIndex:
    """Nested blobs, whose border each annotator draws elsewhere; three classes."""
    shape, _, _, count = SHAPES[dims]
    folder.mkdir(parents=True)
    cases = []
    for number in range(count + 1):
        rng = np.random.default_rng(number)
        field = _smooth(rng, shape)
        image = (40 * (field + 0.3 * rng.normal(size=shape)) + 100).clip(0, 255).astype(np.uint8)
        drawn = {}
        for r in range(annotators):
            seen = field + 0.2 * _smooth(rng, shape)
            labels = sum((seen > level).astype(np.uint8) for level in (1.0, 1.6))
            drawn[f"annotator{r}"] = _write(folder / f"{number}_{r}", labels)
        split = "train" if number < count else "validation"
        cases.append(Case(f"case{number}", (_write(folder / f"{number}", image),), drawn, split=split))
    classes = tuple(ClassDefinition(name=f"class{k}", values=(k,)) for k in range(3))
    names = tuple(f"annotator{r}" for r in range(annotators))
    return DatasetIndex(
        spatial_dims=len(shape), channels=("image",), classes=classes, annotators=names, cases=tuple(cases)
    )


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    field = gaussian_filter(rng.normal(size=shape), shape[0] / 24)
    return field / field.std()


def _write(path: Path, values: np.ndarray) -> Path:
    if values.ndim == 2:
        path = path.with_name(f"{path.name}.png")
        Image.fromarray(values).save(path)
    else:
        path = path.with_name(f"{path.name}.nii.gz")
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def batches_of(data: RunData) -> Iterator[Batch]:
    """As the training gets them, epoch after epoch."""
    while True:
        for patches in data.train_dataloader():
            yield data.on_after_batch_transfer(patches, 0)


def stepper(method: Method) -> Callable[[Batch], None]:
    """A function that trains one step."""
    optimizer = torch.optim.AdamW(method.parameters(), 1e-3)

    def step(batch: Batch) -> None:
        total = torch.stack(list(method.loss(batch, LEARNED).values())).sum()
        total.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def run_config(dims: str, method: str, cache: Path | None) -> RunConfig:
    _, patch, batch, _ = SHAPES[dims]
    data = {"patch": patch, "spacing": "native", "cache": cache}
    values = {"method": method, "data": data, "trainer": {"batch_size": batch}, "uma_net": {"grade": "image"}}
    return build_config(values, len(patch))


def measure(index: DatasetIndex, dims: str, method: str, place: str, scratch: Path, rounds: int) -> Row:
    config = run_config(dims, method, scratch / f"cache_{method}" if place == "disk" else None)
    torch.manual_seed(0)
    network = build_method(index.task, config).train()
    seconds = []
    for _ in range(2):  # memory is another one each time, the disk is the same
        data = RunData(index, index.select("train"), index.select("validation"), network, config, scratch / "run")
        cases = data.training.cases
        started = time.perf_counter()
        for number in range(len(cases)):
            cases[number]
        seconds.append((time.perf_counter() - started) / len(cases))
    step, coming = stepper(network), batches_of(data)
    for batch in islice(coming, WARM_UP):
        step(batch)
    loads, steps = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        batch = next(coming)
        loaded = time.perf_counter()
        step(batch)
        loads.append(loaded - started)
        steps.append(time.perf_counter() - loaded)
    size = cases[0].nbytes / prod(cases[0].shape)
    medians = statistics.median(loads), statistics.median(steps)
    return Row(dims, len(index.annotators), method, place, *seconds, size, *medians)


def page(rows: list[Row], rounds: int) -> str:
    """The figures as Markdown."""
    worst = max(row.share for row in rows)
    lines = [
        "# What data cost beside the steps",
        "",
        f"`{COMMAND}`, commit {commit()}, torch {torch.__version__}, one thread, no loading process: a step waits for "
        f"its batch. Medians over {rounds} rounds of batch and step in turn. 2D: pictures of 512 x 512 pixels, batches "
        "of 8 patches of 256 x 256; 3D: volumes of 160^3 voxels (compressed), batches of 2 patches of 64^3; three "
        "classes, backbone of the preset small, augmentation as by default. Preparing is reading, decoding, packing "
        "and fusing a case; the majority vote has a fused target, UMA-Net none. Files were in the system's cache.",
        "",
        *table(
            [
                "", "annotators", "prepared cases in", "prepare (ms a case)", "open again (ms)", "bytes a voxel",
                "batch (ms)", "step (ms)", "batch / step",
            ],
            (
                [
                    f"{row.dims.upper()}, {row.method}",
                    str(row.annotators),
                    row.place,
                    f"{1000 * row.prepare:.0f}",
                    f"{1000 * row.reopen:.1f}" if row.place == "disk" else "",
                    f"{row.bytes:.1f}",
                    f"{1000 * row.batch:.0f}",
                    f"{1000 * row.step:.0f}",
                    f"{100 * row.share:.1f} %",
                ]
                for row in rows
            ),
        ),
        "",
        f"Largest share: {100 * worst:.1f} % ({'met' if worst < TARGET else '**missed**'}: below {100 * TARGET:.0f} % "
        "of the step).",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--annotators", type=int, nargs="+", default=[1, 6, 12])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print the figure that has a target as the last line")
    parser.add_argument("--output", type=Path, help="also write a page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for dims in options.dims:
            for annotators in options.annotators:
                scratch = Path(folder) / f"{dims}_{annotators}"
                index = simulate(scratch, dims, annotators)
                for method in METHODS:
                    for place in ("memory", "disk"):
                        rows.append(measure(index, dims, method, place, scratch, options.rounds))
                        print(json.dumps(asdict(rows[-1])), flush=True)
    if options.output:
        options.output.write_text(page(rows, options.rounds))
    if options.json:
        print(json.dumps({"loader_share": round(max(row.share for row in rows), 4)}))


if __name__ == "__main__":
    main()
