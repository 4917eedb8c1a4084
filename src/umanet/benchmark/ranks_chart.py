"""The ranks of all methods as a picture."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from umanet.data.files import replace_file

OWN, OTHER = "#1f6f8b", "#9aa5ab"
HEIGHT, MARGIN, WIDTH = 0.3, 1.1, 7.0
"""Inches: of a method, of what surrounds them, and of the picture."""
JITTER = 0.12
"""By how much of a row equal ranks are moved apart."""
BAR = 0.25
"""Half the height of the bar, of that of a row."""


def labels(ranks: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """The methods; who has fewer ranks than others is marked, as means are then not over the same comparisons."""
    most = max(map(len, ranks.values()))
    return {name: name if len(own) == most else f"{name} ({len(own)} of {most})" for name, own in ranks.items()}


def draw_ranks(ranks: Mapping[str, Sequence[float]], path: Path) -> None:
    """A dot per comparison and a bar at the mean, best method on top; those whose names begin with uma-net stand out.

    Args:
        ranks: Per method its rank in every comparison, 1 the best.
        path: A PNG file; replaced whole.
    """
    from matplotlib.figure import Figure

    names = sorted(ranks, key=lambda name: float(np.mean(ranks[name])))
    figure = Figure((WIDTH, HEIGHT * len(names) + MARGIN), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for row, name in enumerate(names):
        own = np.asarray(ranks[name], float)
        colour = OWN if name.startswith("uma-net") else OTHER
        axes.plot(own, row + rng.uniform(-JITTER, JITTER, len(own)), "o", color=colour, alpha=0.5, markersize=4)
        axes.plot([own.mean()] * 2, [row - BAR, row + BAR], color=colour, linewidth=3)
        axes.text(own.mean(), row - BAR - 0.03, f"{own.mean():.2f}", ha="center", va="bottom", fontsize=7, color=colour)
    shown = labels(ranks)
    axes.set_yticks(range(len(names)), [shown[name] for name in names])
    axes.set_ylim(len(names) - 0.4, -0.8)
    axes.locator_params(axis="x", integer=True)
    figure.supxlabel("rank (1 is best; a dot per data, scenario, seed and fold; bar: mean)", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=150)
    replace_file(path, made.getvalue())
