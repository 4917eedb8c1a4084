"""What a worker makes of a case, on its way back: the result or the error, and what was said meanwhile."""

import logging
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ours = logging.getLogger("umanet")
_shown: dict[Any, Any] = {}
"""A warning of several cases is shown as often as if this process had given it."""


@dataclass(frozen=True)
class Said:
    """A warning, with where it comes from: filters go by that."""

    message: Warning | str
    category: type[Warning]
    file: str
    line: int
    module: str | None


@dataclass(frozen=True)
class Outcome:
    """Of one case: a value, or the error that ended it."""

    value: Any
    error: Exception | None
    records: tuple[logging.LogRecord, ...]
    warnings: tuple[Said, ...]

    def deliver(self) -> Any:
        """The value, in the process that asked for it: what was said is said here, and an error is raised."""
        for record in self.records:
            logging.getLogger(record.name).handle(record)
        for said in self.warnings:
            warnings.warn_explicit(said.message, said.category, said.file, said.line, said.module, _shown)
        if self.error is not None:
            raise self.error
        return self.value


def attempt(function: Callable[[Any], Any], item: Any) -> Outcome:
    """Do a case in a worker. Logs and warnings are kept for the process that has the user's ear."""
    records = _Kept()
    ours.addHandler(records)
    value = error = None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                value = function(item)
            except Exception as raised:  # of every kind: it is raised again where the case was asked for
                error = _that_travels(raised)
    finally:
        ours.removeHandler(records)
    return Outcome(value, error, tuple(records.kept), tuple(map(_said, caught)))


class _Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None  # what they hold may not travel
        self.kept.append(record)


def _said(caught: warnings.WarningMessage) -> Said:
    of_file = (name for name, module in list(sys.modules.items()) if getattr(module, "__file__", "") == caught.filename)
    return Said(caught.message, caught.category, caught.filename, caught.lineno, next(of_file, None))


def _that_travels(error: Exception) -> Exception:
    """The error, or one with its text where it cannot be rebuilt elsewhere."""
    text = "".join(traceback.format_exception(error))
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301  # our own bytes, of a moment ago
            error.add_note(f"In a worker:\n{text}")
            return error
    except Exception:  # whatever a foreign class does while it is packed
        pass
    return RuntimeError(f"In a worker:\n{text}")
