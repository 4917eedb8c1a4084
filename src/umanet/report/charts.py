"""Figures as SVG that belongs into a page: its fonts, no numbers of other documents, a text in place of each."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from umanet.report.drift import Drift

# Okabe and Ito's colours, which colour-blind people tell apart (yellow is too light on white); with patterns and
# marks besides, so that nothing depends on them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
INK, FAINT = "#22262b", "#c9ced6"
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "umanet", "text.parse_math": False, "font.size": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#6b7280", "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": "#e8eaee",
    "grid.linewidth": 0.8, "axes.axisbelow": True, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "legend.frameon": False, "lines.linewidth": 1.8,
}  # fmt: skip
RATIOS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1, 1.25, 1.6, 2, 3, 5, 10, 20)
"""Where the axis of ratios is labelled."""
LEAST_RATIO = 0.02
DRIFT_COLUMNS = 3
MOST_POINTS = 4000
"""Above this, the points of a strip are a sample: more ink shows no more."""


def style_of(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}


@contextmanager
def chart(width: float, height: float, alt: str) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on, and a list that holds its SVG when the block ends."""
    done: list[str] = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, done
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    done.append(_inline(buffer.getvalue(), alt))


def _inline(text: str, alt: str) -> str:
    """Without the head of a file, ids that repeat from figure to figure, and fonts of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font: (bold|\d+) ([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*", "\n", text)
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    width = f'style="width: {float(size[1]) / 72:.2f}in"' if size else ""
    head = f'<svg class="chart" role="img" aria-label="{escape(alt, quote=True)}" {width}'
    return re.sub(r"<svg", head, re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2), count=1)


def curve_chart(rows: Sequence[Mapping[str, float]]) -> str:
    """Losses and the validation score over the steps."""
    steps = [row["step"] for row in rows]
    losses = sorted({name for row in rows for name in row if name.startswith("loss/") and name != "loss/total"})
    with chart(7.4, 2.7, "Losses and validation score over the training steps") as (figure, done):
        left, right = figure.subplots(1, 2)
        for number, name in enumerate(["loss/total", *losses]):
            values = [row.get(name, np.nan) for row in rows]
            left.plot(steps, values, label=name.removeprefix("loss/"), **style_of(number), marker="o", markersize=2.5)
        left.set(title="Losses", xlabel="step", ylim=(0, None))
        left.legend(fontsize=8)
        right.plot(steps, [row.get("validation/soft_dice", np.nan) for row in rows], **style_of(0), marker="o", ms=2.5)
        right.set(title="Validation: soft Dice", xlabel="step")
    return done[0]


def lines_chart(rows: Sequence[Mapping[str, float]], prefix: str, title: str) -> str:
    """A line over the steps for every column that begins with ``prefix``, named where it ends."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith(prefix)]
    if not names:
        return ""
    with chart(7.4, 2.7, title) as (figure, done):
        axes = figure.subplots()
        last: list[tuple[float, str, str]] = []
        for number, name in enumerate(names):
            seen = [(row["step"], row[name]) for row in rows if name in row]
            line = style_of(number)
            axes.plot(*zip(*seen, strict=True), **line, marker="o", markersize=2.5)
            last.append((seen[-1][1], name.removeprefix(prefix), line["color"]))
        axes.set(title=title, xlabel="step")
        _name_ends(axes, last)
    return done[0]


