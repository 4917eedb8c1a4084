"""How do time and memory of the commands grow with the number of cases?

Simulated chest X-rays of 512 x 512, four annotators and a truth each, and a small network that was trained a few steps.
Every command runs as a whole process, start of Python included, one thread each. Smaller data sets are the first cases
of the largest. What was measured is kept in the scratch folder, row by row: an interrupted run goes on where it ended.

    OMP_NUM_THREADS=1 python benchmarks/many_cases.py SCRATCH --output docs/reference/performance.md

With ``--json`` the figures are the last line. ``--output`` replaces what stands between the two marks of a page.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pages import commit, table

SIZE, ANNOTATORS, SEED = 512, 4, 0
TRAINED_ON = 24
"""Cases of the network, which are none of the others."""
NUMBERS = (125, 250, 500, 1000)
BEGIN, END = "<!-- benchmarks/{}.py writes from here -->", "<!-- to here -->"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/many_cases.py SCRATCH"
TRAINING = ("--preset", "cpu-small", "--trainer.max-steps", "200", "--trainer.validate-every", "100", "--threads", "1")
STEPS: dict[str, tuple[str, ...]] = {
    "check": ("check", "{data}"),
    "agreement": ("agreement", "{data}", "-o", "{out}"),
    "fuse": ("fuse", "{data}", "--with", "staple", "-o", "{out}"),
    "predict": ("predict", "{run}", "{data}", "-o", "{out}"),
    "evaluate": ("evaluate", "{predict}", "{data}", "-o", "{out}"),
    "grade": ("grade", "{run}", "{data}", "-o", "{out}"),
    "report": ("report", "{run}", "--dataset", "{data}", "-o", "{out}"),
}
"""Words of each command; ``{predict}`` is what the command of that name made before."""
PARALLEL = ("check", "agreement", "fuse", "evaluate", "grade", "report")
"""Those that have ``--workers``."""
WRITES_A_FILE = ("report",)
KEY = ("commit", "command", "cases", "workers")
Row = dict[str, Any]


def make(folder: Path, most: int) -> None:
    """Images, annotations, the index of all, and a trained run. What is there already is not made again."""
    from umanet.simulation import write_phantoms

    if not (folder / "phantoms").is_dir():
        write_phantoms(folder / "making", most + TRAINED_ON, SIZE, SEED)
        (folder / "making").rename(folder / "phantoms")
    phantoms = folder / "phantoms"
    if not (folder / "all").is_dir():
        given = ("--images", phantoms / "images", "--truth", phantoms / "truth", "-o", folder / "all")
        started(["simulate", *given, "--scenario", f"annotators-{ANNOTATORS}"], folder)
    if not (folder / "run").is_dir():
        write_part(folder, 0)
        started(["train", folder / "all" / "training.json", "-o", folder / "run", *TRAINING], folder)


def write_part(folder: Path, number: int) -> Path:
    """An index of the first cases, all of them to be tested; of none: of those that train the network."""
    from umanet.data.index import read_index, write_index

    index = read_index(folder / "all" / "dataset.json")
    cases = sorted(index.cases, key=lambda case: case.id)
    splits = ["validation" if at % 6 == 0 else "train" for at in range(TRAINED_ON)]
    part = cases[TRAINED_ON : TRAINED_ON + number] if number else cases[:TRAINED_ON]
    if number > len(part):
        sys.exit(f"{len(part)} cases found, {number} expected, in {folder}. Take another scratch folder.")
    chosen = ["test"] * number if number else splits
    named = tuple(_with_split(case, split) for case, split in zip(part, chosen, strict=True))
    path = folder / "all" / (f"first-{number}.json" if number else "training.json")
    write_index(index.model_copy(update={"cases": named, "splits": None}), path)
    return path


def _with_split(case: Any, split: str) -> Any:
    from dataclasses import replace

    return replace(case, split=split)


def elsewhere(function: Callable[..., Any], *given: Any) -> Any:
    """In a process of its own: this one stays small, as the peak of a child counts from its parent's size."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, given)


def started(words: list[Any], folder: Path) -> Row:
    """Run ``umanet`` with these words; seconds of the wall, of all its processes, and the peak of the largest of them.

    What it says goes to ``log.txt``; an exit code that is not 0 ends all, but for ``check``, which warns so.
    """
    command = [sys.executable, "-m", "umanet", *map(str, words)]
    with (folder / "log.txt").open("ab") as log:
        log.write(f"\n$ umanet {' '.join(command[3:])}\n".encode())
        log.flush()
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"Exit code {process.returncode} found, 0 expected, of `{' '.join(command)}`. See {log.name}.")
    return {"wall": wall, "processor": used.ru_utime + used.ru_stime, "mebibytes": used.ru_maxrss / 1024}


