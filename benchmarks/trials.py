"""What the benchmarks share: one trial (train, predict, evaluate, grade) that is done once and kept, and tables."""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from umanet.config import build_config
from umanet.data.files import replace_file
from umanet.data.index import DatasetIndex, read_index
from umanet.evaluation import evaluate
from umanet.grading import for_annotators, graded_cases
from umanet.inference.model_file import load_model
from umanet.inference.predict import predict, samples_of_index
from umanet.metrics import auroc, dice
from umanet.simulation.simulate import simulate
from umanet.training import train

Values = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One training run and what is asked of it. ``name`` is the row of a table, ``group`` the part of it."""

    group: str
    name: str
    seed: int
    dataset: Path
    config: Values
    folder: Path
    against: str = "truth"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"


def do(trial: Trial) -> Trial:
    """Train, predict the test split, evaluate it, and grade the training annotations."""
    if trial.result.exists():
        return trial
    index = read_index(trial.dataset)
    run = trial.folder / "run"
    made = trial.folder / "commit"
    if not made.exists():
        replace_file(made, commit().encode())
    config = build_config({**trial.config, "seed": trial.seed, "device": "cpu"}, index.spatial_dims)
    train(config, index, run, resume="auto")
    model = load_model(run)
    cases, samples = samples_of_index(model, index, "test")
    predictions = trial.folder / "predictions"
    if not (predictions / "predictions.json").exists():
        subprocess.run(["rm", "-rf", str(predictions)], check=True)
        predict(model, samples, predictions, total=len(cases))
    evaluation = evaluate(predictions, index, split="test", against=trial.against)
    result: Values = {"commit": made.read_text(), "summary": evaluation.summary, "cases": evaluation.cases}
    if config.method == "uma-net":
        result["monitor"] = load_model(run, grading=True).method.monitor()
        if trial.against == "truth":
            result["grading"] = grading(run, index)
    trial.result.write_text(json.dumps(result))
    return trial


def grading(run: Path, index: DatasetIndex) -> Values:
    """How well consensus, uncertainty and quality of the training annotations agree with the truth."""
    model = for_annotators(load_model(run, grading=True), index)
    consensus, uncertain, quality, true = [], [], [], []
    classes = range(1, model.task.num_classes)
    for graded in graded_cases(model, index, "train"):
        sample, grades = graded.sample, graded.grades
        truth, present = sample.truth.numpy(), sample.present.numpy()
        fused = grades.consensus[0].max(0).indices.numpy()
        consensus.append(np.mean([dice(fused == k, truth == k) for k in classes]))
        shown = sample.annotations.numpy()[present]
        uncertain.append(auroc(grades.uncertainty[0].numpy()[present].ravel(), (shown != truth).ravel()))
        quality += grades.quality[0].numpy()[present].tolist()
        true += [float(np.mean([dice(one == k, truth == k) for k in classes])) for one in shown]
    poor = np.array(true) < 0.6
    return {
        "consensus_dice": float(np.mean(consensus)),
        "uncertainty_auroc": float(np.nanmean(uncertain)),
        "quality_auroc": float(auroc(-np.array(quality), poor)),
        "quality_spearman": float(spearmanr(quality, true)[0]),
        "annotations": len(true),
        "poor_annotations": int(poor.sum()),
    }


def simulate_all(data: Path, wanted: dict[tuple[str, int], Path], counts: dict[str, int], processes: int) -> None:
    """Simulate the data sets that are not there yet: (scenario, seed) to ``dataset.json``."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        made = [
            pool.submit(simulate, data / "images", data / "truth", scenario, seed, path.parent, fractions=counts)
            for (scenario, seed), path in wanted.items()
            if not path.exists()
        ]
        for future in made:
            future.result()


def do_all(trials: Sequence[Trial], processes: int) -> list[Trial]:
    """All trials that are not done yet, ``processes`` at a time, one thread each. Interrupt and start again at will."""
    os.environ["OMP_NUM_THREADS"] = "1"
    todo = [trial for trial in trials if not trial.result.exists()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number, future in enumerate(as_completed([pool.submit(do, trial) for trial in todo]), start=1):
            done = future.result()
            print(f"{number}/{len(todo)} {done.group} seed {done.seed} {done.name}", file=sys.stderr, flush=True)
    return list(trials)


def values(trials: Iterable[Trial], metric: str) -> dict[tuple[int, str], float]:
    """A metric per seed and patient (mean over the patient's rows)."""
    found: dict[tuple[int, str], list[float]] = {}
    for trial in trials:
        rows = json.loads(trial.result.read_text())["cases"]
        # Of several classes their mean has a row; of one, it is the only row.
        several = any(row["class"] == "(mean)" for row in rows)
        for row in rows:
            if row.get(metric) is not None and (row["class"] == "(mean)" or not several):
                found.setdefault((trial.seed, row["patient"]), []).append(row[metric])
    return {key: float(np.mean(each)) for key, each in found.items()}


def interval(per_patient: dict[tuple[int, str], float], resamples: int = 2000) -> tuple[float, float, float]:
    """Mean over seeds and patients, with a 95 % bootstrap interval: seeds are drawn, then patients within each."""
    seeds = sorted({seed for seed, _ in per_patient})
    by_seed = [np.array([v for (s, _), v in sorted(per_patient.items()) if s == seed]) for seed in seeds]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(resamples):
        drawn = rng.integers(len(by_seed), size=len(by_seed))
        means.append(np.mean([rng.choice(by_seed[i], len(by_seed[i])).mean() for i in drawn]))
    return float(np.mean([v.mean() for v in by_seed])), *map(float, np.percentile(means, [2.5, 97.5]))


def difference(first: Iterable[Trial], second: Iterable[Trial], metric: str) -> tuple[float, float, float]:
    """Paired difference, in percentage points, with its interval."""
    a, b = values(first, metric), values(second, metric)
    return tuple(100 * x for x in interval({key: a[key] - b[key] for key in a if key in b}))  # type: ignore[return-value]  # three of them


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def show(mean: float, low: float, high: float, digits: int = 3) -> str:
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def commit() -> str:
    """Of the code that runs, with a plus where files differ from it."""
    name = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude", "*"], capture_output=True, text=True, check=True
    )
    return name.stdout.strip()


def read_arguments(about: str | None, work: Path, output: Path, seeds: int, steps: int, **more: Any) -> Namespace:
    """The arguments that all benchmarks have, and ``more`` with several values each."""
    parser = ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, annotations/ or truth/")
    parser.add_argument("--work", type=Path, default=work, help="folder for runs; start again to resume")
    parser.add_argument("--output", type=Path, default=output)
    parser.add_argument("--seeds", nargs="+", type=int, default=tuple(range(seeds)))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--processes", type=int, default=2)
    for name, values_ in more.items():
        parser.add_argument(f"--{name}", nargs="+", default=values_)
    return parser.parse_args()


def write_report(path: Path, title: str, done: Sequence[Trial], lines: Iterable[str]) -> None:
    """A Markdown file that says how it was made: the command, and the commits of the code that trained."""
    commits = sorted({json.loads(trial.result.read_text())["commit"] for trial in done})
    command = " ".join(["python", *sys.argv])
    head = [f"# {title}", "", f"Command: `{command}`. Trained at commit {', '.join(commits)}, on a CPU.", ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*head, *lines]) + "\n")
    print(path.read_text())
