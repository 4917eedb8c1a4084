"""Is one run better than another? Case by case against the truth, with an interval over patients.

python examples/compare_two_runs.py PREDICTIONS OTHER_PREDICTIONS dataset.json
"""

from argparse import ArgumentParser
from pathlib import Path

from umanet import DatasetIndex, compare, evaluate, read_index


def dice_gain(first: Path, second: Path, index: DatasetIndex) -> tuple[float, float, float]:
    """By how much Dice the first is above the second on the test cases: mean, and its 95 % interval."""
    scores = {name: evaluate(path, index, split="test", against="truth")
              for name, path in {"first": first, "second": second}.items()}  # fmt: skip
    row = compare(scores, baseline="second", metrics=["dice"]).rows[0]
    return row["difference"], row["low"], row["high"]


if __name__ == "__main__":
    parser = ArgumentParser(description=str(__doc__).splitlines()[0])
    for name in ("predictions", "other_predictions", "dataset"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    gain, low, high = dice_gain(given.predictions, given.other_predictions, read_index(given.dataset))
    print(f"Dice {gain:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
