"""How fast are the fusions, how much memory do they take, and is STAPLE's result that of SimpleITK's filters?

Simulated annotations, one thread each. At the largest size the filters run once: they take minutes there.

    OMP_NUM_THREADS=1 python benchmarks/staple_speed.py --output benchmarks/results/staple_speed.md

With ``--json`` the figures that have a target are the last line.
"""

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from pages import commit, table
from scipy.ndimage import gaussian_filter

from umanet.fusion import majority_vote, mean, staple
from umanet.fusion.patterns import count_patterns

LARGEST = ((256, 256, 256), 6)
SIZES = (((512, 512), 5), ((128, 128, 128), 6), LARGEST)
CLASSES = (2, 4)
MAX_ITERATIONS = 1000
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/staple_speed.py"
COMPARED = (
    "voxels", "annotators", "classes", "patterns", "SimpleITK (s)", "umanet (s)", "faster", "by processor time",
    "difference",
)  # fmt: skip
PASSES = ("classes", "fusion", "s", "GiB/s", "of a copy's", "peak beyond the input", "beyond in- and output")


def annotate(shape: tuple[int, ...], annotators: int, classes: int) -> np.ndarray:
    """Labels ``(R, *shape)``: nested balls, whose boundary each annotator draws with bias and jitter."""
    rng = np.random.default_rng(0)
    side = shape[0]
    distance = np.linalg.norm(np.indices(shape) - (side - 1) / 2, axis=0) / side
    radii = np.linspace(0.35, 0.15, classes - 1)
    drawn = []
    for _ in range(annotators):
        jitter = gaussian_filter(rng.normal(size=shape), side / 40)
        seen = distance + rng.normal(0, 0.01) + 0.02 * jitter / jitter.std()
        drawn.append(sum((seen < radius).astype(np.uint8) for radius in radii))
    return np.stack(drawn)


def simpleitk_staple(annotations: np.ndarray, classes: int) -> np.ndarray:
    """Foreground probability for two classes, else labels, which are all that its filter returns."""
    images = [sitk.GetImageFromArray(annotation) for annotation in annotations]
    if classes == 2:
        binary = sitk.STAPLEImageFilter()
        binary.SetMaximumIterations(MAX_ITERATIONS)
        return sitk.GetArrayFromImage(binary.Execute(images))
    labels = sitk.MultiLabelSTAPLEImageFilter()
    labels.SetMaximumNumberOfIterations(MAX_ITERATIONS)
    labels.SetTerminationUpdateThreshold(1e-7)
    return sitk.GetArrayFromImage(labels.Execute(images))


class Seconds(NamedTuple):
    """Of the clock, and of the processor for this process alone."""

    wall: float
    processor: float


def timed(function: Callable[[], np.ndarray]) -> tuple[Seconds, np.ndarray]:
    start, begun = time.perf_counter(), time.process_time()
    result = function()
    return Seconds(time.perf_counter() - start, time.process_time() - begun), result


def in_turn(functions: Sequence[Callable[[], object]], rounds: int) -> list[Seconds]:
    """Medians. One after the other in every round: what disturbs the machine disturbs all of them."""
    times = [[timed(function)[0] for function in functions] for _ in range(rounds)]
    return [Seconds(*map(statistics.median, zip(*of_one, strict=True))) for of_one in zip(*times, strict=True)]


