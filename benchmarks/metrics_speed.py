"""How much faster are the metrics than the loops that one would write and than other packages, with the same numbers?

Simulated cases of 512 x 512 and 128 x 128 x 128 voxels, six annotators, fifty samples; one thread, processor time:

    OMP_NUM_THREADS=1 python benchmarks/metrics_speed.py --output benchmarks/results/metrics_speed.md --json speed.json

Both sides of a ratio run one after the other on the same case; their numbers must agree to a stated tolerance.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from metrics_comparisons import ANNOTATORS, Comparison, all_comparisons
from metrics_rivals import Example
from pages import commit
from scipy.ndimage import gaussian_filter

SAMPLES = 50
SIZES = {(512, 512): 100, (128, 128, 128): 20}
SLOW_CASES = {2: 10, 3: 2}
"""Of rivals that would take most of the time."""
SPACING = {2: (0.7, 0.7), 3: (2.0, 0.8, 0.8)}
LONG = 0.3
"""Seconds; what takes longer is timed once per case."""
SHORT, MOST_REPEATS = 0.02, 15
"""Seconds; what takes less is timed more often."""
FIELDS = 8
"""Smooth random fields, of which every view of a boundary is a mixture."""
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/metrics_speed.py"
PACKAGES = ("numpy", "scipy", "torch", "monai", "torchmetrics", "scikit-learn", "SimpleITK")


@dataclass
class Measured:
    """Of one comparison at one size, a number per case."""

    comparison: Comparison
    shape: tuple[int, ...]
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Medians over cases, of times in ms and of the ratio, with the quartiles of the ratio."""
        ratios = np.divide(self.theirs, self.ours)
        low, middle, high = (float(x) for x in np.percentile(ratios, (25, 50, 75)))
        target = self.comparison.target
        return {
            "metric": self.comparison.metric,
            "rival": self.comparison.rival,
            "shape": list(self.shape),
            "cases": len(ratios),
            "ours_ms": 1e3 * statistics.median(self.ours),
            "theirs_ms": 1e3 * statistics.median(self.theirs),
            "ratio": middle,
            "quartiles": [low, high],
            "difference": max(self.differences),
            "tolerance": self.comparison.tolerance,
            "target": target,
            "missed": target is not None and middle < target,
        }


def draw(shape: tuple[int, ...], number: int) -> Iterator[Example]:
    """Cases one after the other: balls, whose boundary each annotator and each sample sees in its own way."""
    side, grid = shape[0], np.indices(shape, np.float32)
    rng = np.random.default_rng(0)
    noise = [gaussian_filter(rng.standard_normal(shape, np.float32), side / 40) for _ in range(FIELDS)]
    fields = np.stack([one / one.std() for one in noise])
    for _ in range(number):
        centre = side * rng.uniform(0.42, 0.58, len(shape)).astype(np.float32)
        distance = np.linalg.norm(grid - centre.reshape(-1, *[1] * len(shape)), axis=0) / side
        distance -= np.float32(rng.uniform(0.15, 0.3))
        views = [_view(distance, fields, rng) for _ in range(ANNOTATORS + 1)]
        yield Example(
            probability=1 / (1 + np.exp(np.clip(views.pop() * 80, -30, 30))),
            annotations=np.stack([view < 0 for view in views]),
            samples=np.stack([_view(distance, fields, rng) < 0 for _ in range(SAMPLES)]),
            labels=np.stack([(view < 0).astype(np.uint8) + (view < -0.08) for view in views]),
            spacing=SPACING[len(shape)],
        )


def _view(distance: np.ndarray, fields: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mix = rng.standard_normal(len(fields)).astype(np.float32) / np.float32(len(fields) ** 0.5)
    return distance + np.float32(rng.normal(0, 0.01)) + np.float32(0.02) * np.tensordot(mix, fields, axes=1)


def timed(function: Callable[[Example], Any], example: Example) -> tuple[Any, float]:
    """What it returns, and seconds of the processor: the clock on the wall measures what else runs on the machine."""
    start = time.process_time()
    result = function(example)
    return result, time.process_time() - start


def measure(measured: Measured, example: Example, repeats: int) -> None:
    """Check the numbers, which also warms both up, then time them in turn.

    Raises:
        SystemExit: The numbers differ.
    """
    comparison = measured.comparison
    (expected, theirs), (found, _) = (timed(f, example) for f in (comparison.theirs, comparison.ours))
    difference = float(np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64)).max())
    # Written so that NaN fails the comparison.
    if not difference <= comparison.tolerance:
        raise SystemExit(f"{comparison.metric}: {found} found, {expected} expected as of {comparison.rival}.")
    if theirs > LONG:
        times = [(timed(comparison.ours, example)[1], theirs)]
    else:
        number = max(repeats, min(MOST_REPEATS, int(SHORT / max(theirs, 1e-6))))
        times = [tuple(timed(f, example)[1] for f in (comparison.ours, comparison.theirs)) for _ in range(number)]
    ours, theirs = (statistics.median(taken) for taken in zip(*times, strict=True))
    measured.ours.append(ours)
    measured.theirs.append(theirs)
    measured.differences.append(difference)


