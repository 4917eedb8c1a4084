"""How long does a training wait for its data, compared with its steps?

Pictures and volumes with several annotators are simulated into a scratch folder. Measured are what a case costs when it
is read for the first time, what a batch costs once cases are prepared (cut out, put together, augmented, in the
training process: the step waits for all of it), and a step itself (forward, backward, clipping and AdamW), in turn. On
a CPU, one thread:

    OMP_NUM_THREADS=1 python benchmarks/loader_cost.py --output benchmarks/results/loader_cost.md
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
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
METHODS = ("majority", "uma-net")
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/loader_cost.py"


@dataclass(frozen=True)
class Row:
    """Of one method: seconds, medians over rounds."""

    dims: str
    method: str
    annotators: int
    where: str
    first: float
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


def stepper(method: Method):
    """A function that trains one step."""
    optimizer = torch.optim.AdamW(method.parameters(), 1e-3)

    def step(batch: Batch) -> None:
        total = torch.stack(list(method.loss(batch, LEARNED).values())).sum()
        total.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def run_config(dims: str, method: str) -> RunConfig:
    _, patch, batch, _ = SHAPES[dims]
    data = {"patch": patch, "spacing": "native"}
    values = {"method": method, "data": data, "trainer": {"batch_size": batch}, "uma_net": {"grade": "image"}}
    return build_config(values, len(patch))


def measure(index: DatasetIndex, dims: str, method: str, rounds: int, folder: Path) -> Row:
    config = run_config(dims, method)
    torch.manual_seed(0)
    network = build_method(index.task, config).train()
    data = RunData(index, index.select("train"), index.select("validation"), network, config, folder)
    count = len(index.select("train"))
    batch_size = config.trainer.batch_size
    started = time.perf_counter()
    for position in range(count):
        data.training[0, position, position]
    first = (time.perf_counter() - started) / count
    step, coming = stepper(network), batches_of(data)
    for batch in islice(coming, 10):
        step(batch)
    loads, steps = [], []
    for _ in range(rounds):
        times = [time.perf_counter()]
        batch = next(coming)
        times.append(time.perf_counter())
        step(batch)
        times.append(time.perf_counter())
        loads.append(times[1] - times[0])
        steps.append(times[2] - times[1])
    assert len(batch.image) == batch_size
    return Row(dims, method, len(index.annotators), where, first, statistics.median(loads), statistics.median(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--annotators", type=int, nargs="+", default=[1, 6, 12])
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        for dims in options.dims:
            for annotators in options.annotators:
                index = simulate(Path(scratch) / f"{dims}_{annotators}", dims, annotators)
                for method in METHODS:
                    row = measure(index, dims, method, options.rounds)
                    print(json.dumps(asdict(row) | {"share": round(row.share, 3)}), flush=True)


if __name__ == "__main__":
    main()
