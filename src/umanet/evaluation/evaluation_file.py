"""What is read of ``evaluation.json``, and checked: it may have been written by hand, or by another program."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from umanet.errors import DatasetError
from umanet.evaluation.evaluation import FILE, Evaluation
from umanet.evaluation.scores import Row


class _Distances(BaseModel):
    model_config = ConfigDict(extra="allow")
    unit: str


class _Protocol(BaseModel):
    """What comparisons and tables read of it; the rest is passed on."""

    model_config = ConfigDict(extra="allow")
    name: str
    data: str
    cases: int
    cases_with_probabilities: int
    targets_sha256: dict[str, str]
    distances: _Distances | None = None


class _File(BaseModel):
    format: Literal["umanet-evaluation"]
    version: Literal[1]
    summary: dict[str, Row]
    classes: dict[str, dict[str, Row]]
    cases: Annotated[list[dict[str, str | float | None]], Field(min_length=1)]
    protocol: _Protocol
    annotators: dict[str, dict[str, dict[str, Row]]]
    annotator_cases: list[Row] = []


def read_evaluation(path: Path) -> Evaluation:
    """Read ``evaluation.json``, or the one in a folder.

    Raises:
        DatasetError: There is none, or it does not hold what it must.
    """
    path = path / FILE if path.is_dir() else path
    try:
        values = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"No evaluation could be read from {path}: {error.strerror}. Write one with `umanet evaluate -o`."
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise DatasetError(f"{where} in {path}: {problem['msg']}. Write it again with `umanet evaluate -o`.") from None
    _require_scores(values, path)
    return Evaluation(
        values.summary,
        values.classes,
        list(values.cases),
        values.protocol.model_dump(exclude_unset=True),
        values.annotators,
        values.annotator_cases,
    )


def _require_scores(values: _File, path: Path) -> None:
    """Raises: DatasetError: A case has no score of a metric, or words in its place."""
    for row in values.cases:
        for name in ("case", "patient", "class", *values.summary):
            if name not in row:
                raise DatasetError(
                    f"A case without {name!r} found in {path}, all metrics expected. Write it again with `umanet "
                    "evaluate -o`."
                )
            if isinstance(row[name], str) == (name in values.summary):
                kind = "a number or null" if name in values.summary else "a name"
                raise DatasetError(
                    f"{name} = {row[name]!r} of a case found in {path}, {kind} expected. Write it again with `umanet "
                    "evaluate -o`."
                )
