"""The table of a GPU, on a CPU: all kinds of rows are measured, kept, gone on with, and shown."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_rows_are_measured_once_and_make_a_page(tmp_path):
    file, output = tmp_path / "rows.jsonl", tmp_path / "page.md"
    command = [sys.executable, str(BENCHMARKS / "gpu_table.py"), str(file), "--quick", "--device", "cpu"]
    options = ["--variants", "fp32", "--profile", "--output", str(output), "--budget"]
    subprocess.run([*command, *options, "600"], check=True, capture_output=True, cwd=BENCHMARKS)
    first = file.read_text()
    rows = [json.loads(line) for line in first.splitlines()]
    assert {row["row"]["kind"] for row in rows} == {"step", "predict"}
    assert not [row for row in rows if "error" in row]
    subprocess.run([*command, *options, "0"], check=True, capture_output=True, cwd=BENCHMARKS)
    assert file.read_text() == first
    page = output.read_text()
    assert "| 2D, cpu-small, fp32, uma-net | 6 |" in page
    assert "Host waits:" in page
