"""What docs/reference/outputs.md says of files."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "outputs.md"


def documented(section: str, header: str) -> list[str]:
    """The names in the first column of the table under a heading whose first column is called ``header``."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}")[1].split("\n## ")[0]
    table = text.split(f"\n| {header} |")[1].split("\n\n")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
