"""What a suite needs, checked before anything is simulated or trained."""

from pathlib import Path

from umanet.benchmark.suite import Data, Suite
from umanet.data.index import read_index
from umanet.errors import ConfigError, counted


def require_inputs(suite: Suite, root: Path) -> None:
    """Refuse data that are not there, too few patients for folds, and a search without validation cases.

    Raises:
        ConfigError: As said.
        UmanetError: As ``read_index``.
    """
    for data in suite.data:
        for path in (data.dataset, data.images, data.truth):
            if path is not None and not (root / path).exists():
                raise ConfigError(
                    f"Nothing found at {root / path}, the data of {data.name!r} expected. Check the suite and --root."
                )
    for data in suite.data:
        validation = data.cases.get("validation", 0) if data.dataset is None else _validation_cases(data, root)
        if suite.learning_rates and not validation:
            raise ConfigError(
                f"No validation case of {data.name!r} found, some expected: learning_rates are chosen with them. Add "
                "some, or leave learning_rates out."
            )


def _validation_cases(data: Data, root: Path) -> int:
    assert data.dataset is not None
    index = read_index(root / data.dataset)
    if not data.folds:
        return len(index.select("validation"))
    patients = len({case.patient or case.id for case in index.cases})
    if data.folds > patients:
        raise ConfigError(
            f"{counted(patients, 'patient')} of {data.name!r} found, at least {data.folds} expected: one per fold. "
            "Lower `folds`."
        )
    return patients  # those who are not tested are split
