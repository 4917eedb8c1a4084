"""What becomes of what goes wrong while a command runs."""

import errno
import logging
import os
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import umanet
from umanet.__main__ import main
from umanet.cli import terminal
from umanet.cli.check import Check
from umanet.errors import DatasetError


@pytest.fixture
def failing(monkeypatch):
    """Let ``umanet check`` raise what a test gives."""

    def fail(error: BaseException) -> int:
        def run(self: Check) -> int:
            raise error

        monkeypatch.setattr(Check, "run", run)
        return main(["check", "d.json"])

    return fail


def test_what_a_user_can_mend_is_one_line(failing, capsys):
    assert failing(DatasetError("One\ntwo.")) == 2
    assert capsys.readouterr().err == "umanet: One two.\n"


def test_ctrl_c_is_one_line(failing, capsys):
    assert failing(KeyboardInterrupt()) == 2
    assert capsys.readouterr().err == "umanet: Interrupted. No result is half-written.\n"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "written: No space left on device. Free some space or choose another place."),
        (errno.EACCES, "read or written: Permission denied. Check the permissions or choose another place."),
    ],
)
def test_what_the_system_refuses_is_one_line(failing, capsys, number, expected):
    assert failing(OSError(number, os.strerror(number), "run/metrics.csv")) == 2
    assert capsys.readouterr().err == f"umanet: run/metrics.csv cannot be {expected}\n"


@pytest.mark.parametrize("error", [RuntimeError("ours"), OSError(errno.EIO, "ours")])
def test_a_fault_of_ours_keeps_its_traceback(failing, error):
    with pytest.raises(type(error), match="ours"):
        failing(error)


def test_a_reader_who_has_seen_enough_is_no_error():
    code = (
        "import sys; from umanet.cli.check import Check; from umanet.__main__ import main\n"
        "Check.run = lambda self: sys.stdout.write('x' * 10**6) and 0\n"
        "sys.exit(main(['check', 'd.json']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_our_messages_are_lines_and_those_of_others_do_not_appear(capsys):
    with terminal.quiet_others():
        logging.getLogger("umanet").info("done")
        logging.getLogger("umanet").warning("odd")
        warnings.warn_explicit("deprecated", FutureWarning, "a.py", 1, module="monai.networks.layers")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("all empty", stacklevel=1)
    assert capsys.readouterr().err == "umanet: done\numanet: warning: odd\numanet: warning: all empty\n"
    assert logging.getLogger("umanet").handlers == []


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 3.0, 4.0, 20.0, 20.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.progress("Predicting") as report:
        for done in range(1, 4):
            report(done, 4)
        report(4, 4, "loss 0.1")
    assert capsys.readouterr().err == "Predicting 2/4\nPredicting 4/4  loss 0.1\n"


def test_the_version_is_that_of_the_project(capsys):
    assert main(["--version"]) == 0
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert capsys.readouterr().out == f"umanet {project['version']}\n"
    assert umanet.__version__ == project["version"]


def test_a_command_to_type_next_can_be_pasted(capsys):
    terminal.next_step("check", "my data/dataset.json")
    assert capsys.readouterr().err == "Next: umanet check 'my data/dataset.json'\n"


def test_a_table_in_a_file_is_not_shortened(capsys):
    name = "a-class-with-a-name-that-is-much-longer-than-a-terminal-would-allow-in-a-table-of-eighty"
    terminal.print_table([{"class": name, "mean": 0.5, "low": None}], "Scores")
    shown = capsys.readouterr().out
    assert name in shown and "0.5" in shown and "None" not in shown
