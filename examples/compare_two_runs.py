"""Is one run better than another? Case by case against the truth, with an interval over patients.

python examples/compare_two_runs.py PREDICTIONS OTHER_PREDICTIONS dataset.json
"""

import sys
from pathlib import Path

import numpy as np

from umanet import DatasetIndex, evaluate, read_index
from umanet.metrics import bootstrap_interval


def compare(first: Path, second: Path, index: DatasetIndex) -> tuple[float, float, float]:
    """By how much Dice the first is above the second on the test cases: mean, and its 95 % interval."""
    ours, theirs = (evaluate(run, index, split="test", against="truth").cases for run in (first, second))
    gains = np.array([one["dice"] - other["dice"] for one, other in zip(ours, theirs, strict=True)])
    return float(gains.mean()), *bootstrap_interval(gains, [row["patient"] for row in ours], seed=0)


if __name__ == "__main__":
    gain, low, high = compare(Path(sys.argv[1]), Path(sys.argv[2]), read_index(Path(sys.argv[3])))
    print(f"Dice {gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