def _name_ends(axes: Axes, last: list[tuple[float, str, str]]) -> None:
    """Names at the right end of their lines, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    least, at = (high - low) * 0.085, -np.inf
    for value, name, colour in sorted(last):
        at = max(value, at + least)
        axes.annotate(name, (1.01, at), xycoords=("axes fraction", "data"), color=colour, va="center", fontsize=8.5)


def strip_chart(groups: Mapping[str, Sequence[float]], label: str, alt: str, *, means: Mapping[str, Any]) -> str:
    """A row of points per group, one for every case, with quartiles, the mean and its interval where given."""
    rng = np.random.default_rng(0)
    with chart(7.4, 0.62 + 0.42 * len(groups), alt) as (figure, done):
        axes = figure.subplots()
        for row, (name, values) in enumerate(groups.items()):
            shown = np.asarray(values, dtype=float)
            if not len(shown):
                continue
            middle = np.percentile(shown, (25, 50, 75))
            axes.barh(row, middle[2] - middle[0], left=middle[0], height=0.62, color="#56B4E9", alpha=0.28, lw=0)
            axes.plot([middle[1]] * 2, [row - 0.31, row + 0.31], color="#0072B2", lw=1.6)
            few = rng.choice(shown, MOST_POINTS, replace=False) if len(shown) > MOST_POINTS else shown
            jitter = rng.uniform(-0.22, 0.22, len(few))
            axes.plot(few, row + jitter, "o", color=INK, ms=2.6, alpha=0.45, mew=0)
            _mean(axes, row, means.get(name))
        axes.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=label, ylim=(len(groups) - 0.45, -0.55))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    return done[0]


def ratio_chart(groups: Mapping[str, Mapping[str, Any]], label: str, alt: str) -> str:
    """A row per group, and in it a mark with its interval for every series, about the line at 1; to a log scale."""
    series = list(dict.fromkeys(name for row in groups.values() for name in row))
    with chart(7.4, 0.75 + (0.26 + 0.14 * len(series)) * len(groups), alt) as (figure, done):
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.axvline(1, color="#6b7280", lw=1)
        for number, name in enumerate(series):
            offset = (number - (len(series) - 1) / 2) * 0.56 / max(len(series), 1)
            # A ratio of nothing, or to nothing, has no place on this scale; the table has it.
            shown = {row + offset: own[name] for row, own in enumerate(groups.values()) if own[name]["value"]}
            colour = COLOURS[number % len(COLOURS)]
            for at, estimate in shown.items():
                low, high = estimate["ci95"]
                if low is not None:
                    axes.plot([max(low, LEAST_RATIO), high], [at, at], color=colour, lw=2.2, solid_capstyle="butt")
            values = [estimate["value"] for estimate in shown.values()]
            mark = {"marker": "oDs^v"[number % 5], "ls": "", "ms": 5.5, "mec": "white", "mew": 0.8}
            axes.plot(values, list(shown), color=colour, label=name, **mark)
        seen = [bound for row in groups.values() for one in row.values() for bound in (one["value"], *one["ci95"])]
        _label_ratios(axes, [bound for bound in seen if bound])
        axes.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=label, ylim=(len(groups) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        if len(series) > 1:
            axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return done[0]


def drift_chart(drifts: Sequence[Drift], label: str, alt: str) -> str:
    """A panel per annotator: annotations by day, and the median of those nearest in time."""
    columns = min(len(drifts), DRIFT_COLUMNS)
    rows = -(-len(drifts) // columns)
    with chart(7.4, 0.4 + 1.7 * rows, alt) as (figure, done):
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, drift in zip(panels.flat, drifts, strict=False):
            axes.plot(date2num(drift.days), drift.quality, "o", color=INK, ms=2.8, alpha=0.45, mew=0)
            days, medians = drift.medians
            axes.plot(date2num(days), medians, **style_of(0))
            axes.set_title(drift.annotator)
            locator = AutoDateLocator(maxticks=5)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        for axes in panels.flat[len(drifts) :]:
            axes.set_visible(False)
        figure.supylabel(label, fontsize=9.5)
    return done[0]


def _label_ratios(axes: Axes, seen: Sequence[float]) -> None:
    """Ticks as plain numbers, at least from 0.8 to 1.25, so that what is nearly 1 looks so."""
    low, high = max(min([0.8, *seen]), LEAST_RATIO) / 1.04, max([1.25, *seen]) * 1.04
    ticks = [tick for tick in RATIOS if low <= tick <= high]
    axes.set(xlim=(low, high), xticks=ticks, xticklabels=[f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _mean(axes: Axes, row: int, summary: Any) -> None:
    if summary is None or summary["mean"] is None:
        return
    low, high = summary["ci95"]
    if low is not None:
        axes.plot([low, high], [row, row], color="#D55E00", lw=2.4, solid_capstyle="butt")
    axes.plot(summary["mean"], row, "D", color="#D55E00", ms=5.5, mec="white", mew=0.8)


def reliability_chart(curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Per class a diagram: what was said against what was so, for every target."""
    with chart(2.9 * len(curves) + 0.4, 3.1, "Reliability diagram of the predicted probabilities") as (figure, done):
        panels = np.atleast_1d(figure.subplots(1, len(curves), sharey=True))
        for axes, (name, targets) in zip(panels, curves.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=FAINT, lw=1.2)
            for number, (target, curve) in enumerate(targets.items()):
                axes.plot(
                    curve.mean_probability, curve.mean_target, **style_of(number), marker="os^"[number % 3], ms=3.5,
                    label=target,
                )  # fmt: skip
            axes.set(title=name, xlabel="predicted probability", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        panels[0].set_ylabel("what was so")
        panels[0].legend(fontsize=8, loc="lower right")
    return done[0]


def risk_chart(coverage: Sequence[float], risk: Sequence[float], ideal: Sequence[float], label: str) -> str:
    """The mean error of what is kept as the least certain cases are referred to a person."""
    with chart(3.9, 3.1, "Risk-coverage curve: error of the kept cases by their share") as (figure, done):
        axes = figure.subplots()
        axes.plot(coverage, risk, **style_of(0), label="by the network's uncertainty")
        axes.plot(coverage, ideal, **style_of(1), label="best possible order", lw=1.3)
        axes.axhline(risk[-1], color="#6b7280", lw=1, ls=(0, (1, 2)), label="order by chance")
        axes.set(title="Referring uncertain cases", xlabel="share of cases kept", ylabel=label, xlim=(0, 1))
        axes.set_ylim(0, None)
        axes.legend(fontsize=8, loc="lower right")
    return done[0]
