"""How much faster is STAPLE on vote patterns than on voxels, and is it the same result?

Compares ``umanet.fusion.staple`` with SimpleITK's filters on simulated annotations, one thread each:

    OMP_NUM_THREADS=1 python benchmarks/staple_speed.py --output benchmarks/results/staple_speed.md
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pages import commit
from scipy.ndimage import gaussian_filter

from umanet.fusion import staple
from umanet.fusion.patterns import count_patterns

SIZES = (((512, 512), 5), ((128, 128, 128), 6))
CLASSES = (2, 4)
MAX_ITERATIONS = 1000
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/staple_speed.py"


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


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(shape: tuple[int, ...], annotators: int, classes: int, repeats: int) -> str:
    annotations, present = annotate(shape, annotators, classes), np.ones(annotators, bool)
    probabilities, _ = staple(annotations, present, classes, max_iterations=MAX_ITERATIONS)
    reference = simpleitk_staple(annotations, classes)
    if classes == 2:
        difference = f"{np.abs(probabilities[1] - reference).max():.1e} at most (probability)"
    else:
        difference = f"{(probabilities.argmax(axis=0) != reference).sum()} voxels (labels)"
    ours = seconds(lambda: staple(annotations, present, classes, max_iterations=MAX_ITERATIONS), repeats)
    theirs = seconds(lambda: simpleitk_staple(annotations, classes), repeats)
    patterns = len(count_patterns(annotations, present, classes).counts)
    size = " x ".join(map(str, shape))
    return (
        f"| {size} | {annotators} | {classes} | {patterns} | {theirs:.3f} | {ours:.3f} "
        f"| {theirs / ours:.0f} | {difference} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--repeats", type=int, default=3, help="runs per median (default: 3)")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = [row(shape, annotators, classes, options.repeats) for shape, annotators in SIZES for classes in CLASSES]
    table = [
        "# STAPLE on vote patterns",
        "",
        f"`{COMMAND} --repeats {options.repeats}`, commit {commit()}, "
        f"SimpleITK {sitk.Version.VersionString()}, one thread, median wall time of {options.repeats} runs.",
        "",
        "| voxels | annotators | classes | patterns | SimpleITK (s) | umanet (s) | faster | difference |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    print("\n".join(table))
    if options.output:
        options.output.write_text("\n".join(table), encoding="utf-8")


if __name__ == "__main__":
    main()
