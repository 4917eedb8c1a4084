"""The rows of a benchmark in one file, to go on with them on another machine or to look at every case's scores.

``pack OUT FILE`` takes what ``umanet benchmark -o OUT`` has done: ``row.json`` and ``result.json`` of every row, and
the code and budget that they were made with. ``unpack FILE OUT`` puts them back; the same command then does what is
missing.
"""

import io
import json
import sys
import tarfile
from argparse import ArgumentParser
from pathlib import Path

from umanet.benchmark.row import RESULT, ROW
from umanet.benchmark.state import ROWS, STATE


def pack(output: Path, file: Path) -> int:
    """Write ``file`` (``.tar.xz``); returns the number of rows. Where the data sets lay is left out."""
    results = sorted((output / ROWS).rglob(RESULT))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:xz") as archive:
        _add(archive, STATE, (output / STATE).read_bytes())
        for result in results:
            row = json.loads((result.parent / ROW).read_text()) | {"dataset": ""}
            folder = result.parent.relative_to(output).as_posix()
            _add(archive, f"{folder}/{ROW}", json.dumps(row).encode())
            _add(archive, f"{folder}/{RESULT}", result.read_bytes())
    return len(results)


def unpack(file: Path, output: Path) -> int:
    """Into a new or empty folder; returns the number of rows."""
    if output.exists() and any(output.iterdir()):
        sys.exit(f"Error: {output} holds something, a new or empty folder expected. Choose another one.")
    with tarfile.open(file, "r:xz") as archive:
        archive.extractall(output, filter="data")
    return len(list((output / ROWS).rglob(RESULT)))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, given in (("pack", ("output", "file")), ("unpack", ("file", "output"))):
        command = kinds.add_parser(kind)
        for name in given:
            command.add_argument(name, type=Path)
    arguments = parser.parse_args()
    done = {"pack": pack, "unpack": lambda output, file: unpack(file, output)}[arguments.kind]
    print(f"{done(arguments.output, arguments.file)} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
