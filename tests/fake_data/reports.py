"""Runs that were not trained, their reports, and pages taken apart."""

from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import torch

from fake_data.arrays import ball, make_method, tiny_config
from fake_data.discs import write_array, write_discs
from umanet.config import format_config
from umanet.data.index import ClassDefinition, DatasetIndex, write_index
from umanet.inference.model_file import load_model, save_model
from umanet.report import build_report

SHAPES = {2: (20, 26), 3: (10, 12, 8)}
VOID = {"meta", "img", "input", "path", "use", "link", "br"}


class Page(HTMLParser):
    """Tags with their attributes, headings, and what is open at the end."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    def count(self, tag, klass):
        return sum(name == tag and klass in (attrs.get("class") or "").split() for name, attrs in self.tags)

    def addresses(self):
        names = ("src", "href", "xlink:href", "action", "srcset", "data", "poster")
        return [attrs[name] or "" for _, attrs in self.tags for name in names if name in attrs]


@dataclass(frozen=True)
class Made:
    """A run that was not trained, and its report."""

    index: DatasetIndex
    run: Path
    report: Path

    @property
    def page(self) -> Page:
        return Page(self.report.read_text(encoding="utf-8"))


def two_classes(folder: Path, shape: tuple[int, ...]) -> DatasetIndex:
    """The discs with a core of another class, which Bert forgets."""
    index, cases = write_discs(folder, shape, train=3, validation=2), []
    core = ball(shape, tuple(side / 2 for side in shape), 2).numpy()
    for case in index.cases:
        for who, path in case.annotations.items():
            drawn = ball(shape, tuple(side / 2 for side in shape), 0.27 * min(shape)).numpy().astype(int)
            write_array(path.parent, path.name.split(".")[0], drawn + core * (who != "bert"))
        cases.append(replace(case, truth=None))
    classes = (*index.classes, ClassDefinition(name="core", values=(2,)))
    return index.model_copy(update={"classes": classes, "cases": tuple(cases)})


def truth_only(folder: Path) -> DatasetIndex:
    """Discs with annotators in training, and nothing but the truth where the run is scored."""
    index = write_discs(folder, SHAPES[2], train=3, validation=2)
    cases = (case if case.split == "train" else replace(case, annotations={}, split="test") for case in index.cases)
    return index.model_copy(update={"cases": tuple(cases)})


def make(folder: Path, index: DatasetIndex, method: str = "uma-net", **options) -> Made:
    run, config = folder / "run", tiny_config(method)
    run.mkdir()
    made = make_method(index.task, config)
    if method == "uma-net":
        torch.nn.init.normal_(made.uncertainty.out.weight, std=12.0)
    save_model(made, index, config, run)
    (run / "run.toml").write_text(format_config(config))
    header = "step,epoch,loss/total,loss/segmentation,validation/soft_dice,reliability/anna,reliability/bert\n"
    (run / "metrics.csv").write_text(header + "2,0,1.5,1.0,,0.8,0.8\n2,0,,,0.4,,\n4,1,1.2,0.8,0.5,0.9,0.7\n")
    write_index(index, run / "dataset.json")
    model = load_model(run, grading=method == "uma-net")
    build_report(model, index, run, folder / "report.html", command="umanet report run", **options)
    return Made(index, run, folder / "report.html")


KINDS = {
    "2D": lambda folder: make(folder, write_discs(folder, SHAPES[2], train=3, validation=2)),
    "3D": lambda folder: make(folder, write_discs(folder, SHAPES[3], train=2, validation=1)),
    "classes": lambda folder: make(folder, two_classes(folder, SHAPES[3])),
    "anonymous": lambda folder: make(folder, write_discs(folder, SHAPES[2], train=2, validation=1, identified=False)),
    "fused": lambda folder: make(folder, write_discs(folder, SHAPES[2], train=2, validation=1), "majority"),
    "truth": lambda folder: make(folder, truth_only(folder)),
}
