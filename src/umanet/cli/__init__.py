"""The command line: a documented dataclass per command; nothing heavy is imported before a command runs."""

from umanet.cli.program import main

__all__ = ["main"]
