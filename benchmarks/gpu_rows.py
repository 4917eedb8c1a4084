"""One row of ``gpu_table.py``, measured in the process that calls ``measured``."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from step_cost import LEARNED, Setting, batch_of, method_of, resident, step_with
from torch.nn import functional

from umanet.config import build_config
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.inference.tiles import run_in_tiles
from umanet.methods import Method
from umanet.training.datamodule import RunData
from umanet.types import Batch, Case

CLASSES, LOADED_CASES = 3, 8
PRECISIONS = {"fp32": "32", "bf16": "bf16", "compiled": "bf16"}
"""Of a variant; compiled are backbone and predictors, in bf16."""


@dataclass(frozen=True)
class Row:
    """What is measured: ``step``, ``predict`` or ``loading``; ``bare`` is backbone and predictor by cross-entropy."""

    kind: str
    method: str
    annotators: int
    dims: str
    preset: str
    variant: str
    device: str
    quick: bool

    @property
    def setting(self) -> Setting:
        shapes = {"2d": ((32, 32), 2), "3d": ((16, 16, 16), 1)} if self.quick else {}
        patch, batch = (shapes or {"2d": ((512, 512), 8), "3d": ((128, 128, 128), 2)})[self.dims]
        method = "majority" if self.method == "bare" else self.method
        precision = PRECISIONS[self.variant]
        return Setting(method, self.annotators, patch, batch, CLASSES, self.preset, self.device, precision)

    @property
    def rounds(self) -> tuple[int, int]:
        """Steps before, and steps that count."""
        return (1, 3) if self.quick else (10, 30)


def measured(row: Row) -> dict[str, Any]:
    """Its figures."""
    return {"step": _step, "predict": _predict, "loading": _loading}[row.kind](row)


def trained(row: Row) -> tuple[Method, Callable[[Batch], torch.Tensor], Batch]:
    """The method, compiled where asked for, its loss, and a batch on the device."""
    method, batch = method_of(row.setting), batch_of(row.setting).to(row.device)
    if row.variant == "compiled":
        for part in (method.backbone, method.primary):
            part.compile()  # type: ignore[operator]

    def loss(given: Batch) -> torch.Tensor:
        if row.method == "bare":
            network: Any = method
            return functional.cross_entropy(network.primary(network.backbone(given.image)).float(), given.target)
        return torch.stack(list(method.loss(given, LEARNED).values())).sum()

    return method, loss, batch


def wait(device: str) -> None:
    """Until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(do: Callable[[], object], row: Row, each: Callable[[], None] = lambda: None) -> float:
    """Median over rounds, after a warm-up; ``each`` is called after a round."""
    before, rounds = row.rounds
    times = []
    for number in range(before + rounds):
        wait(row.device)
        started = time.perf_counter()
        do()
        wait(row.device)
        if number >= before:
            times.append(time.perf_counter() - started)
            each()
    return statistics.median(times)


def _step(row: Row) -> dict[str, Any]:
    method, loss, batch = trained(row)
    step, busy = step_with(lambda: loss(batch), method, row.setting), Utilisation(row.device)
    middle = seconds(step, row, busy.look)
    peak = torch.cuda.max_memory_allocated() if row.device == "cuda" else resident("VmHWM")
    found = {"seconds": middle, "samples": len(batch.image), "mebibytes": peak / 2**20}
    return found | {"busy": busy.mean(step)}


class Utilisation:
    """Share of the time in which a CUDA device computes: by its driver, or else of a profiled step; None: not known."""

    def __init__(self, device: str):
        self.device, self.seen = device, list[float]()

    def look(self) -> None:
        """Ask the driver."""
        if self.device == "cuda":
            try:
                self.seen.append(torch.cuda.utilization() / 100)
            except (ImportError, RuntimeError):  # no pynvml (ModuleNotFoundError), or no right to ask
                self.device = "cuda, profiled"

    def mean(self, step: Callable[[], None]) -> float | None:
        """Of what was seen."""
        if self.seen:
            return statistics.fmean(self.seen)
        if self.device == "cpu":
            return None
        started = time.perf_counter()
        with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
            step()
            whole = time.perf_counter() - started
        return min(sum(each.self_device_time_total for each in profile.key_averages()) / 1e6 / whole, 1.0)


