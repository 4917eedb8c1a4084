"""The whole way once: phantoms, simulated annotators, two networks, grades, consensus, tables and a picture."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from umanet.config import RunConfig, build_config
from umanet.consensus import fuse_dataset
from umanet.data.files import new_folder
from umanet.data.index import DatasetIndex
from umanet.demo.findings import Findings, annotated
from umanet.demo.overview import draw_overview, find_view
from umanet.demo.tables import tables, where_and_what_next
from umanet.errors import Interrupted
from umanet.evaluation import Evaluation, evaluate
from umanet.grading import grade, rank_annotators
from umanet.inference.model_file import Model, load_model
from umanet.inference.predict import predict
from umanet.inference.unread import samples_of_index
from umanet.simulation import write_phantoms
from umanet.simulation.simulate import simulate
from umanet.training import train
from umanet.training.global_state import global_state_put_back
from umanet.training.progress import StepReports

SCENARIO = "hard"
NETWORKS = {"uma-net": "UMA-Net", "majority": "majority vote"}
"""Method to what people call it; the first one grades."""

Report = Callable[..., None]
"""``report(done, total, note="")``."""


@dataclass(frozen=True)
class Size:
    """How much the demo does. The default takes about two minutes on two idle cores.

    Attributes:
        train: Training images.
        validation: Images that the training is watched with.
        test: Images that are predicted and scored.
        pixels: Side of the images.
        longest_side: Side of the images as the networks see them.
        steps: Of each training.
    """

    train: int = 60
    validation: int = 12
    test: int = 40
    pixels: int = 128
    longest_side: int = 96
    steps: int = 300


def demo(output: Path, *, seed: int = 0, size: Size | None = None) -> None:
    """Make phantoms and annotators of known faults, learn from them, and show what was learned.

    Leaves everything in ``output``; tables go to standard output, progress to standard error.

    Args:
        output: A new or empty folder.
        seed: Of phantoms, annotators and training.
        size: How much is made and learned.

    Raises:
        OutputError: ``output`` holds something, or cannot be written.
        Interrupted: Ctrl-C.
    """
    new_folder(output)
    try:
        with global_state_put_back():
            torch.set_num_threads(1)  # what training takes, for everything
            findings = _run(output, seed, size or Size())
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"Interrupted: the demo in {output} is incomplete. Remove it and start again.") from None
    console = Console()
    for part in (*tables(findings), *where_and_what_next(output)):
        console.print(part)


def _run(output: Path, seed: int, size: Size) -> Findings:
    index = _make_data(output, seed, size)
    models: dict[str, Model] = {}
    evaluations: dict[str, Evaluation] = {}
    for method, title in NETWORKS.items():
        models[method] = _learn(_config(method, seed, size), index, output / method, f"Training: {title}")
        evaluations[method] = _test(models[method], index, output, title)
    first = models[next(iter(NETWORKS))]
    with _stage("Grading every annotation") as report:
        grades = grade(first, index, output / "grades", progress=report)
    sources: Sequence[str | Model] = (first, "majority")
    fused = {
        method: _consensus(source, method, index, output) for method, source in zip(NETWORKS, sources, strict=True)
    }
    findings = Findings(
        networks=evaluations,
        consensus=fused,
        annotations=annotated(grades, index, output / "data" / "simulation.json"),
        ranking=rank_annotators(grades, first.method, index),
        seed=seed,
    )
    draw_overview(find_view(findings, index, output), output / "overview.png")
    return findings


def _make_data(output: Path, seed: int, size: Size) -> DatasetIndex:
    counts = {"train": size.train, "validation": size.validation, "test": size.test}
    total = sum(counts.values())
    raw = output / "phantoms"
    with _stage("Drawing phantoms") as report:
        write_phantoms(raw, total, size.pixels, seed)
        report(total, total)
    with _stage("Five simulated annotators") as report:
        return simulate(
            raw / "images", raw / "truth", SCENARIO, seed, output / "data", fractions=counts, progress=report
        )


def _config(method: str, seed: int, size: Size) -> RunConfig:
    return build_config(
        {
            "method": method,
            "preset": "cpu-small",
            "seed": seed,
            "device": "cpu",
            "data": {"longest_side": size.longest_side},
            "trainer": {"max_steps": size.steps},
        }
    )


def _learn(config: RunConfig, index: DatasetIndex, run: Path, title: str) -> Model:
    with _stage(title) as report:
        train(config, index, run, callbacks=[StepReports(report)])
    return load_model(run, grading=config.method == "uma-net")


def _test(model: Model, index: DatasetIndex, output: Path, title: str) -> Evaluation:
    place = output / "predictions" / model.config.method
    with _stage(f"Test images: {title}") as report:
        cases, samples = samples_of_index(model, index, "test")
        predict(model, samples, place, total=len(cases), progress=report)
        scores = evaluate(place, index, split="test", against="truth")
    scores.write(place)
    return scores


def _consensus(how: "str | Model", name: str, index: DatasetIndex, output: Path) -> Evaluation:
    place = output / "consensus" / name
    with _stage(f"Consensus: {NETWORKS[name]}") as report:
        fuse_dataset(index, how, place, split="train", progress=report)
        return evaluate(place, index, split="train", against="truth")


@contextmanager
def _stage(title: str) -> Iterator[Report]:
    """A line with a bar that stays when the stage is done; without a terminal, the line is written at the end."""
    columns = (
        TextColumn(f"{title:<28}"), BarColumn(24), TextColumn("{task.completed:>3.0f}/{task.total:<3.0f}"),
        TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=1, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield report
