"""What does a training step of UMA-Net cost, compared with one of the majority vote?

Both have the same backbone, batch and patch, in the same process, step by step in turn; ratios are medians over these
turns. A step is forward, backward, clipping and AdamW; loading data and fusing are not in it. Peak memory is that of a
process which does nothing else: what the steps add to the largest resident size (on a CPU), or what is allocated (on a
CUDA device). One thread on a CPU:

    OMP_NUM_THREADS=1 python benchmarks/step_cost.py --output benchmarks/results/step_cost.md
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from pages import commit, table
from torch.nn import functional

from umanet.config import build_config
from umanet.methods import Method, build_method
from umanet.types import Batch, Task

SHAPES = {"2d": ((256, 256), 8), "3d": ((64, 64, 64), 2)}
"""Patch and batch of the targets."""
TARGETS = {"ratio_2d_r6": 1.25, "ratio_3d_r6": 1.25, "ratio_2d_r12": 1.5, "memory_ratio_r6": 1.5}
LEARNED = 0.5
"""How far the training is: weights and grades are in force."""
WARM_UP = 20
"""Steps before: as long as a network has learned nothing, it predicts foreground everywhere, and all is of interest."""
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/step_cost.py"


@dataclass(frozen=True)
class Setting:
    """What is measured: method and number of annotators; the rest is common."""

    method: str
    annotators: int
    patch: tuple[int, ...]
    batch: int
    classes: int
    preset: str
    device: str
    precision: str


def batch_of(setting: Setting) -> Batch:
    """Blobs of which every annotator draws the border elsewhere."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randn(setting.batch, 1, *[max(side // 16, 4) for side in setting.patch], generator=rng)
    mode = {2: "bilinear", 3: "trilinear"}[len(setting.patch)]
    field = functional.interpolate(coarse, setting.patch, mode=mode)
    image = field + 0.3 * torch.randn(field.shape, generator=rng)
    own = torch.randn(setting.batch, setting.annotators, *coarse.shape[2:], generator=rng)
    seen = field + 0.2 * functional.interpolate(own, setting.patch, mode=mode)
    levels = torch.linspace(0.6, 1.2, setting.classes - 1)
    labels = sum((seen > level).to(torch.uint8) for level in levels)
    assert isinstance(labels, torch.Tensor)
    onehot = functional.one_hot(labels.long(), setting.classes)
    target = functional.one_hot(onehot.sum(1).max(-1).indices, setting.classes).movedim(-1, 1).float()
    present = torch.ones(setting.batch, setting.annotators, dtype=torch.bool)
    return Batch(image, labels, present, target if setting.method == "majority" else None)


def method_of(setting: Setting) -> Method:
    """The method, on the device, as it is trained."""
    torch.manual_seed(0)
    classes = tuple(f"class{number}" for number in range(setting.classes))
    annotators = tuple(f"annotator{number}" for number in range(setting.annotators))
    task = Task(len(setting.patch), ("image",), classes, annotators)
    config = build_config({"preset": setting.preset, "method": setting.method}, len(setting.patch))
    config = config.model_copy(update={"uma_net": config.uma_net.model_copy(update={"grade": "image"})})
    return build_method(task, config).to(setting.device).train()


def steps_of(setting: Setting) -> Callable[[], None]:
    """A function that trains one step and waits for it."""
    method, batch = method_of(setting), batch_of(setting).to(setting.device)
    return step_with(lambda: torch.stack(list(method.loss(batch, LEARNED).values())).sum(), method, setting)


def step_with(loss: Callable[[], torch.Tensor], network: torch.nn.Module, setting: Setting) -> Callable[[], None]:
    """A function that lowers a loss by a step and waits for it."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    half = {"bf16": torch.bfloat16, "16": torch.float16}.get(setting.precision)

    def step() -> None:
        with nullcontext() if half is None else torch.autocast(setting.device, half):
            total = loss()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if setting.device == "cuda":
            torch.cuda.synchronize()

    return step


def times_in_turn(steps: dict[str, Callable[[], None]], rounds: int, warm_up: int = WARM_UP) -> dict[str, list[float]]:
    """Seconds of every step, contenders in turn."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warm_up + rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number >= warm_up:
                times[name].append(time.perf_counter() - started)
    return times


def peak_memory(setting: Setting) -> int:
    """Bytes that three steps need beyond what there is before them, in a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (setting,))


def _peak_memory(setting: Setting) -> int:
    torch.set_num_threads(1)
    step = steps_of(setting)
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here, not from the parent's
    for _ in range(3):
        step()
    return torch.cuda.max_memory_allocated() if setting.device == "cuda" else resident("VmHWM") - before


def resident(which: str) -> int:
    """Bytes of this process: now (VmRSS), or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024


