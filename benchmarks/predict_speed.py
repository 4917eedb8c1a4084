"""What does a prediction cost beside the network, and how much memory does a large volume take?

Compares ``umanet.inference.tiles`` with MONAI's sliding window, with the bare network on the same tiles, with ONNX
Runtime and with bfloat16, one thread each, by processor time; then predicts files with and without reading and writing
meanwhile, by the wall; then a volume of 512 x 512 x 600 from file to files, with a network that computes next to
nothing, so that the memory is that of everything else:

    OMP_NUM_THREADS=1 python benchmarks/predict_speed.py --output benchmarks/results/predict_speed.md

With ``--json`` the figures are the last line.
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
from unittest.mock import patch as replaced

import nibabel as nib
import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from pages import commit, table

from umanet.config import build_config
from umanet.data.index import ClassDefinition
from umanet.inference.exported import ReleasedNetwork, onnx_bytes, open_graph
from umanet.inference.model_file import Model
from umanet.inference.predict import Wanted, predict
from umanet.inference.tiles import in_bfloat16, run_in_tiles
from umanet.inference.unread import samples_of_images
from umanet.methods import build_method
from umanet.types import Task

CPU, GIB = torch.device("cpu"), 2**30
LARGE, TILES_AT_ONCE = (512, 512, 600), 4
SETTINGS = {"2d": ((768, 768), (256, 256), "small"), "3d": ((128, 128, 128), (64, 64, 64), "small")}
"""Image, patch, and whose backbone."""
FILES = 12
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/predict_speed.py"


def make_model(classes: int, patch: tuple[int, ...], preset: str) -> Model:
    names = tuple(f"class{number}" for number in range(classes))
    task = Task(len(patch), ("image",), names, ("one", "two"))
    config = build_config({"preset": preset, "data": {"patch": patch, "spacing": "native"}}, len(patch))
    torch.manual_seed(0)
    definitions = tuple(ClassDefinition(name=name, values=(k,)) for k, name in enumerate(names))
    return Model(build_method(task, config).eval(), task, config, definitions, "", CPU)


def seconds(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor time of each, in turns there and back, so that a busy machine is busy for all."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats):
        for name, function in list(functions.items())[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


@torch.inference_mode()
def compare(dims: str, repeats: int) -> dict[str, float]:
    shape, patch, preset = SETTINGS[dims]
    model, image = make_model(2, patch, preset), torch.randn(1, 1, *shape)
    network = ReleasedNetwork(model.method)
    graph = open_graph(onnx_bytes(model, "")[0], 1)
    half = in_bfloat16(network)
    steps = [range(0, side - own + 1, own // 2) for side, own in zip(shape, patch, strict=True)]
    corners = [torch.tensor(place) for place in np.stack(np.meshgrid(*steps), -1).reshape(-1, len(shape))]
    tiles = [image[(..., *(slice(at, at + own) for at, own in zip(c.tolist(), patch, strict=True)))] for c in corners]
    batches = [torch.cat(tiles[first : first + TILES_AT_ONCE]) for first in range(0, len(tiles), TILES_AT_ONCE)]
    found = seconds(
        {
            "bare": lambda: [network(batch) for batch in batches],
            "ours": lambda: run_in_tiles(network, image, patch, CPU),
            "monai": lambda: sliding_window_inference(image, patch, TILES_AT_ONCE, network, 0.5, "gaussian"),
            "onnx": lambda: run_in_tiles(graph, image, patch, CPU),
            "bf16": lambda: run_in_tiles(half, image, patch, CPU),
        },
        repeats,
    )
    ours, changed = (run_in_tiles(each, image, patch, CPU).argmax(1) for each in (network, half))
    return {
        "ratio_to_monai": found["ours"] / found["monai"],
        "ratio_to_bare": found["ours"] / found["bare"],
        "ratio_onnx_to_torch": found["onnx"] / found["ours"],
        "ratio_bf16_to_float32": found["bf16"] / found["ours"],
        "labels_changed_by_bf16": float((ours != changed).float().mean()),
        "seconds": found["ours"],
    }


def overlap(dims: str, repeats: int) -> float:
    """Wall time of files that are read and written meanwhile, over that of one after the other."""
    shape, patch, preset = SETTINGS[dims]
    model, rng = make_model(2, patch, preset), np.random.default_rng(0)
    times: dict[int, list[float]] = {0: [], 2**40: []}
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for number in range(FILES):
            images.append(Path(folder, f"{number}.nii.gz"))
            values = rng.integers(0, 1000, (*shape, 1)[:3]).astype(np.int16)
            nib.save(nib.Nifti1Image(values, np.eye(4)), images[-1])
        for turn in range(repeats):
            for largest, found in times.items():  # 0: all are large, and so alone
                with replaced("umanet.inference.predict.LARGE", largest):
                    start = time.perf_counter()
                    predict(model, samples_of_images(model, images)[1], Path(folder, f"{turn}-{largest}"))
                    found.append(time.perf_counter() - start)
    alone, meanwhile = map(statistics.median, times.values())
    return meanwhile / alone


def memory(key: str) -> float:
    """GiB, from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / GIB