def measure(folder: Path, options: argparse.Namespace) -> list[Row]:
    """All rows of this commit, those of before among them."""
    kept = folder / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {tuple(row[name] for name in KEY) for row in rows}
    made_by = options.label or commit()
    for number in options.cases:
        data = elsewhere(write_part, folder, number)
        for name in options.commands:
            for workers in (1, 2) if name in PARALLEL and options.workers else (1,):
                if (made_by, name, number, workers) not in known:
                    row = {"commit": made_by, "command": name, "cases": number, "workers": workers}
                    row |= {"load": round(os.getloadavg()[0], 1)} | one(folder, name, data, number, workers)
                    rows.append(row)
                    with kept.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)
    return [row for row in rows if row["commit"] == made_by and row["cases"] in options.cases]


def one(folder: Path, name: str, data: Path, number: int, workers: int) -> Row:
    """A command, once. Predictions stay for ``evaluate``, the page of a report to be looked at."""
    place = folder / str(number)
    place.mkdir(exist_ok=True)
    out = place / (f"{name}.html" if name in WRITES_A_FILE else name)
    clear(out)
    predictions = place / "predict"
    if "{predict}" in STEPS[name] and not predictions.is_dir():
        one(folder, "predict", data, number, 1)
    words = [word.format(data=data, out=out, run=folder / "run", predict=predictions) for word in STEPS[name]]
    found = started([*words, *(("--workers", workers) if workers > 1 else ())], folder)
    if out.exists():
        found["written"] = sum(file.stat().st_size for file in (out, *out.rglob("*")) if file.is_file()) / 2**20
        if name not in (*WRITES_A_FILE, "predict"):
            clear(out)
    return found