def measure(options: argparse.Namespace) -> list[dict]:
    """A row per dimension and number of annotators."""
    rows = []
    for dims in options.dims:
        patch, batch = SHAPES[dims]

        def setting(method: str, annotators: int, patch=patch, batch=batch) -> Setting:
            return Setting(
                method, annotators, patch, batch, options.classes, options.preset, options.device, options.precision
            )

        majority = setting("majority", 6)
        contenders = {"majority": majority} | {f"r{r}": setting("uma-net", r) for r in options.annotators}
        times = times_in_turn({name: steps_of(each) for name, each in contenders.items()}, options.rounds)
        memory = {name: peak_memory(each) for name, each in contenders.items()} if options.memory else {}
        for name, found in times.items():
            ratios = [own / base for own, base in zip(found, times["majority"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            rows.append(
                {
                    "dims": dims,
                    "method": contenders[name].method,
                    "annotators": contenders[name].annotators,
                    "seconds": statistics.median(found),
                    "ratio": middle,
                    "ratio_quartiles": [low, high],
                    "mebibytes": memory[name] / 2**20 if memory else None,
                    "memory_ratio": memory[name] / memory["majority"] if memory else None,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def targets_of(rows: list[dict]) -> dict[str, float]:
    """The figures that have a target; memory is the worse of 2D and 3D."""
    ratio = {f"ratio_{row['dims']}_r{row['annotators']}": row["ratio"] for row in rows if row["method"] == "uma-net"}
    memory = [row["memory_ratio"] for row in rows if row["method"] == "uma-net" and row["annotators"] == 6]
    found = ratio | ({"memory_ratio_r6": max(memory)} if memory and None not in memory else {})
    return {name: round(found[name], 3) for name in TARGETS if name in found}


def page(rows: list[dict], options: argparse.Namespace, command: str) -> str:
    """The figures as Markdown, missed targets marked."""
    found = targets_of(rows)
    said = (
        f"`{command}`, commit {commit()}, torch {torch.__version__}, {options.device}, precision {options.precision}, "
        f"backbone of the preset {options.preset}, {options.classes} classes (background included); 2D: 8 images of "
        "256 x 256 pixels, 3D: 2 volumes of 64^3 voxels. Blobs of which every annotator draws the border elsewhere: a "
        "quarter of the voxels is drawn by somebody, a sixth is disputed; networks have learned for 20 steps. A step "
        f"is forward, backward, clipping and AdamW. Medians over {options.rounds} rounds in which all take turns in "
        "one process; in brackets the quartiles of the ratio, which are what the machine makes of it. Peak memory: "
        "what three steps need beyond what there was, in a process of their own, at the start of a training, where a "
        "network that has learned nothing takes every voxel for foreground."
    )
    lines = [
        "# What a training step costs",
        "",
        said,
        "",
        *table(
            ["", "annotators", "s", "times the majority vote", "MiB", "times the majority vote"],
            (
                [
                    f"{row['dims'].upper()}, {row['method']}",
                    "" if row["method"] == "majority" else str(row["annotators"]),
                    f"{row['seconds']:.3f}",
                    f"{row['ratio']:.2f} ({row['ratio_quartiles'][0]:.2f} to {row['ratio_quartiles'][1]:.2f})",
                    "" if row["mebibytes"] is None else f"{row['mebibytes']:.0f}",
                    "" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}",
                ]
                for row in rows
            ),
        ),
        "",
        *table(
            ["figure", "found", "at most", ""],
            (
                [f"`{name}`", f"{value:.2f}", f"{TARGETS[name]:.2f}", "met" if value <= TARGETS[name] else "**missed**"]
                for name, value in found.items()
            ),
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--annotators", type=int, nargs="+", default=[1, 3, 6, 12])
    parser.add_argument("--classes", type=int, default=3, help="background included")
    parser.add_argument("--preset", default="small", help="whose backbone")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32", choices=["32", "bf16", "16"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--json", action="store_true", help="print the figures that have a target as the last line")
    parser.add_argument("--output", type=Path, help="also write a page")
    options = parser.parse_args()
    rows = measure(options)
    if options.output:
        options.output.write_text(page(rows, options, COMMAND + "".join(f" {word}" for word in sys.argv[1:])))
    if options.json:
        print(json.dumps(targets_of(rows)))


if __name__ == "__main__":
    main()
