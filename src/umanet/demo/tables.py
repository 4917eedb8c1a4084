"""What the demo says in the end."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from umanet.demo.findings import GROSS, Findings, Score, fault_of, score_of

MOST_DOUBTFUL = 10
FILES = {
    "overview.png": "the picture: open this first",
    "grades/quality.csv": "every annotation, most doubtful first",
    "grades/uncertainty/": "where each annotation is probably wrong",
    "predictions/uma-net/": "test images: labels, probabilities, scores",
    "consensus/uma-net/": "labels of the training images, for any trainer",
    "uma-net/": "the run: model, settings, losses",
    "data/": "what the annotators drew; their known faults",
}
OWN_DATA = """umanet import folder my-data -o dataset.json
umanet check dataset.json
umanet train dataset.json -o run --preset cpu-small
umanet predict run dataset.json --split test -o predictions
umanet evaluate predictions dataset.json --split test
umanet grade run dataset.json -o grades
umanet fuse dataset.json --with run -o consensus"""
"""For a folder ``my-data`` with ``images/CASE.png`` and ``annotations/ANNOTATOR/CASE.png``."""


def tables(findings: Findings) -> Iterator[RenderableType]:
    """Networks and annotators against the truth, annotators ranked, the most doubtful annotations."""
    yield _networks(findings)
    yield _in_words(findings)
    yield _annotators(findings)
    yield _doubtful(findings)
    yield _found(findings)


def where_and_what_next(output: Path) -> Iterator[RenderableType]:
    """Where everything lies, and the commands for data of one's own."""
    places = Table.grid(padding=(0, 2))
    for name, content in FILES.items():
        places.add_row(f"  {name}", content)
    yield Text(f"\nEverything lies in {output}", "bold", no_wrap=True, overflow="ignore")
    yield places
    yield Text("\nYour own data: my-data/images/CASE.png, my-data/annotations/ANNOTATOR/CASE.png", "bold")
    yield Text("(NIfTI and TIFF alike, 2D or 3D; an annotator may lack cases).")
    yield Text("With a GPU, train with --preset small.\n")
    # Commands stand alone at the left margin and are never wrapped, so that they can be copied.
    yield Text("\n".join([*_activation(), OWN_DATA]), "cyan", no_wrap=True, overflow="ignore")


def _activation() -> list[str]:
    """What makes ``umanet`` a command of this shell, where it is none."""
    script = Path(sys.prefix) / "bin" / "activate"
    return [] if shutil.which("umanet") or not script.exists() else [f"source {script}"]


def _networks(findings: Findings) -> Table:
    tested = next(iter(findings.networks.values())).protocol["cases"]
    fused = next(iter(findings.consensus.values())).protocol["cases"]
    table = _table("Dice against the truth", "", "Dice", "95 % interval")
    rows = {
        f"{tested} test images, new to both networks": {
            "UMA-Net": score_of(findings.networks["uma-net"]),
            "network trained on the majority vote": score_of(findings.networks["majority"]),
        },
        "the annotators themselves on these images": {
            entry["annotator"]: findings.of_annotator(entry["annotator"], "test") for entry in findings.ranking
        },
        f"labels made for the {fused} training images": {
            "consensus by UMA-Net": score_of(findings.consensus["uma-net"]),
            "majority vote": score_of(findings.consensus["majority"]),
        },
    }
    for heading, scores in rows.items():
        table.add_row(Text(heading, "italic"))
        for name, score in scores.items():
            table.add_row(f"  {name}", f"{score[0]:.3f}", _interval(score))
        table.add_section()
    return table


def _in_words(findings: Findings) -> str:
    gain = findings.gain("uma-net", "majority")
    return (
        f"UMA-Net minus majority vote, image by image: {gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f}).\n"
        "Intervals are over the choice of images; another training would differ too."
    )


def _annotators(findings: Findings) -> Table:
    headings = ("annotator", "learned reliability", "true Dice", "what was simulated")
    table = _table("Annotators, ranked without the truth", *headings)
    for entry in findings.ranking:
        name = entry["annotator"]
        table.add_row(name, f"{entry['reliability']:.2f}", f"{findings.of_annotator(name)[0]:.3f}", fault_of(name))
    return table


def _doubtful(findings: Findings) -> Table:
    headings = ("case", "annotator", "quality", "true Dice", "what was simulated")
    table = _table("The ten most doubtful annotations, found without the truth", *headings)
    for row in findings.annotations.head(MOST_DOUBTFUL).to_dict("records"):
        fault = row["fault"] + (", empty" if row["empty"] else "")
        table.add_row(row["case"], row["annotator"], f"{row['quality']:.2f}", f"{row['dice']:.2f}", fault)
    return table


def _found(findings: Findings) -> str:
    gross = findings.annotations["dice"] < GROSS
    return (
        f"{gross.mean():.0%} of all {len(gross)} annotations have a true Dice below {GROSS}; of these ten, "
        f"{gross.head(MOST_DOUBTFUL).mean():.0%}.\nQuality finds such annotations with an AUROC of "
        f"{findings.finds_gross_errors():.2f} (0.5: by chance)."
    )


def _table(title: str, *headings: str) -> Table:
    return Table(*headings, title=f"\n{title}", title_justify="left")


def _interval(score: Score) -> str:
    return f"{score[1]:.3f} to {score[2]:.3f}"