def peak(classes: int) -> float:
    """Beyond the program and the model, in GiB."""
    model = make_model(classes, (96, 96, 96), "cpu-small")

    def network(tile: torch.Tensor) -> torch.Tensor:
        return torch.cat([tile * k for k in range(classes)], 1).softmax(1)

    wanted = Wanted(network=lambda _: network)
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in (("small", (64, 64, 64)), ("large", LARGE)):
            ramp = np.broadcast_to(np.arange(shape[0], dtype=np.int16)[:, None, None], shape)
            nib.save(nib.Nifti1Image(ramp, np.diag([0.7, 0.7, 1, 1])), Path(folder, f"{name}.nii"))
            del ramp
            before = memory("VmRSS")
            cases, samples = samples_of_images(model, [Path(folder, f"{name}.nii")])
            predict(model, samples, Path(folder, f"{name}-out"), total=len(cases), wanted=wanted)
    return memory("VmHWM") - before


def page(figures: dict[str, dict[str, float]], peaks: dict[str, float], repeats: int) -> str:
    rows = {
        "seconds": "an image in tiles (s)",
        "ratio_to_bare": "tiles over the bare network on them",
        "ratio_to_monai": "over MONAI's sliding window",
        "ratio_onnx_to_torch": "ONNX Runtime over PyTorch",
        "ratio_bf16_to_float32": "bfloat16 over float32",
        "labels_changed_by_bf16": "voxels whose label bfloat16 changes",
        "overlap": "files read and written meanwhile, over one after the other",
    }
    lines = [
        "# What a prediction costs",
        "",
        f"`{COMMAND}`, commit {commit()}, torch {torch.__version__}, one thread, medians of {repeats} turns; processor "
        f"time, but for the last row, which is of the wall, of {FILES} compressed NIfTI files on two cores. 2D: 768 x "
        "768 pixels in tiles of 256 x 256; 3D: 128^3 voxels in tiles of 64^3; half overlapping, backbone of the preset "
        "small, untrained.",
        "",
        *table(
            ["", *(name.upper() for name in figures)],
            ([said, *(f"{found[key]:.3g}" for found in figures.values())] for key, said in rows.items()),
        ),
        "",
        f"A volume of {' x '.join(map(str, LARGE))} voxels, from an uncompressed file to files, native spacing, a "
        "network that takes next to nothing: "
        + ", ".join(f"{gib:.2f} GiB with {classes} classes" for classes, gib in peaks.items())
        + " beyond the program and the model (at most 4).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as the last line")
    parser.add_argument("--output", type=Path, help="also write a page")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 4], help="of the large volume, one run each")
    parser.add_argument("--peak", type=int, help="only the memory with so many classes, in this process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak))
        return
    figures = {dims: compare(dims, options.repeats) | {"overlap": overlap(dims, options.repeats)} for dims in SETTINGS}
    peaks = {}
    for classes in options.classes:  # a process each: a peak is never forgotten
        command = [sys.executable, __file__, "--peak", str(classes)]
        peaks[str(classes)] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if options.output:
        options.output.write_text(page(figures, peaks, options.repeats))
    if options.json:
        print(json.dumps(figures | {"peak_gib_512x512x600": peaks}))


if __name__ == "__main__":
    main()