def clear(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def fits(rows: list[Row]) -> list[Row]:
    """Of every command and number of workers: seconds to start and per case, and the slope of logarithms."""
    found = []
    for name, workers in dict.fromkeys((row["command"], row["workers"]) for row in rows):
        own = sorted((row for row in rows if (row["command"], row["workers"]) == (name, workers)), key=by_cases)
        if len(own) > 1:
            numbers = np.array([row["cases"] for row in own], dtype=float)
            walls, used = (np.array([row[key] for row in own]) for key in ("wall", "processor"))
            each, start = np.polyfit(numbers, walls, 1)
            slope, last = np.polyfit(np.log(numbers), np.log(used), 1)[0], _slope(numbers[-2:], used[-2:])
            found.append(
                {
                    "command": name,
                    "workers": workers,
                    "start": float(start),
                    "per_case": float(each),
                    "processor_per_case": float(np.polyfit(numbers, used, 1)[0]),
                    "slope": float(slope),
                    "last_slope": last,
                    "mebibytes_per_case": float(np.polyfit(numbers, [row["mebibytes"] for row in own], 1)[0]),
                }
            )
    return found


def by_cases(row: Row) -> int:
    return row["cases"]


def _slope(numbers: np.ndarray, seconds: np.ndarray) -> float:
    return float(np.diff(np.log(seconds))[0] / np.diff(np.log(numbers))[0])


def title(row: Row) -> str:
    return row["command"] + (f", {row['workers']} workers" if row["workers"] > 1 else "")


def page(rows: list[Row], said: str, picture: str) -> str:
    """What the script found, as Markdown."""
    numbers = sorted({row["cases"] for row in rows})
    most = numbers[-1]
    titles = list(dict.fromkeys(map(title, rows)))
    cell = {(title(row), row["cases"]): row for row in rows}
    walls = (
        [name, *(f"{cell[name, number]['wall']:.1f}" if (name, number) in cell else "" for number in numbers)]
        + _of_most(cell.get((name, most)))
        for name in titles
    )
    return "\n".join(
        [
            said,
            "",
            f"Seconds of the wall by the number of cases; then, of {most:,} cases, what all processes of the command "
            "took together, the peak of the largest of them, and what was written:",
            "",
            *table(["", *(f"{number:,}" for number in numbers), "processor (s)", "peak (MiB)", "written (MiB)"], walls),
            "",
            f"![Processor seconds over the number of cases, both logarithmic: straight lines of slope 1]({picture})",
            "",
            "Fitted: a start and a cost per case, `seconds = start + each x cases`, of the wall; and, of processor "
            "seconds, which others on the machine disturb less, the cost per case and slopes of log seconds over log "
            "cases, over all numbers, and of the last step, where the start weighs least. 1 is linear.",
            "",
            *table(
                ["", "start (s)", "each case (ms)", "processor, each (ms)", "slope", "of the last step", "KiB, each"],
                (
                    [
                        title(fit),
                        f"{fit['start']:.1f}",
                        f"{1000 * fit['per_case']:.0f}",
                        f"{1000 * fit['processor_per_case']:.0f}",
                        f"{fit['slope']:.2f}",
                        f"{fit['last_slope']:.2f}",
                        f"{1024 * fit['mebibytes_per_case']:.0f}",
                    ]
                    for fit in fits(rows)
                ),
            ),
        ]
    )


def _of_most(row: Row | None) -> list[str]:
    if row is None:
        return ["", "", ""]
    written = f"{row['written']:.1f}" if "written" in row else ""
    return [f"{row['processor']:.1f}", f"{row['mebibytes']:.0f}", written]


def draw(rows: list[Row], path: Path) -> None:
    """Seconds over cases: a line per command, dashed with two workers, and a grey one of slope 1."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    plt.rcParams["svg.hashsalt"] = "many_cases"
    figure, axes = plt.subplots(figsize=(7, 4.6))
    numbers = sorted({row["cases"] for row in rows})
    for at, name in enumerate(dict.fromkeys(row["command"] for row in rows)):
        for workers, style in ((1, "o-"), (2, "x--")):
            own = sorted((r for r in rows if r["command"] == name and r["workers"] == workers), key=by_cases)
            if own:
                seconds = [row["processor"] for row in own]
                axes.plot([row["cases"] for row in own], seconds, style, color=f"C{at}", label=title(own[0]), lw=1.3)
    slowest = max(row["processor"] / row["cases"] for row in rows)
    axes.plot(numbers, [1.5 * slowest * number for number in numbers], color="0.7", lw=3, label="slope 1", zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="cases of 512 x 512, four annotators", ylabel="processor seconds")
    axes.set_xticks(numbers)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, bbox_inches="tight")


def sentence(rows: list[Row], options: argparse.Namespace) -> str:
    loads = [row["load"] for row in rows]
    flags = "".join(f" {word}" for word in sys.argv[2:] if word != "--json")
    return (
        f"`{COMMAND}{flags}`, commit {rows[0]['commit']}, {os.cpu_count()} CPUs, no GPU, one thread a process; load "
        f"before each command {min(loads)} to {max(loads)} (above about {2 if options.workers else 1}, others shared "
        f"the machine). Chest X-ray phantoms of {SIZE} x {SIZE} pixels as PNG, {ANNOTATORS} simulated annotators and a "
        "truth each; UMA-Net of the preset `cpu-small`, which works at 96 x 96. Whole processes, start of Python "
        "included."
    )


def replace_block(path: Path, block: str, script: str) -> None:
    """What stands between the marks of a page that a script writes."""
    begin, text = BEGIN.format(script), path.read_text(encoding="utf-8")
    if begin not in text or END not in text:
        sys.exit(f"No `{begin}` and `{END}` found in {path}, both expected. Write them where the figures belong.")
    before, after = text.split(begin)[0], text.split(END)[1]
    path.write_text(f"{before}{begin}\n{block}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path, help="a folder for data and rows: 4 MB a case, and as much at work")
    parser.add_argument("--cases", type=int, nargs="+", default=list(NUMBERS))
    parser.add_argument("--commands", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--no-workers", dest="workers", action="store_false", help="measure no --workers 2")
    parser.add_argument("--label", help="in place of the commit: rows of a label are not measured again")
    parser.add_argument("--json", action="store_true", help="print rows and fits as the last line")
    parser.add_argument("--output", type=Path, help="also write the figures to this page, between its marks")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/many_cases.svg"))
    options = parser.parse_args()
    folder = options.scratch.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere(make, folder, max(options.cases))
    rows = measure(folder, options)
    if options.output:
        draw(rows, options.picture)
        shown = Path(os.path.relpath(options.picture, options.output.parent)).as_posix()
        replace_block(options.output, page(rows, sentence(rows, options), shown), "many_cases")
    if options.json:
        print(json.dumps({"rows": rows, "fits": fits(rows)}))


if __name__ == "__main__":
    main()
