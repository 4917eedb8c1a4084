"""The page, figures and rows of a suite, to ``benchmarks/results/``.

``SUITE OUT [ROOT]``: the suite's name without ``.toml``, the output folder of ``umanet benchmark``, and what the page's
command has for ``--root``. Only rows with a result are shown; nothing is done.
"""

import shutil
import sys
from argparse import ArgumentParser
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from pages import commit
from rows import pack

from umanet.benchmark import read_suite
from umanet.benchmark.page import write_results
from umanet.benchmark.run import done_rows
from umanet.benchmark.state import made_on

HERE = Path(__file__).parent


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("output", type=Path)
    parser.add_argument("root", nargs="?", default="DATA")
    given = parser.parse_args()
    name, results = given.suite, HERE / "results"
    umanet = f"umanet {version('umanet')}"
    suite = read_suite(HERE / "suites" / f"{name}.toml")
    command = f"umanet benchmark benchmarks/suites/{name}.toml -o OUT --root {given.root}"
    with TemporaryDirectory() as temporary:
        made = Path(temporary)
        write_results(suite, done_rows(suite, given.output), made, command, made_on(given.output))
        page = (made / "results.md").read_text(encoding="utf-8")
        page = page.replace(f"{umanet}.", f"{umanet}, page of commit {commit()}.", 1)
        for picture in made.glob("*.png"):
            page = page.replace(f"]({picture.name})", f"]({name}_{picture.name})")
            shutil.copy(picture, results / f"{name}_{picture.name}")
        (results / f"{name}.md").write_text(page, encoding="utf-8")
        shutil.copy(made / "results.csv", results / f"{name}.csv")
    print(f"{pack(given.output, results / 'rows' / f'{name}.tar.xz')} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
