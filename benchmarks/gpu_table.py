"""What does training and predicting cost on a GPU?

Steps of UMA-Net, of the majority vote and of the bare backbone (forward and backward by cross-entropy) in 2D (8 images
of 512 x 512) and 3D (2 volumes of 128^3), presets small, medium and large, 1 to 12 annotators, fp32, bf16 and compiled;
prediction in tiles; and how long the device waits for the loader of a run. Every row is measured in a process of its
own, the most important first, and kept in ROWS, so that the same command goes on where it was stopped; a row that runs
out of memory is noted as such:

    python benchmarks/gpu_table.py rows.jsonl --device cuda --budget 600 --profile --output page.md

``--quick --device cpu`` shows on a CPU that the script runs.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu_rows import PRECISIONS, Row, measured, profile_of
from pages import commit, table

ANNOTATORS = (6, 3, 1, 12)
LEAST = 20.0
"""Seconds that must be left to start a row."""


def plan(options: argparse.Namespace) -> list[Row]:
    """All rows, the most important first."""
    presets = ["cpu-small"] if options.quick else ["small", "medium", "large"]
    annotators = ANNOTATORS[:1] if options.quick else ANNOTATORS
    rows = []
    for variant in ("bf16", "fp32", "compiled"):
        for preset in presets:
            for dims in ("2d", "3d"):
                kinds = [("step", "uma-net", 6), ("step", "majority", 6), ("step", "bare", 6)]
                if variant != "compiled":
                    kinds += [("predict", "uma-net", 6)]
                if variant == "bf16":
                    kinds += [("loading", "uma-net", 6)]
                kinds += [("step", "uma-net", r) for r in annotators[1:]]
                rows += [Row(*kind, dims, preset, variant, options.device, options.quick) for kind in kinds]
    return [row for row in rows if row.variant in options.variants]


def known(file: Path) -> dict[str, dict[str, Any]]:
    """Rows of the file, by what they measure."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {json.dumps(each["row"]): each for each in rows}


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What the file has, and what is measured now within the budget, which is added to the file."""
    found, end = known(options.rows), time.monotonic() + options.budget
    for row in plan(options):
        left = end - time.monotonic()
        if json.dumps(asdict(row)) in found:
            continue
        if left < LEAST:
            print(f"Budget used: stopped before {row}.", file=sys.stderr)
            break
        figures = in_process(row, left)
        if figures is None:
            print(f"Budget used: stopped at {row}.", file=sys.stderr)
            break
        line = {"row": asdict(row), **figures}
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        found[json.dumps(line["row"])] = line
        print(json.dumps(line), flush=True)
    return found


def in_process(row: Row, seconds: float) -> dict[str, Any] | None:
    """Figures of a row, or what went wrong; None where the time is over."""
    command = [sys.executable, __file__, "-", "--row", json.dumps(asdict(row))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if "OutOfMemory" in done.stderr or "out of memory" in done.stderr or done.returncode == -9:
        return {"error": "out of memory"}
    return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def page(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The figures as Markdown."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    rows = [found[key] for key in (json.dumps(asdict(row)) for row in plan(options)) if key in found]
    seconds = {json.dumps(each["row"]): each.get("seconds") for each in rows}
    lines = [
        "# What training and predicting cost on a GPU",
        "",
        f"`python benchmarks/gpu_table.py`, commit {commit()}, torch {torch.__version__}, {device}. Medians of steps "
        "that are waited for, after a warm-up, a process a row; ratios are to the row of the same backbone."
        + (" `--quick`: sizes of no meaning, to show that the script runs." if options.quick else ""),
        "",
        *table(
            ["", "annotators", "steps/s", "samples/s", "MiB", "busy", "times the majority vote", "times bare"],
            (_step_cells(each, seconds) for each in rows if each["row"]["kind"] == "step"),
        ),
        "",
        *table(
            ["Predicting in tiles", "voxels/s"], (_cells(e, "voxels") for e in rows if e["row"]["kind"] == "predict")
        ),
        "",
        *table(
            ["Loading", "s a step", "s with a batch that is there", "idle"],
            (_cells(each, "idle") for each in rows if each["row"]["kind"] == "loading"),
        ),
        "",
    ]
    if options.profile:
        row = next(row for row in plan(options) if row.kind == "step")
        lines += [
            "## One step of UMA-Net, profiled",
            "",
            f"{_name(asdict(row))}.",
            "",
            "```text",
            profile_of(row),
            "```",
            "",
        ]
    return "\n".join(lines)


def _name(row: dict[str, Any]) -> str:
    return f"{row['dims'].upper()}, {row['preset']}, {row['variant']}, {row['method']}"


def _step_cells(each: dict[str, Any], seconds: dict[str, float | None]) -> list[str]:
    row = each["row"]
    first = [_name(row), str(row["annotators"]) if row["method"] == "uma-net" else ""]
    if "error" in each:
        return [*first, each["error"], *[""] * 5]

    def ratio(method: str) -> str:
        other = seconds.get(json.dumps(row | {"method": method, "annotators": 6}))
        return f"{each['seconds'] / other:.2f}" if other else ""

    busy = "not known" if each["busy"] is None else f"{each['busy']:.0%}"
    rate = 1 / each["seconds"]
    figures = [f"{rate:.2f}", f"{rate * each['samples']:.1f}", f"{each['mebibytes']:.0f}", busy]
    return [*first, *figures, ratio("majority"), ratio("bare")]


def _cells(each: dict[str, Any], which: str) -> list[str]:
    """Of predicting (voxels) or loading (idle)."""
    name = _name(each["row"])
    if "error" in each:
        return [name, each["error"], *([""] * 2 if which == "idle" else [])]
    if which == "voxels":
        return [name, f"{each['voxels'] / each['seconds']:.3g}"]
    return [name, f"{each['seconds']:.3f}", f"{each['fixed']:.3f}", f"{each['idle']:.0%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="file of measured rows (JSON lines), made or gone on with")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument(
        "--budget", type=float, default=600, help="seconds after which no row is started or kept waiting"
    )
    parser.add_argument("--variants", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that all runs")
    parser.add_argument("--profile", action="store_true", help="also profile a step of UMA-Net, for the page")
    parser.add_argument("--output", type=Path, help="also write a page")
    parser.add_argument("--json", action="store_true", help="print all rows as the last line")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        row = Row(**json.loads(options.row))
        if row.device == "cpu":
            torch.set_num_threads(1)
        print(json.dumps(measured(row)))
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "no CUDA device found, one expected by --device cuda. Give --device cpu --quick to try the script."
        )
    found = measure(options)
    if options.output:
        options.output.write_text(page(found, options), encoding="utf-8")
    if options.json:
        print(json.dumps(list(found.values())))


if __name__ == "__main__":
    main()
