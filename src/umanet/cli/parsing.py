"""Command lines to commands; what is wrong with one is said in a line."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro

from umanet.errors import ConfigError, did_you_mean

# tyro draws with lines, or with hyphens where the terminal's encoding has none.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RULE = re.compile(r"^[╭╰│ ]*[─-]{10,}[╮╯│ ]*$|^╰.*$", re.MULTILINE)
TITLE = re.compile(r"^╭─ .*$", re.MULTILINE)
HELP_TEXT = re.compile(r"^[│ ] {9,}.*$", re.MULTILINE)
FLAG = re.compile(r"^--[\w.-]+|(?<=, )--[\w.-]+", re.MULTILINE)


def parse(kind: Any, arguments: Sequence[str], prog: str, description: str) -> Any:
    """The command that the arguments make.

    Raises:
        ConfigError: An unknown, missing or unusable command, flag or value.
        SystemExit: Help was asked for and printed.
    """
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(kind, args=arguments, prog=prog, description=description, config=(tyro.conf.DisallowNone,))
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ConfigError(one_line(complaint.getvalue(), f"{prog} {' '.join(arguments[:1])}")) from None


def one_line(box: str, called: str) -> str:
    """The essence of what tyro draws: its message, the flag or command that may be meant, and where help is.

    Args:
        box: As drawn for a terminal.
        called: The program, with its command.
    """
    drawn = TITLE.sub("title\n" + 10 * "─", COLOUR.sub("", box))
    parts = [part for part in map(_plain, RULE.split(HELP_TEXT.sub("", drawn))) if part]
    title, message, *others = (*parts, "", "", "")
    message = message or title
    near = next((flag for part in others for flag in FLAG.findall(part)), None) if "Unrec" in message else None
    known = re.search(r"Available subcommands: (.+)", others[0], re.DOTALL)
    strange = re.findall(r"[^\s,]+", message.partition("options:")[2] if "Unrec" in message else "")
    hint = f" Did you mean {near!r}?" if near else ""
    program, *first = called.split()
    wrong = next((word for word in first if word in strange), next(iter(strange), None))
    if known and wrong:
        # tyro lists all that follows as unknown too, and flags of other commands as what may be meant.
        commands = re.findall(r"[\w-]+", known[1])
        hint = did_you_mean(wrong, commands)
        message = f"Unknown command {wrong!r} found" + ("" if hint else f", one of {', '.join(commands)} expected")
    program = program if "subcommand" in box and wrong in first else called.strip()
    return f"{' '.join(message.split()).rstrip('.')}.{hint} See {program} --help."


def _plain(text: str) -> str:
    lines = (line.strip(" │") for line in text.splitlines())
    return "\n".join(line for line in lines if line)