def measure_all(shape: tuple[int, ...], cases: int, repeats: int) -> list[dict[str, Any]]:
    listed = [Measured(comparison, shape) for comparison in all_comparisons()]
    for number, example in enumerate(draw(shape, cases)):
        for measured in listed:
            if number < SLOW_CASES[len(shape)] or not measured.comparison.slow:
                measure(measured, example, repeats)
    return [measured.row() for measured in listed]


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| metric | compared with | theirs (ms) | ours (ms) | times faster | quartiles | cases | differ by | target |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        (low, high), theirs, ours = row["quartiles"], row["theirs_ms"], row["ours_ms"]
        target = "" if row["target"] is None else f"{row['target']:g}" + (", missed" if row["missed"] else "")
        lines.append(
            f"| `{row['metric']}` | {row['rival']} | {theirs:.2f} | {ours:.2f} | {row['ratio']:.1f} "
            f"| {low:.1f} to {high:.1f} | {row['cases']} | {row['difference']:.0e} | {target} |"
        )
    return lines


def page(rows: list[dict[str, Any]], facts: dict[str, Any]) -> list[str]:
    missed = [row for row in rows if row["missed"]]
    slower = sorted({f"`{row['metric']}` ({row['rival']})" for row in rows if row["ratio"] < 1})
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    start, end = facts["load"]
    lines = [
        "# Metrics: loops, other packages and umanet",
        "",
        f"`{COMMAND}`, commit {facts['commit']}; {packages}.",
        f"Processor time of one thread, {facts['repeats']} to {MOST_REPEATS} runs a case (one, where theirs takes over",
        f"{LONG} s), each side in turn; medians over runs, then over cases, of times and of the ratio of the two, with",
        "the quartiles of the ratio over cases.",
        f"Load of the machine ({facts['cores']} cores): {start:.1f} at the start, {end:.1f} at the end. Above 1, other",
        "processes shared its caches: the ratios, taken within one run, hold better than the times.",
        "",
        f"{ANNOTATORS} annotators, {SAMPLES} samples. Slow comparisons are made on the first cases only. *Differ by*",
        "is the largest absolute difference of the two numbers in any case; the run stops above 1e-9, or above 1e-4",
        "where one side computes in single precision (1e-3 for TorchMetrics' kappa).",
    ]
    for shape in sorted({tuple(row["shape"]) for row in rows}, key=len):
        chosen = [row for row in rows if tuple(row["shape"]) == shape]
        lines += ["", f"## {' x '.join(map(str, shape))}, {max(r['cases'] for r in chosen)} cases", "", *table(chosen)]
    lines += ["", "## Missed targets", ""]
    lines += [f"- `{r['metric']}`, {r['shape']}: {r['ratio']:.1f} of {r['target']:g}." for r in missed] or ["None."]
    lines += ["", "Slower than what it is compared with, at some size: " + (", ".join(slower) or "none") + "."]
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the tables to this Markdown file")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=3, help="runs per case (default: 3)")
    parser.add_argument("--cases", type=int, help="at most so many of each size, for a quick look")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*always_return_as_numpy")
    made_by, load, rows = commit(), [os.getloadavg()[0]], []
    for shape, cases in SIZES.items():
        rows += measure_all(shape, min(cases, options.cases or cases), options.repeats)
    load.append(os.getloadavg()[0])
    facts = {
        "commit": made_by,
        "packages": {name: version(name) for name in PACKAGES},
        "repeats": options.repeats,
        "cores": os.cpu_count(),
        "load": load,
    }
    text = "\n".join(page(rows, facts))
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
