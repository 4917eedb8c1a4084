"""The program ``umanet``: its commands, and what becomes of the errors that users can mend."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Protocol

import tyro

from umanet.cli.agreement import Agreement
from umanet.cli.annotate import Annotate
from umanet.cli.benchmark import Benchmark
from umanet.cli.check import Check
from umanet.cli.compare import Compare
from umanet.cli.demo import Demo
from umanet.cli.evaluate import Evaluate
from umanet.cli.export_dataset import ExportDataset
from umanet.cli.export_model import ExportModel
from umanet.cli.fuse import Fuse
from umanet.cli.grade import Grade
from umanet.cli.import_ import Import
from umanet.cli.methods import Methods
from umanet.cli.parsing import parse
from umanet.cli.predict import Predict
from umanet.cli.report import Report
from umanet.cli.simulate import Simulate
from umanet.cli.terminal import print_text, quiet_others, say
from umanet.cli.train import Train
from umanet.data.files import what_to_do
from umanet.errors import UmanetError

FAILED = 2
"""Exit code of everything that a user can mend, and of Ctrl-C."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}

Commands = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Simulate, tyro.conf.subcommand("simulate")]
    | Annotated[Annotate, tyro.conf.subcommand("annotate")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Agreement, tyro.conf.subcommand("agreement")]
    | Annotated[Fuse, tyro.conf.subcommand("fuse")]
    | Annotated[ExportDataset, tyro.conf.subcommand("export-dataset")]
    | Annotated[Methods, tyro.conf.subcommand("methods")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[ExportModel, tyro.conf.subcommand("export-model")]
    | Annotated[Grade, tyro.conf.subcommand("grade")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
)


class Command(Protocol):
    """Every command: the arguments are its fields. ``run`` returns an exit code; None is 0."""

    def run(self) -> int | None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Without the program's name; by default those that the process was started with.

    Returns:
        The exit code: 0 done, 1 ``check`` found errors, 2 something that the user can mend, or Ctrl-C. Any other
        exception is a fault of ours and keeps its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments) == ["--version"]:
        print_text(f"umanet {version('umanet')}")
        return 0
    try:
        with quiet_others():
            command: Command = parse(Commands, arguments, "umanet", DESCRIPTION)
            code = command.run() or 0
            sys.stdout.flush()
            return code
    except SystemExit as stop:
        return int(stop.code or 0)
    except UmanetError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("Interrupted. No result is half-written.")
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); without this, Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in NO_ROOM | NO_PERMISSION:
            raise
        # Which of the two it was, the system does not say.
        failed = "written" if error.errno in NO_ROOM else "read or written"
        return _fail(f"{error.filename or 'The output'} cannot be {failed}: {error.strerror}. {what_to_do(error)}.")


DESCRIPTION = """Medical image segmentation learned from several annotations per image.

The usual order: import, check, agreement, train, predict, grade, evaluate, report. `umanet COMMAND --help` has the
details; `umanet demo` shows everything on made-up data; `umanet --version` says which version this is."""


def _fail(message: str) -> int:
    say(f"umanet: {' '.join(message.split())}")
    return FAILED
