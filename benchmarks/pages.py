"""What pages of results share."""

import subprocess
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def commit() -> str:
    """Of the code that runs, with a plus where files differ from it."""
    name = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude", "*"], capture_output=True, text=True, check=True
    )
    return name.stdout.strip()
