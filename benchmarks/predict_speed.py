"""Does a prediction in tiles cost more than the network, and how much memory does a large volume take?

Compares ``umanet.inference.tiles`` with MONAI's sliding window and with the bare network on the same tiles, one thread
each, by processor time; then predicts a volume of 512 x 512 x 600 from file to files, with a network that computes
next to nothing, so that the memory is that of everything else:

    OMP_NUM_THREADS=1 python benchmarks/predict_speed.py --json predict_speed.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference

from umanet.config import build_config
from umanet.inference.exported import ReleasedNetwork, onnx_bytes, open_graph
from umanet.inference.model_file import Model
from umanet.inference.predict import predict
from umanet.inference.tiles import run_in_tiles
from umanet.inference.unread import samples_of_images
from umanet.methods import build_method
from umanet.types import Task

CPU, GIB = torch.device("cpu"), 2**30
LARGE, SIDE, PATCH, TILES_AT_ONCE = (512, 512, 600), 96, 48, 4


def make_model(classes: int, patch: int) -> Model:
    names = tuple(f"class{number}" for number in range(classes))
    task = Task(3, ("image",), names, ("one", "two"))
    config = build_config({"preset": "cpu-small", "data": {"patch": [patch] * 3, "spacing": "native"}}, 3)
    torch.manual_seed(0)
    return Model(build_method(task, config).eval(), task, config, (), "", CPU)


def seconds(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor time of each, in turns, so that a busy machine is busy for all."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


@torch.inference_mode()
def compare(repeats: int) -> dict[str, float]:
    model, volume = make_model(2, PATCH), torch.randn(1, 1, SIDE, SIDE, SIDE)
    network, patch = ReleasedNetwork(model.method), (PATCH,) * 3
    starts = range(0, SIDE - PATCH + 1, PATCH // 2)
    tiles = [volume[:, :, x : x + PATCH, y : y + PATCH, z : z + PATCH] for x in starts for y in starts for z in starts]
    batches = [torch.cat(tiles[at : at + TILES_AT_ONCE]) for at in range(0, len(tiles), TILES_AT_ONCE)]
    graph = open_graph(onnx_bytes(model, "{}")[0], threads=1)

    def in_bfloat16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            [network(batch) for batch in batches]

    def with_monai() -> object:
        return sliding_window_inference(volume, patch, TILES_AT_ONCE, network, overlap=0.5, mode="gaussian")

    found = seconds(
        {
            "bare": lambda: [network(batch) for batch in batches],
            "ours": lambda: run_in_tiles(network, volume, patch, CPU),
            "monai": with_monai,
            "onnx": lambda: run_in_tiles(graph, volume, patch, CPU),
            "bf16": in_bfloat16,
        },
        repeats,
    )
    return {
        "ratio_to_monai": found["ours"] / found["monai"],
        "ratio_to_bare": found["ours"] / found["bare"],
        "ratio_onnx_to_torch": found["onnx"] / found["ours"],
        "ratio_bf16_to_float32": found["bf16"] / found["bare"],
        "seconds_bare": found["bare"],
    }


def memory(key: str) -> float:
    """GiB, from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / GIB


def peak(classes: int) -> float:
    """Beyond the program and the model, in GiB."""
    from umanet.data.index import ClassDefinition

    model = make_model(classes, SIDE)
    definitions = tuple(ClassDefinition(name=name, values=(k,)) for k, name in enumerate(model.task.classes))
    model = Model(model.method, model.task, model.config, definitions, "", CPU)

    def network(tile: torch.Tensor) -> torch.Tensor:
        return torch.cat([tile * k for k in range(classes)], 1).softmax(1)

    with tempfile.TemporaryDirectory() as folder:
        for name, shape in (("small", (64, 64, 64)), ("large", LARGE)):
            ramp = np.broadcast_to(np.arange(shape[0], dtype=np.int16)[:, None, None], shape)
            nib.save(nib.Nifti1Image(ramp, np.diag([0.7, 0.7, 1, 1])), Path(folder, f"{name}.nii"))
            del ramp
            before = memory("VmRSS")
            cases, samples = samples_of_images(model, [Path(folder, f"{name}.nii")])
            predict(model, samples, Path(folder, f"{name}-out"), total=len(cases), wanted=wanted)
    return memory("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 4], help="of the large volume, one run each")
    parser.add_argument("--peak", type=int, help="only the memory with so many classes, in this process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak))
        return
    figures: dict[str, object] = dict(compare(options.repeats))
    by_classes = {}
    for classes in options.classes:  # a process each: a peak is never forgotten
        command = [sys.executable, __file__, "--peak", str(classes)]
        by_classes[str(classes)] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    figures["peak_gib_512x512x600"] = max(by_classes.values())
    figures["peak_gib_by_classes"] = by_classes
    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
