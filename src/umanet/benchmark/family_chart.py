"""Scores over a number that the names of scenarios end with (``annotators-1`` to ``annotators-12``), as a picture."""

import io
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from umanet.benchmark.ranks_chart import OTHER, OWN
from umanet.data.files import replace_file

Interval = tuple[float, float, float]
"""Mean, low, high."""
NUMBERED = re.compile(r"([\w-]+)-(\d+)")
FEWEST = 3
"""Numbers of a family that is drawn."""
LABELS = {"annotators": "annotators", "bad": "share of bad annotators (%)"}
STYLES = ("-", "--", ":", "-.")
SHIFT = 0.08
"""Between two methods, of the distance of two numbers: their intervals would lie on each other."""


def families(scenarios: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[int, Interval]]]:
    """By family, method and number, where there are at least three numbers.

    Args:
        scenarios: By scenario and method.
    """
    found: dict[str, dict[str, dict[int, Interval]]] = {}
    for scenario, methods in scenarios.items():
        if match := NUMBERED.fullmatch(scenario):
            for method, interval in methods.items():
                found.setdefault(match[1], {}).setdefault(method, {})[int(match[2])] = interval
    return {family: methods for family, methods in found.items() if max(len(one) for one in methods.values()) >= FEWEST}


def draw_family(family: str, methods: Mapping[str, Mapping[int, Interval]], metric: str, path: Path) -> None:
    """A line per method with its intervals.

    Args:
        family: What the names of its scenarios begin with.
        methods: By method and number.
        metric: On the vertical axis.
        path: A PNG file; replaced whole.
    """
    from matplotlib.figure import Figure

    figure = Figure((6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    others = [name for name in methods if not name.startswith("uma-net")]
    ticks = sorted({number for one in methods.values() for number in one})
    apart = SHIFT * min(after - before for before, after in pairwise(ticks))
    for place, (name, by_number) in enumerate(methods.items()):
        numbers = sorted(by_number)
        means = [by_number[n][0] for n in numbers]
        spread = [[abs(by_number[n][i] - by_number[n][0]) for n in numbers] for i in (1, 2)]
        own = name not in others
        style = "-" if own else STYLES[others.index(name) % len(STYLES)]
        colour = OWN if own else OTHER if others.index(name) else "#444444"
        beside = [number + apart * (place - (len(methods) - 1) / 2) for number in numbers]
        axes.errorbar(beside, means, spread, fmt=style, marker="o", markersize=3, capsize=2, color=colour, label=name)
    axes.set_xlabel(LABELS.get(family, family))
    axes.set_ylabel(metric)
    axes.set_xticks(ticks)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=150)
    replace_file(path, made.getvalue())