def _predict(row: Row) -> dict[str, Any]:
    setting = row.setting
    method, patch = method_of(setting).eval(), setting.patch
    image = torch.randn(1, 1, *[(2 if row.dims == "3d" else 4) * side for side in patch])
    precision: Any = setting.precision

    def predict() -> object:
        return run_in_tiles(
            lambda tile: method.predict(tile).probabilities, image, patch, torch.device(row.device), precision
        )

    return {"seconds": seconds(predict, row), "voxels": image.numel()}


def _loading(row: Row) -> dict[str, Any]:
    """A step with batches of the loader against one with a batch that is there."""
    method, loss, batch = trained(row)
    step = step_with(lambda: loss(batch), method, row.setting)
    fixed = seconds(step, row)
    with tempfile.TemporaryDirectory() as folder:
        batches = _batches(row, method, Path(folder))

        def loaded() -> None:
            nonlocal batch
            batch = next(batches)
            step()

        real = seconds(loaded, row)
        batches.close()  # type: ignore[attr-defined]
    return {"seconds": real, "fixed": fixed, "idle": max(1 - fixed / real, 0.0)}


def _batches(row: Row, method: Method, folder: Path) -> Iterator[Batch]:
    """As a run loads and augments them, from a small data set on disk."""
    setting, steps = row.setting, sum(row.rounds)
    patch, workers = list(setting.patch), 0 if row.quick else 8
    given = {
        "preset": setting.preset,
        "method": setting.method,
        "data": {"patch": patch, "spacing": "native", "workers": workers},
        "trainer": {"batch_size": setting.batch, "max_steps": steps, "validate_every": steps},
    }
    index = _dataset(setting, folder)
    data = RunData(index, list(index.cases), [], method, build_config(given, len(patch)), folder / "cache")
    for patches in data.train_dataloader():
        yield data.on_after_batch_transfer(patches.to(torch.device(row.device)), 0)


def _dataset(setting: Setting, folder: Path) -> DatasetIndex:
    names, cases = tuple(f"annotator{number}" for number in range(setting.annotators)), []
    for number in range(LOADED_CASES):
        batch, files = batch_of(setting), {}
        arrays = {"image": batch.image[0, 0].numpy()} | dict(zip(names, batch.annotations[0].numpy(), strict=True))
        for name, array in arrays.items():
            files[name] = folder / f"case{number}-{name}.nii.gz"
            flat = array if array.ndim == 3 else array[..., None]
            nib.save(nib.Nifti1Image(flat, np.eye(4)), files[name])
        cases.append(Case(f"case{number}", (files.pop("image"),), files, split="train"))
    return DatasetIndex(
        spatial_dims=len(setting.patch),  # type: ignore[arg-type]
        channels=("image",),
        classes=tuple(ClassDefinition(name=f"class{k}", values=(k,)) for k in range(setting.classes)),
        annotators=names,
        cases=tuple(cases),
    )


def profile_of(row: Row) -> str:
    """The operators of one step that take longest, and what the host waits for."""
    method, loss, batch = trained(row)
    step = step_with(lambda: loss(batch), method, row.setting)
    for _ in range(row.rounds[0]):
        step()
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
        step()
    averages = profile.key_averages()
    waits = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "cudaStreamSynchronize", "cudaMemcpyAsync")
    counted = [
        f"{each.key}: {each.count}, {each.cpu_time_total / 1e3:.1f} ms" for each in averages if each.key in waits
    ]
    by = "self_cuda_time_total" if row.device == "cuda" else "self_cpu_time_total"
    table = averages.table(sort_by=by, row_limit=20, max_name_column_width=40)
    return "\n".join([table.rstrip(), "", "Host waits:", *counted])
