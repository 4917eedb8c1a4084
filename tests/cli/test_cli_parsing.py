"""Whatever is typed wrongly is answered in one line, with what may be meant."""

import subprocess
import sys

import pytest

from umanet.__main__ import main

COMMANDS = ("demo", "import", "simulate", "check", "fuse", "train", "predict", "grade", "evaluate", "compare")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: umanet {command}" in capsys.readouterr().out


def test_the_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [command for command in COMMANDS if f"• {command} " not in shown] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["Expected one of", "demo", "evaluate", "See umanet --help."]),
        ("trian", ["trian", "Did you mean 'train'?", "See umanet --help."]),
        ("trian x.json -o r", ["Unknown command 'trian' found. Did you mean 'train'? See umanet --help."]),
        ("checks --json d.json", ["Unknown command 'checks' found. Did you mean 'check'? See umanet --help."]),
        (
            "zzz x.json",
            [
                "Unknown command 'zzz' found, one of demo, import",
                "evaluate, compare, report, benchmark expected. See umanet",
            ],
        ),
        ("--verbose", ["Unknown command '--verbose' found, one of demo"]),
        ("train", ["Missing", "PATH", "--output", "See umanet train --help."]),
        ("train d.json -o r --trainer.max-step 3", ["--trainer.max-step", "Did you mean '--trainer.max-steps'?"]),
        ("train d.json -o r --uma-net.kapa 3", ["--uma-net.kapa", "Did you mean '--uma-net.kappa'?"]),
        ("train d.json -o r --preset huge", ["'huge'", "'--preset'", "cpu-small"]),
        ("train d.json -o r --method majorty", ["'majorty'", "'--method'", "majority"]),
        ("train d.json -o r --trainer.max-steps many", ["--trainer.max-steps", "'many'", "See umanet train --help."]),
        ("train d.json -o", ["--output", "Expected 1"]),
        ("predict run d.json -o p --splits test", ["--splits", "Did you mean '--split'?"]),
        ("evaluate p d.json --against annotators", ["'annotators'", "truth"]),
        (
            "import floder raw -o d.json",
            ["Unknown command 'floder' found. Did you mean 'folder'? See umanet import --"],
        ),
        ("import", ["Expected one of", "folder", "See umanet import --help."]),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(line, words, capsys):
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("umanet: ") and shown.err.count("\n") == 1
    assert [word for word in words if word not in shown.err] == []


def test_colours_of_a_terminal_do_not_reach_the_line(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["train", "d.json", "-o", "r", "--trainer.max-step", "3"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_needs_no_torch(command):
    code = (
        f"import sys; from umanet.__main__ import main; main(['{command}', '--help']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
