"""A suite as rows, and the data sets that they need."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from umanet.benchmark.row import Row
from umanet.benchmark.suite import CHECK, GIVEN, Data, Suite, Variant
from umanet.config import merge
from umanet.data.index import DatasetIndex, read_index, write_index
from umanet.data.splits import patients_of_fold, split_by_patient
from umanet.errors import ConfigError
from umanet.evaluation.prediction_folder import counted
from umanet.simulation.simulate import simulate

TRAIN, VALIDATION = 0.85, 0.15
"""Shares of the patients who are not tested, in cross-validation."""


def plan_rows(suite: Suite, output: Path, rates: dict[tuple[str, str], float] | None = None) -> list[Row]:
    """All rows, in the order of data, scenario, seed, fold and contestant; the checkers come last.

    Args:
        suite: What is compared.
        output: Where ``prepare_data`` has put the data sets.
        rates: Learning rate by data and contestant. None: the configuration's. The networks of a checker,
            which learn from the majority vote, have that of ``majority``.
    """
    rows = []
    for data in suite.data:
        for scenario in data.scenarios or (GIVEN,):
            for seed in suite.seeds:
                for fold in range(max(1, data.folds)):
                    for contestant in suite.contestants:
                        rate = (rates or {}).get((data.name, contestant.name))
                        where = dataset_path(output, data, scenario, seed, fold)
                        rows.append(_row(suite, data, contestant, scenario, seed, fold, where, rate))
                    rows += _checker_rows(suite, data, scenario, seed, fold, output, rates or {})
    return rows


def search_rows(suite: Suite, output: Path) -> list[Row]:
    """A row per data, contestant and learning rate, with the first scenario, seed and fold."""
    first = {(data.name, (data.scenarios or (GIVEN,))[0], suite.seeds[0], 0) for data in suite.data}
    rows = [row for row in plan_rows(suite, output) if (row.data, row.scenario, row.seed, row.fold) in first]
    searched = [row for row in rows if not row.method.startswith(CHECK)]
    return [replace(row, learning_rate=rate) for row in searched for rate in suite.learning_rates]


def _checker_rows(
    suite: Suite, data: Data, scenario: str, seed: int, fold: int, output: Path, rates: dict[tuple[str, str], float]
) -> list[Row]:
    where, config = str(dataset_path(output, data, scenario, seed, fold)), merge(suite.config, data.config)
    rate = {"cleanlab": rates.get((data.name, "majority"))}
    return [
        Row(data.name, scenario, CHECK + one, CHECK + one, seed, fold, where, config, data.against, rate.get(one))
        for one in suite.checkers
    ]


def _row(
    suite: Suite, data: Data, contestant: Variant, scenario: str, seed: int, fold: int, where: Path, rate: float | None
) -> Row:
    config: dict[str, Any] = merge(merge(suite.config, data.config), contestant.config)
    return Row(
        data.name, scenario, contestant.name, contestant.method, seed, fold, str(where), config, data.against, rate,
        contestant.consensus_of,
    )  # fmt: skip


def dataset_path(output: Path, data: Data, scenario: str, seed: int, fold: int) -> Path:
    name = f"{scenario}_seed{seed}" if data.scenarios else f"seed{seed}_fold{fold}" if data.folds else GIVEN
    return output / "data" / data.name / name / "dataset.json"


def prepare_data(suite: Suite, root: Path, output: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulate annotators, and split by patient, where that has not been done yet.

    Raises:
        ConfigError: A path of the suite is not there.
        UmanetError: As ``simulate`` and ``read_index``.
    """
    todo = list(_wanted(suite, output))
    for number, (data, scenario, seed, fold, path) in enumerate(todo, start=1):
        if not path.exists():
            _prepare(data, scenario, seed, fold, root, path)
        if progress:
            progress(number, len(todo))


def _wanted(suite: Suite, output: Path) -> Iterator[tuple[Data, str, int, int, Path]]:
    for data in suite.data:
        for scenario in data.scenarios or (GIVEN,):
            for seed in suite.seeds:
                for fold in range(max(1, data.folds)):
                    yield data, scenario, seed, fold, dataset_path(output, data, scenario, seed, fold)


def _prepare(data: Data, scenario: str, seed: int, fold: int, root: Path, path: Path) -> None:
    if data.dataset is None:
        assert data.images is not None and data.truth is not None  # of the suite
        images, truth = (_there(root / one, data) for one in (data.images, data.truth))
        pattern = data.patient_pattern
        given = images, truth, scenario, seed, path.parent
        simulate(*given, fractions=data.cases, patient_pattern=pattern, split_seed=data.split_seed)
        return
    index = read_index(_there(root / data.dataset, data))
    tested = index.cases if data.folds else index.select("test")
    lacking = [case.id for case in tested if not (case.truth if data.against == "truth" else case.annotations)]
    if lacking:
        raise ConfigError(
            f"No {data.against} of {counted(lacking, list(tested))} found in {data.name!r}, to be tested against it. "
            "Set `against` in the suite, or add what is missing."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_index(fold_of(index, data.folds, fold, seed) if data.folds else index, path)


def _there(path: Path, data: Data) -> Path:
    if not path.exists():
        raise ConfigError(f"Nothing found at {path}, the data of {data.name!r} expected. Check the suite and --root.")
    return path


def fold_of(index: DatasetIndex, folds: int, fold: int, seed: int) -> DatasetIndex:
    """The data set with the patients of one fold as the test split, and the others split into train and validation.

    Raises:
        DatasetError: Too few patients.
    """
    tested = patients_of_fold(index.cases, folds, fold, seed)
    others = [case for case in index.cases if (case.patient or case.id) not in tested]
    drawn = split_by_patient(others, {"train": TRAIN, "validation": VALIDATION}, seed)
    split_of = {case.id: case.split for case in drawn}
    cases = tuple(replace(case, split=split_of.get(case.id, "test")) for case in index.cases)
    return index.model_copy(update={"cases": cases})
