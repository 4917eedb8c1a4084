"""One row: train a method, predict the test cases, score and grade."""

import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umanet.data.index import DatasetIndex
    from umanet.inference.model_file import Model

ROW, RESULT = "row.json", "result.json"
MIB = 1024
"""KiB; ``ru_maxrss`` is in these."""
DIGITS = 6
"""Of the scores of a case."""


@dataclass(frozen=True)
class Row:
    """What a row is.

    Attributes:
        data: Name in the suite.
        scenario: Of simulated annotators, or ``given``.
        contestant: Method or variant.
        method: That the contestant is; of a checker, its contestant's name.
        seed: Of annotators, splits and training.
        fold: Which fold is tested; 0 where there are none.
        dataset: The ``dataset.json``.
        config: All that is set.
        against: What test cases are scored against.
        learning_rate: None: that of the configuration.
        consensus_of: Method whose consensus is the only annotation that is learned from; None: all annotations.
    """

    data: str
    scenario: str
    contestant: str
    method: str
    seed: int
    fold: int
    dataset: str
    config: Mapping[str, Any]
    against: str
    learning_rate: float | None = None
    consensus_of: str | None = None

    @property
    def key(self) -> str:
        """Its folder."""
        rate = "" if self.learning_rate is None else f"_lr{self.learning_rate:g}"
        return f"{self.data}/{self.scenario}/{self.contestant}/seed{self.seed}_fold{self.fold}{rate}"

    def write(self, folder: Path) -> None:
        from umanet.data.files import replace_file

        replace_file(folder / ROW, (json.dumps(asdict(self), indent=1) + "\n").encode())


def do_row(folder: Path) -> dict[str, Any]:
    """Do the row in ``folder``; a run that was stopped goes on."""
    from umanet.benchmark.check import check
    from umanet.benchmark.consensus_target import with_consensus
    from umanet.benchmark.suite import CHECK
    from umanet.benchmark.validation import validation_score
    from umanet.config import build_config
    from umanet.data.index import read_index
    from umanet.errors import TaskError
    from umanet.evaluation import evaluate
    from umanet.inference.model_file import load_model
    from umanet.methods import build_method
    from umanet.training import train

    row = Row(**json.loads((folder / ROW).read_text()))
    index = read_index(Path(row.dataset))
    checker = row.method.removeprefix(CHECK) if row.method.startswith(CHECK) else None
    values = {**row.config, "method": "majority" if checker else row.method, "seed": row.seed}
    if row.learning_rate is not None:
        values["trainer"] = {**values.get("trainer", {}), "learning_rate": row.learning_rate}
    config = build_config(values, index.spatial_dims)
    if checker:
        return check(checker, config, index, folder)
    try:
        method = build_method(index.task, config)
    except TaskError as error:
        return {"status": "not applicable", "why": str(error)}
    if not row.consensus_of and not any(method.trains_on(case) for case in index.select("train")):
        return {"status": "not applicable", "why": f"No training case has what {row.method!r} learns from."}
    seconds = {}
    started = time.monotonic()
    taught = with_consensus(index, values, row.consensus_of, folder) if row.consensus_of else index
    train(config, taught, folder / "run", resume="auto")
    seconds["train"] = time.monotonic() - started
    model = load_model(folder / "run")
    started = time.monotonic()
    predictions = _predicted(model, index, folder / "predictions")
    seconds["predict"] = time.monotonic() - started
    scored = evaluate(predictions, index, split="test", against=row.against)  # type: ignore[arg-type]  # of the suite
    found = {
        "status": "done",
        "seconds": seconds,
        "validation": validation_score(model, index, row.against),
        "summary": scored.summary,
        "cases": [_rounded(case) for case in scored.cases],
    }
    graded = _grading(folder / "run", index)
    return {**found, "grading": graded} if graded else found


def _predicted(model: "Model", index: "DatasetIndex", folder: Path) -> Path:
    """The test cases, unless they are there."""
    from umanet.inference.predict import Wanted, predict
    from umanet.inference.unread import samples_of_index

    if not (folder / "predictions.json").exists():
        _, samples = samples_of_index(model, index, "test")
        predict(model, samples, folder, split="test", wanted=Wanted(samples=model.method.samples))
    return folder


def _rounded(case: Mapping[str, Any]) -> dict[str, Any]:
    """Rows are kept and passed on, by the hundred."""
    return {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in case.items()}


def _memory() -> dict[str, float | None]:
    """The most that this process had, of the machine and of the GPU."""
    import torch

    gpu = torch.cuda.max_memory_allocated() / MIB**2 if torch.cuda.is_available() else None
    return {"memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB, "gpu_memory_mib": gpu}


def _grading(run: Path, index: Any) -> dict[str, float | None] | None:
    """How well uncertainty, quality and consensus of the training annotations agree with the truth, if it is known."""
    from umanet.inference.model_file import can_grade

    if not can_grade(run) or any(case.truth is None for case in index.select("train")):
        return None
    from umanet.benchmark.grades import grades_against_truth

    return grades_against_truth(run, index)


def do_and_write(folder: Path) -> None:
    """Write the result of the row in ``folder`` beside it, whatever it is; only a crash of the process writes none.

    A row that goes on has no times: that of its first part is lost.
    """
    import traceback

    from umanet.benchmark.unfinished import remove_unfinished_parts
    from umanet.data.files import replace_file
    from umanet.errors import Interrupted

    remove_unfinished_parts(folder)
    resumed = any(path.is_dir() for path in folder.iterdir())
    try:
        found = do_row(folder)
        if resumed and "seconds" in found:
            found["seconds"] = dict.fromkeys(found["seconds"])
    except Interrupted:
        raise  # no result: it goes on another time
    except MemoryError:
        found = {"status": "failed", "why": "Out of memory."}
    except Exception as error:
        found = {"status": "failed", "why": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    replace_file(folder / RESULT, (json.dumps({**found, **_memory()}) + "\n").encode())
