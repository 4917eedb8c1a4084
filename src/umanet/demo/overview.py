"""One picture that shows what the project does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from umanet.data.images import file_name, read_case, read_labels, read_map
from umanet.data.index import DatasetIndex
from umanet.demo.findings import Findings, score_of
from umanet.metrics import dice

# Okabe and Ito's colours, which colour-blind people tell apart; doubled by the line's pattern.
COLOURS = ("#009E73", "#56B4E9", "#F0E442", "#E69F00", "#CC79A7", "#D55E00", "#0072B2")
DASHES = ("-", (0, (6, 1.2)), (0, (4, 1, 1, 1)), (0, (2, 1)), (0, (1, 0.8)))
MISSED, EXTRA = "#56B4E9", "#D55E00"
HEAT = "inferno"
NAMES = {"uma-net": "Network: UMA-Net", "majority": "Network: majority vote"}
DPI = 130


@dataclass(frozen=True)
class View:
    """A case, as the picture shows it. Masks and images are 2D.

    Attributes:
        case: Its id.
        image: Grey values.
        annotations: By annotator, best first.
        worst: The annotator of the annotation with the lowest quality.
        quality: Of that annotation.
        wrong: Probability that it is wrong, pixel by pixel.
        truth: What is really there.
        predictions: By the network's name.
        means: The network's mean Dice over the test images.
        tested: How many these are.
    """

    case: str
    image: Float[np.ndarray, "H W"]
    annotations: dict[str, UInt8[np.ndarray, "H W"]]
    worst: str
    quality: float
    wrong: Float[np.ndarray, "H W"]
    truth: UInt8[np.ndarray, "H W"]
    predictions: dict[str, UInt8[np.ndarray, "H W"]]
    means: dict[str, float]
    tested: int


def find_view(findings: Findings, index: DatasetIndex, output: Path) -> View:
    """The test image with the most doubtful annotation, of those on which everybody drew something (if there are)."""
    tested = findings.annotations.query("split == 'test'").to_dict("records")
    left_empty = {row["case"] for row in tested if row["empty"]}
    worst = next((row for row in tested if row["case"] not in left_empty), tested[0])
    case = next(case for case in index.cases if case.id == worst["case"])
    sample = read_case(case, index)
    assert sample.truth is not None  # simulated
    name = file_name(case.id, sample.geometry)
    names = [entry["annotator"] for entry in findings.ranking]
    drawn = {who: sample.annotations[index.annotators.index(who)].numpy() for who in names}
    predicted = {
        method: read_labels(output / "predictions" / method / "labels" / name, index, sample.geometry)
        for method in findings.networks
    }
    return View(
        case=case.id,
        image=sample.image[0].numpy(),
        annotations=drawn,
        worst=worst["annotator"],
        quality=worst["quality"],
        wrong=read_map(output / "grades" / "uncertainty" / worst["annotator"] / name, 2),
        truth=sample.truth.numpy(),
        predictions={NAMES[method]: labels for method, labels in predicted.items()},
        means={NAMES[method]: score_of(scores)[0] for method, scores in findings.networks.items()},
        tested=len({row["case"] for row in tested}),
    )


def draw_overview(view: View, path: Path) -> None:
    """Draw the annotations, the doubts about the worst one, and each network's prediction against the truth."""
    figure = Figure(figsize=(14, 5.0), dpi=DPI, facecolor="white")
    panels, keys = figure.subplots(2, 2 + len(view.predictions), height_ratios=(3.4, 0.8))
    figure.subplots_adjust(left=0.008, right=0.992, top=0.85, bottom=0.0, wspace=0.03, hspace=0.03)
    for key in keys:
        key.axis("off")
    styles = {name: (COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i, name in enumerate(view.annotations)}
    _annotations(panels[0], keys[0], view, styles)
    _doubts(panels[1], keys[1], view, styles[view.worst][0])
    for axes, key, name in zip(panels[2:], keys[2:], view.predictions, strict=True):
        _prediction(axes, key, view, name)
    figure.suptitle(
        f"Test image {view.case}, new to both networks: of all on which everybody drew something, "
        "the one with the most doubtful annotation",
        y=0.985, fontsize=11,
    )  # fmt: skip
    figure.savefig(path)


def _annotations(axes: Axes, key: Axes, view: View, styles: dict[str, tuple[str, Any]]) -> None:
    _image(axes, view, f"What {len(view.annotations)} annotators drew", "numbers: Dice against the truth")
    entries = []
    for name, (colour, dashes) in styles.items():
        labels = view.annotations[name]
        _outline(axes, labels, colour, dashes)
        text = f"{name} {dice(labels > 0, view.truth > 0):.2f}" + ("" if labels.any() else " (nothing)")
        entries.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=2.2, label=text))
    _legend(key, entries, columns=2)


def _doubts(axes: Axes, key: Axes, view: View, colour: str) -> None:
    _image(axes, view, f"Where UMA-Net doubts {view.worst!r}", f"quality of this annotation: {view.quality:.2f} of 1")
    seen = np.clip(1.5 * view.wrong, 0, 0.8)
    axes.imshow(view.wrong, cmap=HEAT, vmin=0, vmax=1, alpha=seen, interpolation="bilinear")
    _outline(axes, view.annotations[view.worst], colour, "-")
    # Drawn anew for the key: the map itself is transparent where nothing is doubted.
    place = key.inset_axes((0.12, 0.72, 0.76, 0.14))
    place.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto", extent=(0, 1, 0, 1))
    place.set_yticks([])
    place.set_xlabel("probability that this annotation is wrong here", fontsize=9.5)
    place.tick_params(labelsize=8)


def _prediction(axes: Axes, key: Axes, view: View, name: str) -> None:
    predicted, truth = view.predictions[name] > 0, view.truth > 0
    scores = f"Dice {dice(predicted, truth):.3f} here, {view.means[name]:.3f} over {view.tested} test images"
    _image(axes, view, name, scores)
    for mask, colour in ((truth & ~predicted, MISSED), (predicted & ~truth, EXTRA)):
        axes.imshow(np.where(mask[..., None], to_rgba(colour, 0.85), 0.0))
    _outline(axes, truth, "white", "-", width=1.0)
    entries = [
        Line2D(
            [],
            [],
            color="white",
            linewidth=1.5,
            path_effects=[withStroke(linewidth=4, foreground="0.3")],
            label="truth",
        ),
        Patch(color=MISSED, label="missed"),
        Patch(color=EXTRA, label="too much"),
    ]
    _legend(key, entries, columns=3)


def _image(axes: Axes, view: View, title: str, below: str) -> None:
    axes.imshow(view.image, cmap="gray", interpolation="bilinear")
    axes.set_title(title, fontsize=12, fontweight="bold", pad=20)
    axes.annotate(below, (0.5, 1), (0, 5), "axes fraction", "offset points", ha="center", fontsize=9.5)
    axes.axis("off")


def _outline(axes: Axes, mask: np.ndarray, colour: str, dashes: Any, width: float = 1.8) -> None:
    """The border between pixels of a mask; nothing for one without border."""
    padded = np.pad(np.asarray(mask) > 0, 1).astype(float)
    if padded.any():
        rows, columns = (np.arange(-1, side + 1) for side in mask.shape)
        axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linestyles=[dashes], linewidths=[width])
    axes.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def _legend(key: Axes, entries: Sequence[Artist], columns: int) -> None:
    key.legend(
        handles=entries, fontsize=9.5, ncols=columns, loc="upper center", frameon=False,
        handlelength=2.4, columnspacing=1.2,
    )  # fmt: skip