def peak(function: Callable[[], object]) -> int:
    """Bytes allocated at once at most, the result included; NumPy reports what it allocates."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def compare(annotations: np.ndarray, classes: int, repeats: int, figures: dict[str, float]) -> list[str]:
    """A row of ``COMPARED``; figures of the largest size."""
    shape, present = annotations.shape[1:], np.ones(len(annotations), bool)

    def ours() -> np.ndarray:
        return staple(annotations, present, classes, max_iterations=MAX_ITERATIONS)[0]

    def theirs() -> np.ndarray:
        return simpleitk_staple(annotations, classes)

    probabilities, (first, reference) = ours(), timed(theirs)
    if (shape, len(annotations)) == LARGEST:
        slow, (fast,) = first, in_turn([ours], repeats)
    else:
        slow, fast = in_turn([theirs, ours], repeats)
    if classes == 2:
        apart = float(np.abs(probabilities[1] - reference).max())
        difference = f"{apart:.1e} at most (probability)"
    else:
        apart = int((probabilities.argmax(axis=0) != reference).sum())
        difference = f"{apart} voxels (labels)"
    if (shape, len(annotations)) == LARGEST:
        name, what = ("staple", "difference") if classes == 2 else ("multi", "voxels_apart")
        figures |= {f"{name}_256_{what}": apart, f"{name}_256_speedup": round(slow.wall / fast.wall, 1)}
        figures[f"{name}_256_speedup_processor"] = round(slow.processor / fast.processor, 1)
    patterns = len(count_patterns(annotations, present, classes).counts)
    times = (f"{slow.wall:.3f}", f"{fast.wall:.3f}", f"{slow.wall / fast.wall:.0f}")
    cells = (len(annotations), classes, patterns, *times, f"{slow.processor / fast.processor:.0f}", difference)
    return [" x ".join(map(str, shape)), *map(str, cells)]


def measure(annotations: np.ndarray, classes: int, repeats: int, figures: dict[str, float]) -> list[list[str]]:
    """Rows of ``PASSES``."""
    present, voxels = np.ones(len(annotations), bool), prod(annotations.shape[1:])
    output = voxels * classes * np.dtype(np.float32).itemsize
    fusions = [partial(fuse, annotations, present, classes) for fuse in (majority_vote, mean, staple)]
    copied, *taken = (times.wall for times in in_turn([annotations.copy, *fusions], repeats))
    speed = 2 * annotations.nbytes / copied
    rows = [[str(classes), "copy of the input", f"{copied:.3f}", f"{speed / 2**30:.1f}", "1", "", ""]]
    for fuse, duration in zip(fusions, taken, strict=True):
        most, through = peak(fuse), (annotations.nbytes + output) / duration
        name, whole = f"{fuse.func.__name__}_{classes}_classes_256", most / annotations.nbytes
        figures[f"{name}_gib_per_s"] = round(through / 2**30, 2)
        figures[f"{name}_of_copy"] = round(through / speed, 2)
        figures[f"{name}_memory_beyond_output"] = round((most - output) / annotations.nbytes, 3)
        if classes == 2:
            figures["memory_bytes_per_input_byte"] = max(figures.get("memory_bytes_per_input_byte", 0), round(whole, 3))
        memory = (f"{whole:.2f} of it", f"{(most - output) / voxels:.2f} bytes a voxel")
        passed = (f"{duration:.3f}", f"{through / 2**30:.1f}", f"{through / speed:.2f}")
        rows.append([str(classes), fuse.func.__name__, *passed, *memory])
    return rows


def page(compared: list[list[str]], passes: list[list[str]], repeats: int) -> str:
    shape, annotators = LARGEST
    lines = [
        "# STAPLE on vote patterns",
        "",
        f"`{COMMAND} --repeats {repeats}`, commit {commit()}, SimpleITK {sitk.Version.VersionString()}, one thread, "
        f"median wall time of {repeats} runs; SimpleITK at the largest size: one run. Where the two ratios "
        "are alike, nothing else was in the way.",
        "",
        *table(COMPARED, compared),
        "",
        f"## Passes over memory: {' x '.join(map(str, shape))}, {annotators} annotators",
        "",
        "GiB/s counts every byte of the input (one a vote) once and every byte of the output (four a class) once, all "
        "of it newly allocated, and so does the copy that it is measured against. Peaks are what is allocated at once, "
        "the output included. The output alone is 1.33 of the input for two classes and 2.67 for four: no fusion into "
        "32-bit maps stays below twice the input there, so the last column says what the fusion itself takes.",
        "",
        *table(PASSES, passes),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the page to this Markdown file")
    parser.add_argument("--repeats", type=int, default=5, help="runs per median (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the figures that have a target as the last line")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    compared, passes, figures = [], [], {}
    for shape, annotators in SIZES:
        for classes in CLASSES:
            annotations = annotate(shape, annotators, classes)
            compared.append(compare(annotations, classes, options.repeats, figures))
            if (shape, annotators) == LARGEST:
                passes += measure(annotations, classes, options.repeats, figures)
    text = page(compared, passes, options.repeats)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
