"""The errors that a user can cause and mend. The command line prints them as one line and exits with 2.

Every message says, in this order: what was found, what was expected, where, and what to do.
"""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, to end a message with, for the known name that is near; empty where none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def counted(number: int, thing: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


class UmanetError(Exception):
    """Something about the input that the user can mend. All errors below are of this kind."""


class ConfigError(UmanetError):
    """A key, value or flag of the configuration is unknown or out of range."""


class DatasetError(UmanetError):
    """``dataset.json`` or what it lists does not fit together."""


class ImageError(UmanetError):
    """An image or annotation file cannot be read, or holds what it must not hold."""


class GeometryError(UmanetError):
    """Shapes, spacings or affines of files that belong together differ."""


class AnnotationError(UmanetError):
    """Annotations (arrays or files) are unusable: a value without a class, none present, wrong shape."""


class TaskError(UmanetError):
    """A method, a model file and a data set are made for different tasks."""


class ModelFileError(UmanetError):
    """A released model is missing, truncated, tampered with, or of another version."""


class ExportError(UmanetError):
    """A network cannot be exported, or the packages that export it or run what was exported are not installed."""


class RunError(UmanetError):
    """A run folder exists already, is missing, or cannot be resumed."""


class OutputError(UmanetError):
    """The output cannot be written: it exists, the disk is full, no permission."""


class ExecutorError(UmanetError):
    """Workers die, or a scheduler is gone: cases cannot be done where they were sent."""


class Interrupted(UmanetError):
    """The user pressed Ctrl-C. The message says what was kept and how to go on."""
