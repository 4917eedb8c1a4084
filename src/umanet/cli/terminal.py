"""What a user sees while a command runs: our own messages and progress, and nothing of what other packages say."""

import logging
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

OTHERS = r"(lightning|monai|torch|torchmetrics|tensorboard|nibabel|tyro)\."
"""Packages whose warnings a user of the command line can do nothing about: MONAI passes deprecated arguments to
itself, Lightning advises on workers and folders."""
SECONDS_BETWEEN_LINES = 10.0
QUIET_SECONDS = 2.0
"""Work that is done sooner needs no progress."""

Report = Callable[..., None]
"""``report(done, total, note="")``."""


def say(*lines: str) -> None:
    """Lines for the person at the terminal; standard output is for results only."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def command(*words: object) -> str:
    """A command as it may be pasted into a shell."""
    return "umanet " + shlex.join(str(word) for word in words)


def next_step(*words: object) -> None:
    """What to type next."""
    say(f"Next: {command(*words)}")


@contextmanager
def quiet_others() -> Iterator[None]:
    """Log records and warnings of umanet become single lines; those of other packages do not appear."""
    handler = _Lines()
    ours = logging.getLogger("umanet")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=OTHERS)
            warnings.showwarning = _show_warning
            yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


class _Lines(logging.Handler):
    """To the standard error of the moment: a progress bar puts its own in place, to keep lines apart from itself."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        say(f"umanet: {kind}{record.getMessage()}")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"umanet: warning: {' '.join(str(message).split())}")


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A bar on a terminal; elsewhere a line now and then. Gives ``report(done, total, note="")``."""
    if not sys.stderr.isatty():
        yield _lines_now_and_then(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield report


def _lines_now_and_then(title: str) -> Report:
    due = time.monotonic() + QUIET_SECONDS

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + SECONDS_BETWEEN_LINES
            say(f"{title} {done}/{total}{'  ' + note if note else ''}")

    return report


def print_table(rows: list[dict[str, object]], title: str) -> None:
    """A table on standard output; the columns are the keys of the first row."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in rows[0] if rows else ():
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    # A file has no width that a column must be shortened for.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_text(text: str) -> None:
    """A result, as it is, on standard output."""
    sys.stdout.write(text + "\n")
