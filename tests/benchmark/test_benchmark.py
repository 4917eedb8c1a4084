"""A suite: planned, done row by row, resumed, and written as a page that says what is missing."""

import csv
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_data.arrays import make_task
from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.benchmark import Suite, digest, read_suite, run, state
from umanet.benchmark.family_chart import draw_family, families
from umanet.benchmark.page import page
from umanet.benchmark.plan import fold_of, plan_rows, search_rows
from umanet.benchmark.process import Processes
from umanet.benchmark.ranks_chart import labels
from umanet.benchmark.row import RESULT, Row, do_and_write
from umanet.benchmark.scores import Scores, ranks
from umanet.benchmark.state import STATE
from umanet.config import build_config, merge
from umanet.data.index import read_index, write_index
from umanet.errors import ConfigError, Interrupted
from umanet.methods import METHODS, build_method
from umanet.simulation.simulate import simulate

SUITES = Path(__file__).parents[2] / "benchmarks/suites"

SUITE = """
name = "Small"
seeds = [0, 1]
methods = ["truth", "majority", "mean", "uma-net", "pionono"]
learning_rates = [1e-3, 1e-2]
minutes = 5

[config]
preset = "cpu-small"
backbone = {{channels = [4, 8], features = 4}}
trainer = {{max_steps = {steps}, batch_size = 2, validate_every = 2}}

[[variants]]
name = "uma-net, no QAM"
config = {{uma_net = {{grade = "none"}}}}

[[data]]
name = "discs"
dataset = "dataset.json"
metrics = ["dice", "ece_truth"]
"""


@pytest.fixture
def suite(tmp_path) -> Path:
    index = write_discs(tmp_path, (16, 18))
    parts = ("train", "train", "train", "validation", "test", "test")
    cases = tuple(replace(case, split=part) for case, part in zip(index.cases, parts, strict=True))
    anonymous = {"cases": cases, "annotators_are_identified": False}
    write_index(index.model_copy(update=anonymous), tmp_path / "dataset.json")
    (tmp_path / "suite.toml").write_text(SUITE.format(steps=2))
    return tmp_path / "suite.toml"


def benchmark(suite: Path, *words: object) -> int:
    return main(["benchmark", str(suite), "-o", str(suite.parent / "out"), *map(str, words)])


def rows_of(suite: Path) -> list[dict[str, str]]:
    with (suite.parent / "out/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_suite_is_done_resumed_and_grows(suite, monkeypatch, capsys):
    text = (
        suite.read_text()
        .replace("seeds = [0, 1]", "seeds = [0]")
        .replace('"truth", "majority", "mean", ', '"majority", ')
    )
    suite.write_text(text.replace("[1e-3, 1e-2]", "[1e-2]"))
    assert benchmark(suite, "--workers", 2) == 0
    said = capsys.readouterr().err
    assert "3 rows of 4 done, 1 not applicable: " in said
    assert "pionono is not applicable to discs: Anonymous annotators found" in said
    rows = {row["method"]: row for row in rows_of(suite)}
    assert [rows[name]["status"] for name in ("majority", "uma-net, no QAM", "pionono")] == [
        "done", "done", "not applicable",
    ]  # fmt: skip
    assert float(rows["majority"]["dice"]) >= 0 and rows["majority"]["learning_rate"] == "0.01"
    assert float(rows["uma-net"]["grading_annotations"]) == 8
    assert float(rows["majority"]["train_seconds"]) > 0 and float(rows["majority"]["memory_mib"]) > 100
    shown = (suite.parent / "out/results.md").read_text()
    assert "| pionono | not applicable | discs given seed 0 | Anonymous annotators found" in shown
    assert "minus majority" in shown and "## Mean ranks" in shown
    assert re.search(r"^Made on .+ \(.+\), 2 rows at a time\.$", shown, re.MULTILINE)
    monkeypatch.setattr(run.Processes, "do", lambda *_, **__: pytest.fail("a row was done twice"))
    assert benchmark(suite) == 0
    written = (suite.parent / "out" / STATE).read_text()
    assert benchmark(suite, "--page-only") == 0 and (suite.parent / "out" / STATE).read_text() == written
    monkeypatch.syspath_prepend(str(SUITES.parent))
    monkeypatch.setattr(
        sys, "argv", ["whole_image.py", str(suite), str(suite.parent / "out"), str(suite.parent / "again")]
    )
    importlib.import_module("whole_image").main()
    assert "over the whole image here" in (suite.parent / "again/results.md").read_text()
    with (suite.parent / "again/results.csv").open(newline="") as file:
        again = {row["method"]: row for row in csv.DictReader(file)}
    assert again.keys() == rows.keys()
    assert float(again["majority"]["dice"]) == pytest.approx(float(rows["majority"]["dice"]), abs=1e-4)
    assert float(again["majority"]["ece_truth"]) != pytest.approx(float(rows["majority"]["ece_truth"]), abs=1e-3)


def test_rows_are_packed_without_where_their_data_lay_and_go_on_elsewhere(suite, monkeypatch):
    monkeypatch.syspath_prepend(str(SUITES.parent))
    rows = importlib.import_module("rows")

    def do(_, folder, seconds):
        (folder / RESULT).write_text(json.dumps(done(0.5)))
        return 0

    monkeypatch.setattr(run.Processes, "do", do)
    assert benchmark(suite) == 0
    number = len(run.done_rows(read_suite(suite), suite.parent / "out"))
    archive = suite.parent / "rows.tar.xz"
    rows.pack(suite.parent / "out", archive)
    (suite.parent / "out").rename(suite.parent / "before")
    assert rows.unpack(archive, suite.parent / "out") >= number
    assert not any(str(suite.parent) in path.read_text() for path in suite.parent.glob("out/rows/**/row.json"))
    assert len(run.done_rows(read_suite(suite), suite.parent / "out")) == number
    monkeypatch.setattr(run.Processes, "do", lambda *_: pytest.fail("a row was done twice"))
    assert benchmark(suite) == 0
    with pytest.raises(SystemExit, match="holds something"):
        rows.unpack(archive, suite.parent / "out")


def test_what_crashes_or_takes_too_long_loses_one_row_and_may_be_done_again(suite, monkeypatch):
    calls = []

    def do(_, folder, seconds):
        row = json.loads((folder / "row.json").read_text())
        calls.append((row["contestant"], row["seed"], row["learning_rate"]))
        if calls[-1][:2] == ("mean", 1):
            return None
        if calls[-1] == ("truth", 0, 1e-2) or calls[-1][0] == "majority":
            return -9
        (folder / RESULT).write_text(json.dumps(done(0.5)))
        return 0

    monkeypatch.setattr(run.Processes, "do", do)
    assert benchmark(suite) == 0
    status = {(row["method"], row["seed"]): (row["status"], row["why"]) for row in rows_of(suite)}
    became, why = status["mean", "1"]
    assert became == "out of time" and "Stopped after 5 minutes. Raise `minutes`" in why
    log = suite.parent / "out/rows/discs/given/truth/seed0_fold0_lr0.01" / RESULT
    assert "perhaps for want of memory" in json.loads(log.read_text())["why"]
    assert {status["truth", seed][0] for seed in "01"} == {"done"} == {status["mean", "0"][0]}
    assert {status["majority", seed] for seed in "01"} == {("failed", status["majority", "0"][1])}
    assert "No learning rate that was tried has a result" in status["majority", "0"][1]
    assert {call for call in calls if call[0] == "majority"} == {("majority", 0, 1e-3), ("majority", 0, 1e-2)}
    shown = (suite.parent / "out/results.md").read_text()
    assert "| 0.001 (lowest tried); without a result: 0.01 |" in shown and "| majority | failed |" in shown
    lost = {call for call in calls if call[0] == "majority" or call in (("mean", 1, 1e-2), ("truth", 0, 1e-2))}
    calls.clear()
    assert benchmark(suite, "--retry") == 0
    assert set(calls) == lost


def test_a_row_that_is_killed_is_the_only_one_lost_and_is_done_again(suite, monkeypatch):
    text = re.sub(r"methods = .*", 'methods = ["majority", "mean"]', suite.read_text()).replace("[0, 1]", "[0]")
    text = text.replace("learning_rates", "#").replace("max_steps = 2", "max_steps = 60")
    suite.write_text(re.sub(r"(?s)\[\[variants.*?(?=\[\[data)", "", text))
    made: list[Processes] = []
    monkeypatch.setattr(run, "Processes", lambda: made.append(Processes()) or made[-1])

    def kill():
        while not list(suite.parent.glob("out/rows/discs/given/majority/*/run")):
            time.sleep(0.05)
        for processes in made:
            for process in tuple(processes._live):
                os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert benchmark(suite) == 0
    killer.join()
    assert {row["method"]: row["status"] for row in rows_of(suite)} == {"majority": "failed", "mean": "done"}
    assert "Exit code -9: killed" in rows_of(suite)[0]["why"]
    assert benchmark(suite, "--retry") == 0
    assert {row["status"] for row in rows_of(suite)} == {"done"}


def test_a_row_that_takes_too_long_is_stopped(tmp_path):
    Row("d", "hard", "m", "majority", 0, 0, str(tmp_path / "none.json"), {}, "truth").write(tmp_path)
    assert Processes().do(tmp_path, 0.0) is None and not (tmp_path / RESULT).exists()
    assert Processes().do(tmp_path, 60.0) == 0
    assert "none.json" in json.loads((tmp_path / RESULT).read_text())["why"]


def test_ctrl_c_stops_the_rows_leaves_no_result_and_the_suite_goes_on(suite, capsys):
    text = re.sub(r"methods = .*", 'methods = ["majority"]', suite.read_text()).replace("[0, 1]", "[0]")
    text = text.replace("learning_rates", "#").replace("max_steps = 2", "max_steps = 200")
    suite.write_text(re.sub(r"(?s)\[\[variants.*?(?=\[\[data)", "", text))
    command = [sys.executable, "-m", "umanet", "benchmark", str(suite), "-o", str(suite.parent / "out")]
    row = suite.parent / "out/rows/discs/given/majority/seed0_fold0"
    # A shell starts what runs in its background deaf to Ctrl-C; so would these tests be then.
    options = {"start_new_session": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        while not (row / "run").exists() and process.poll() is None:
            time.sleep(0.05)
        assert benchmark(suite) == 2  # never two at a time
        assert f"Another benchmark, still running, found in {suite.parent / 'out'}" in capsys.readouterr().err
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "The same command goes on" in said and "Interrupted" in said
    assert not (row / RESULT).exists()
    assert benchmark(suite) == 0
    resumed = rows_of(suite)
    assert [(row["status"], row["train_seconds"], row["predict_seconds"]) for row in resumed] == [("done", "", "")]
    assert re.search(r"\| majority \| .* \|  \| \d+ \|", (suite.parent / "out/results.md").read_text())


def done(dice: float, validation: float = 0.5) -> dict[str, object]:
    cases = [
        {"case": f"c{n}", "patient": f"p{n}", "class": "disc", "dice": dice + n / 100, "ece_truth": 0.1}
        for n in range(8)
    ]
    return {"status": "done", "seconds": {"train": 1.0, "predict": 1.0}, "memory_mib": 100.0,
            "validation": validation, "summary": {}, "cases": cases}  # fmt: skip


def test_the_learning_rate_is_that_with_the_best_validation(suite):
    read = read_suite(suite)
    tried = [
        (row, done(0.9, 0.4 if (row.learning_rate == 1e-3) == (row.contestant == "mean") else 0.6))
        for row in search_rows(read, suite.parent)
    ]
    rates = run._best_rates(tried)
    assert rates["discs", "mean"] == 1e-2 and rates["discs", "majority"] == 1e-3
    rows = plan_rows(read, suite.parent, rates)
    assert {row.learning_rate for row in rows if row.contestant == "mean"} == {1e-2}
    first = {row.key for row in search_rows(read, suite.parent)}
    assert {row.key for row in rows if row.seed == 0} <= first  # not trained again


def test_differences_are_to_the_best_fusion_and_ranks_without_the_truth(suite):
    read = read_suite(suite)
    score = {"truth": 0.9, "majority": 0.6, "mean": 0.7, "uma-net": 0.8, "uma-net, no QAM": 0.7}
    absent = {"status": "not applicable", "why": "Anonymous."}
    results = [
        (row, done(score[row.contestant]) if row.contestant in score else absent)
        for row in plan_rows(read, suite.parent)
    ]
    shown = page(read, results, "umanet benchmark")
    assert "minus mean | gap | ece_truth" in shown and "10 rows of 12 done, 2 not applicable." in shown
    assert (
        next(line for line in shown.splitlines() if line.startswith("| uma-net |")).split("|")[3].startswith(" 10.00")
    )
    assert "Without a result" in shown and "not done yet" not in shown
    part = page(read, [(row, one) for row, one in results if row.seed == 0], "umanet benchmark")
    assert "5 rows of 12 done, 1 not applicable, 6 not done yet." in part
    assert "| uma-net | not done yet | discs: 1 row |  |" in part
    found = ranks(read, results)
    assert found["uma-net"] == [(1, 4), (1, 4)] and found["mean"] == found["uma-net, no QAM"] == [(2.5, 4)] * 2
    assert found["majority"] == [(4, 4)] * 2 and "truth" not in found
    assert "| uma-net | 1.00 | 100 % | 2 |" in shown and "| mean | 2.50 | 50 % | 2 |" in shown


def test_a_place_counts_in_ranks_once_all_have_been_tried_there(suite):
    read = read_suite(suite)
    rows = [row for row in plan_rows(read, suite.parent) if row.seed == 0]
    results = [(row, done(0.5)) for row in rows]
    variant, pionono = rows[-1].contestant, rows[-2].contestant
    assert set(ranks(read, results[:-1])) == {"majority", "mean", "uma-net", pionono}  # without the variant
    assert ranks(read, [one for one in results if one[0].contestant != pionono]) == {}
    for status, last in (("failed", [(5, 5)]), ("out of time", [(5, 5)]), ("not applicable", None)):
        found = ranks(read, [*results[:-1], (rows[-1], {"status": status, "why": "?"})])
        assert found.get(variant) == last and found["majority"] == [(2.5, 5 if last else 4)]


def rows_with(read, output, score: dict[str, float], *, without: tuple[str, int] | None = None):
    rows = [row for row in plan_rows(read, output) if row.contestant in score]
    return [(row, done(score[row.contestant])) for row in rows if (row.contestant, row.seed) != without]


def cells(shown: str, name: str) -> list[str]:
    return next(line for line in shown.splitlines() if line.startswith(f"| {name}")).split(" | ")


def test_the_page_explains_what_is_in_it_and_nothing_else(suite):
    read = read_suite(suite)
    shown = page(read, [], "command")
    assert "Gap: " in shown and "Calibration (ECE, Brier score)" in shown and "So few seeds" in shown
    assert "An ensemble" not in shown and "Co-teaching" not in shown and "A consensus first" not in shown
    update = {"methods": ("ensemble", "co-teaching"), "seeds": (0,), "learning_rates": (0.01,)}
    other = read.model_copy(update=update)
    alone = other.model_copy(update={"data": (read.data[0].model_copy(update={"metrics": ("dice",)}),)})
    shown = page(alone, [], "command")
    assert "Gap: " not in shown and "Calibration" not in shown and "So few seeds" not in shown
    assert "Learning rate of every method: 0.01." in shown
    assert "An ensemble trains several" in shown and "Co-teaching trains two" in shown
    assert max(map(len, shown.splitlines()[8:])) <= 120


def test_a_suite_may_name_whom_others_are_compared_with(suite):
    suite.write_text('baseline = "uma-net"\n' + suite.read_text())
    shown = page(read := read_suite(suite), rows_with(read, suite, {"majority": 0.6, "uma-net, no QAM": 0.7}), "")
    assert "minus" not in shown.split("## discs")[1]  # not there yet
    found = rows_with(read, suite, {"majority": 0.6, "uma-net": 0.8, "uma-net, no QAM": 0.7})
    shown = page(read, found, "umanet benchmark")
    assert "minus uma-net" in shown and cells(shown, "uma-net, no QAM")[2].startswith("-10.00")


def test_the_gap_between_variants_is_shown_where_both_ends_have_one_that_was_measured(suite):
    other = 'name = "{0}, tail"\nmethod = "{0}"\nconfig = {{fusion = {{loss = "heavy-tailed"}}}}\n'
    both = "[[variants]]\n".join(other.format(name) for name in ("truth", "majority"))
    suite.write_text(
        suite.read_text().replace('name = "uma-net, no QAM"\nconfig = {uma_net = {grade = "none"}}\n', both)
    )
    score = {"truth": 0.9, "majority": 0.5, "uma-net": 0.8, "majority, tail": 0.7}
    read = read_suite(suite)
    assert "best variants |" not in page(read, rows_with(read, suite, score), "")
    shown = page(read, rows_with(read, suite, {**score, "truth, tail": 0.9}), "")
    assert cells(shown, "uma-net")[3:5] == ["75 % [75, 75]", "50 % [50, 50]"]


def test_a_contestant_that_lacks_rows_is_marked_and_is_no_baseline(suite):
    read = read_suite(suite)
    score = {"majority": 0.6, "mean": 0.7, "uma-net": 0.8}
    shown = page(read, rows_with(read, suite, score, without=("mean", 1)), "")
    assert "minus majority" in shown and "| mean (1 of 2 rows) | 0.735" in shown


def test_what_a_row_said_fits_into_a_table(suite):
    read = read_suite(suite)
    failed = {"status": "failed", "why": "CUDA error: a|b\nCompile with TORCH_USE_CUDA_DSA."}
    shown = page(read, [(row, failed) for row in plan_rows(read, suite)[:1]], "")
    assert "| truth | failed | discs given seed 0 | CUDA error: a\\|b |" in shown


def test_of_whom_not_all_rates_were_tried_nothing_is_shown(suite, monkeypatch):
    def do(_, folder, seconds):
        (folder / RESULT).write_text(json.dumps(done(0.5)))
        return 0

    monkeypatch.setattr(run.Processes, "do", do)
    assert benchmark(suite) == 0
    (suite.parent / "out/rows/discs/given/mean/seed0_fold0_lr0.001/result.json").unlink()
    lost = suite.parent / "out/rows/discs/given/mean/seed0_fold0_lr0.01/result.json"
    for result in (lost.read_text(), json.dumps({"status": "failed", "why": "killed"})):
        lost.write_text(result)
        shown = {row.contestant for row, _ in run.done_rows(read_suite(suite), suite.parent / "out")}
        assert shown == {"truth", "majority", "uma-net", "uma-net, no QAM", "pionono"}


def test_a_row_that_lacks_memory_says_so(tmp_path, monkeypatch):
    def full(folder):
        raise MemoryError

    monkeypatch.setattr("umanet.benchmark.row.do_row", full)
    do_and_write(tmp_path)
    found = json.loads((tmp_path / RESULT).read_text())
    assert (found["status"], found["why"]) == ("failed", "Out of memory.")


def begin(suite: Suite, output: Path) -> None:
    """As ``run_suite`` does, without rows."""
    output.mkdir(exist_ok=True)
    (output / STATE).write_text(json.dumps(state.require_same(suite, output)))


def put_data(output: Path) -> None:
    """As ``prepare_data`` does."""
    (output / "data/discs/given").mkdir(parents=True)
    (output / "data/discs/given/dataset.json").touch()


def test_what_is_no_benchmark_is_not_taken_for_one(suite):
    read, output = read_suite(suite), suite.parent / "out"
    assert benchmark(suite, "--page-only") == 2 and not output.exists()
    (output / "rows/discs").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"Rows without their suite.json found in .*: nothing says which code"):
        state.require_same(read, output)


PATIENTS = {(seed, 0, f"c{n}"): f"p{n // 2}" for seed in range(3) for n in range(8)}


def scores(level: float, by_case: float = 0.0, by_seed: float = 0.0) -> Scores:
    values = {key: level + by_case * int(key[2][1:]) + by_seed * key[0] for key in PATIENTS}
    return Scores(values, PATIENTS)


def test_intervals_are_over_seeds_as_well_as_patients():
    assert scores(0.5).interval() == pytest.approx((0.5, 0.5, 0.5))
    mean, low, high = scores(0.5, by_seed=0.1).interval()
    assert mean == pytest.approx(0.6)
    # Of three seeds: Student's t with two degrees of freedom, 4.30, times their standard error.
    assert (high - mean, mean - low) == pytest.approx((4.30 * 0.1 / 3**0.5,) * 2, rel=0.1)
    mean, low, high = scores(0.5, by_case=0.1).interval()
    assert low < mean < high and low >= 0.55 and high <= 1.15  # the mean of the first and of the last patient
    difference = scores(0.5, by_case=0.1, by_seed=0.1).minus(scores(0.4, by_case=0.1))
    assert difference.mean == pytest.approx(0.2) and difference.low < -0.04 and difference.high > 0.44
    assert scores(0.5).minus(Scores({}, {})) is None


def test_the_share_of_the_gap_is_a_ratio_of_means_and_said_only_where_the_truth_is_better():
    low, true = scores(0.5), scores(0.9)
    assert scores(0.8).share_of_gap(low, true, "higher") == pytest.approx((0.75, 0.75, 0.75))
    assert scores(0.6).share_of_gap(true, low, "lower") == pytest.approx((0.75, 0.75, 0.75))
    mean, least, most = scores(0.5, by_case=0.1).share_of_gap(low, true, "higher")
    assert mean == pytest.approx(0.35 / 0.4) and least < mean < most
    assert scores(0.8).share_of_gap(scores(0.7, by_case=-0.1), scores(0.3, by_case=0.02), "higher") is None
    assert scores(0.3).share_of_gap(true, low, "higher") is None
    # Where the gap may be close to 0, the share may be large.
    _, least, most = scores(0.5).share_of_gap(scores(0.0), scores(0.3, by_seed=0.1), "higher")
    assert least < 0.85 and most > 3
    assert scores(0.5).share_of_gap(scores(0.0), scores(0.1, by_seed=0.1), "higher") is None


def test_scenarios_with_numbers_are_drawn_as_lines(tmp_path):
    score = {"majority": 0.5, "uma-net": 0.7}
    by_scenario = {
        f"{family}-{n}": {name: (one + n / 100, one, one + 0.2) for name, one in score.items()}
        for family, numbers in (("annotators", (1, 2, 12)), ("bad", (0, 10)))
        for n in numbers
    }
    found = families({**by_scenario, "hard": {"majority": (0.1, 0.0, 0.2)}})
    assert list(found) == ["annotators"]  # two numbers are no line
    assert list(found["annotators"]["uma-net"]) == [1, 2, 12] and found["annotators"]["uma-net"][12][0] == 0.82
    draw_family("annotators", found["annotators"], "dice", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (900, 600)


def test_the_plot_of_ranks_marks_who_has_fewer():
    assert labels({"uma-net": [1.0, 2.0], "pionono": [2.0]}) == {"uma-net": "uma-net", "pionono": "pionono (1 of 2)"}


def test_results_of_other_code_or_another_budget_are_never_mixed(suite, monkeypatch):
    read, output = read_suite(suite), suite.parent / "out"
    begin(read, output)
    put_data(output)
    state.require_same(read.model_copy(update={"seeds": (0, 1, 2)}), output)
    other = suite.read_text().replace("max_steps = 2", "max_steps = 3")
    suite.write_text(other)
    with pytest.raises(ConfigError, match=r"another config \(trainer.max_steps: 2 there, 3 here\) found in"):
        state.require_same(read_suite(suite), output)
    suite.write_text(other.replace("max_steps = 3", "max_steps = 2") + "config = {trainer = {batch_size = 4}}\n")
    with pytest.raises(ConfigError, match=r"another data discs \(config.trainer: null there, .* here\) found"):
        state.require_same(read_suite(suite), output)
    config = {"ensemble": {"of": "uma-net"}}
    Row("discs", "given", "a", "ensemble", 0, 0, "", config, "truth").write(output / "rows/discs/given/a/seed0_fold0")
    written = (output / STATE).read_text()
    for part, name in (("version of", "torch"), ("code of", "uma-net")):
        lacking = json.loads(written)
        del lacking[part][name]
        (output / STATE).write_text(json.dumps(lacking))
        with pytest.raises(ConfigError, match=f"Results with an unknown {part} {name} found in"):
            state.require_same(read, output)
    (output / STATE).write_text(written)
    of_method = state.method_digest
    with monkeypatch.context() as context:
        context.setattr(state, "method_digest", lambda name: "new" if name == "uma-net" else of_method(name))
        with pytest.raises(ConfigError, match=r"another code of uma-net \(\w{12} there, \"new\" here\) found in"):
            state.require_same(read, output)
        state.require_same(read.model_copy(update={"methods": ("truth", "co-teaching"), "variants": ()}), output)
        shutil.rmtree(output / "rows/discs/given/a")  # nothing is left of it, so it may be done again
        state.require_same(read, output)
    state.require_same(read, output)
    with monkeypatch.context() as context:
        context.setattr(state, "version", lambda name: "1.0" if name == "torch" else "2.0")
        with pytest.raises(ConfigError, match="Results with another version of "):
            state.require_same(read, output)
    monkeypatch.setattr(state, "code_digest", lambda: "other")
    with pytest.raises(ConfigError, match=r"Results with another code \(\w{12} there, \"other\" here\) found in"):
        state.require_same(read, output)


def test_other_code_is_one_line_and_writes_nothing(suite, monkeypatch, capsys):
    begin(read_suite(suite), suite.parent / "out")
    put_data(suite.parent / "out")
    before = sorted(suite.parent.rglob("*"))
    monkeypatch.setattr(state, "code_digest", lambda: "other")
    for words in ((), ("--page-only",)):
        assert benchmark(suite, *words) == 2
        assert re.match(r"umanet: Results with another code .* found in .*\.\n$", capsys.readouterr().err)
    assert [path for path in sorted(suite.parent.rglob("*")) if path.name != state.LOCK] == before


def test_a_row_that_was_another_one_is_not_taken_for_it(suite, monkeypatch):
    def do(_, folder, seconds):
        (folder / RESULT).write_text(json.dumps(done(0.5)))
        return 0

    monkeypatch.setattr(run.Processes, "do", do)
    assert benchmark(suite) == 0
    suite.write_text(suite.read_text().replace('grade = "none"', 'grade = "image"'))
    with pytest.raises(ConfigError, match=r"A row with another config found in .*uma-net, no QAM"):
        run.done_rows(read_suite(suite), suite.parent / "out")


def test_folds_test_every_patient_once_and_never_part_one(tmp_path):
    index = write_discs(tmp_path, (8, 8), train=10)
    index = index.model_copy(
        update={"cases": tuple(replace(case, patient=f"p{n // 2}") for n, case in enumerate(index.cases))}
    )
    tested = [{case.patient for case in fold_of(index, 3, fold, seed=1).select("test")} for fold in range(3)]
    assert sorted(p for fold in tested for p in fold) == sorted({case.patient for case in index.cases})
    for fold in range(3):
        parts = {}
        for case in fold_of(index, 3, fold, seed=1).cases:
            parts.setdefault(case.patient, set()).add(case.split)
        assert all(len(found) == 1 for found in parts.values()) and len(set.union(*parts.values())) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"mean"', '"meen"', r"'meen' found, one of uma-net, .*Did you mean 'mean'"),
        ("minutes", "minuets", r"minuets in .*: unknown key, one of name, .* expected. Did you mean 'minutes'\?"),
        ('grade = "none"', 'grad = "none"', r"uma_net.grad.*'uma-net, no QAM'"),
        ('"dice", "ece_truth"', '"dise"', r"metric 'dise' found.*'dice'"),
        ('"ece_truth"', '"ece"', r"metric 'ece' found, which is against annotations,.*Set against = \"annotations\""),
        ('"dice", "ece_truth"', "", r"metrics of data 'discs' in .*: nothing found, at least one expected\. Mend"),
        ('"dice", "ece_truth"', '"dice", "dice"', r"data 'discs' in .*: metric 'dice' found twice"),
        ('metrics = ["dice", "ece_truth"]', 'against = "annotations"\nmetrics = ["ged"]', "'ged' found as the first"),
        ('metrics = ["dice", "ece_truth"]', "folds = 7", r"6 patients of 'discs' found, at least 7 expected"),
        ('"dice", "ece_truth"', '"qubiq_score"', r"metric against truth 'qubiq_score' found"),
        (
            'config = {uma_net = {grade = "none"}}', 'method = "ensemble"\nconfig = {ensemble = {of = "padll"}}',
            r"ensemble.of.*'padl'",
        ),
        ('config = {uma_net = {grade = "none"}}', 'consensus_of = "staple"', "'staple' found, one of uma-net expected"),
        ('metrics = ["dice"', 'against = "thruth"\nmetrics = ["dice"', r"of truth, annotations expected.*'truth'"),
        ('config = {uma_net = {grade = "none"}}', "config = {data = {patch = 64}}", r"data.patch.*'uma-net, no QAM'"),
        ('config = {uma_net = {grade = "none"}}', "config = {data = 3}", r"data.*'uma-net, no QAM'"),
        ('config = {uma_net = {grade = "none"}}', "config = {seed = 3}", r"'seed' found, which seeds of the suite say"),
        (
            'config = {uma_net = {grade = "none"}}', 'method = "ensemble"\nconfig = {ensemble = {of = "ensemble"}}',
            "An ensemble of ensembles found",
        ),
        ('dataset = "dataset.json"', 'images = "images"', "needs either dataset, or images, truth and scenarios"),
        (
            'dataset = "dataset.json"', 'images = "i"\ntruth = "t"\nscenarios = ["hart"]',
            r"scenario 'hart' found.*'hard'",
        ),
        ('"truth", "majority"', '"majority", "majority"', "'majority' found twice"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "seed 1 found twice"),
        ("seeds = [0, 1]", "seeds = [-1]", r"seeds in .*: -1 found: input should be greater than or equal to 0"),
        ("[1e-3, 1e-2]", "[1e-3, 0.0010000001]", "learning rate '0.001' found twice"),
        ("[1e-3, 1e-2]", "[0.0]", r"learning_rates in .*: 0.0 found: input should be greater than 0"),
        ('"uma-net, no QAM"', '"../../up"', r"name of variant '../../up' in .*: '../../up' found: string should match"),
        ('name = "discs"', 'name = "d/../up"', r"name of data 'd/../up' in .*: 'd/../up' found: string should match"),
        ('name = "uma-net, no QAM"', "", r"name of variant 0 in .*: not found, expected"),
        ("minutes = 5", 'baseline = "best"', r"baseline 'best' found, one of truth, .* expected"),
        (
            'dataset = "dataset.json"', 'images = "i"\ntruth = "t"\nscenarios = ["hard", "hard"]',
            "scenario 'hard' found twice",
        ),
        ('"dataset.json"', '"nowhere.json"', r"Nothing found at .*nowhere.json, the data of 'discs' expected"),
        ('"discs"', '"discs"\ncases = {train = 3}', r"data 'discs': cases found, which is of images with simulated"),
        ('"discs"', '"discs"\nsplit_seed = 0', r"data 'discs': split_seed found, which is of images with simulated"),
        (
            'dataset = "dataset.json"', 'images = "i"\ntruth = "t"\nscenarios = ["hard"]\ncases = {valid = 3}',
            r"split 'valid' found, one of train, validation, test expected\.",
        ),
        ('metrics = ["dice", "ece_truth"]', 'against = "annotations"', r"metric 'dice', the default, found, which is"),
        ('dataset = "dataset.json"', 'scenarios = "hard"', r"scenarios of .*: 'hard' found: input should be a list"),
    ],
)  # fmt: skip
def test_a_bad_suite_is_one_line(suite, capsys, old, new, message):
    text = suite.read_text()
    assert old in text
    suite.write_text(text.replace(old, new))
    assert benchmark(suite) == 2
    assert not (suite.parent / "out").exists()
    error = capsys.readouterr().err
    assert (
        re.search(message, error) and error.count("\n") == 1 and error.count("Mend the file") <= 1 and "?." not in error
    )


def test_a_suite_whose_data_are_no_tables_is_one_line(tmp_path, capsys):
    (tmp_path / "suite.toml").write_text('name = "Small"\nmethods = ["mean"]\ndata = ["discs"]\n')
    assert benchmark(tmp_path / "suite.toml") == 2
    assert re.fullmatch(r"umanet: data 0 in .*: 'discs' found: input should be .*\n", capsys.readouterr().err)


def test_an_output_that_is_no_folder_is_one_line(suite, capsys):
    (suite.parent / "out").write_text("mine")
    assert benchmark(suite) == 2
    assert re.fullmatch(r"umanet: A file found at .*out, a folder expected\. .*\n", capsys.readouterr().err)
    assert (suite.parent / "out").read_text() == "mine"


def test_what_lies_in_another_folder_stays_as_it_is(suite, capsys):
    (suite.parent / "out").mkdir()
    (suite.parent / "out/results.csv").write_text("mine")
    for words in ((), ("--page-only",)):
        assert benchmark(suite, *words) == 2
        assert re.fullmatch(r"umanet: (Files, but no|No) suite.json.* found in .*out.*\n", capsys.readouterr().err)
    assert [path.name for path in (suite.parent / "out").iterdir()] == ["results.csv"]
    assert (suite.parent / "out/results.csv").read_text() == "mine"


@pytest.mark.parametrize("name", [STATE, "rows/discs/given/mean/seed0_fold0_lr0.01/row.json", RESULT])
def test_a_file_that_is_damaged_is_named(suite, capsys, monkeypatch, name):
    def do(_, folder, seconds):
        (folder / RESULT).write_text(json.dumps(done(0.5)))
        return 0

    monkeypatch.setattr(run.Processes, "do", do)
    assert benchmark(suite) == 0
    capsys.readouterr()
    damaged = next((suite.parent / "out").rglob(Path(name).name)) if name == RESULT else suite.parent / "out" / name
    damaged.write_text("{")
    for words in ((), ("--page-only",)):
        assert benchmark(suite, *words) == 2
        *_, said = capsys.readouterr().err.splitlines()  # after how far it is, if that takes long
        assert said.startswith(f"umanet: {damaged} is damaged ")


def test_rates_are_not_searched_without_validation_cases(suite, capsys):
    index = read_index(suite.parent / "dataset.json")
    cases = tuple(replace(case, split="train") if case.split == "validation" else case for case in index.cases)
    write_index(index.model_copy(update={"cases": cases}), suite.parent / "dataset.json")
    assert benchmark(suite) == 2
    assert "No validation case of 'discs' found, some expected" in capsys.readouterr().err


def test_a_suite_whose_path_was_mended_begins_afresh(suite, monkeypatch):
    text = suite.read_text()
    suite.write_text(text.replace('"dataset.json"', '"nowhere.json"'))
    assert benchmark(suite) == 2
    suite.write_text(text)
    monkeypatch.setattr(run, "_do", lambda rows, *_, **__: [(row, done(0.5)) for row in rows])
    assert benchmark(suite) == 0


def test_data_sets_that_were_begun_are_never_taken_for_those_of_another_suite(suite):
    """Nothing was trained yet, but other settings would have made others."""
    read, output = read_suite(suite), suite.parent / "out"
    begin(read, output)
    put_data(output)
    suite.write_text(suite.read_text() + "folds = 3\n")
    with pytest.raises(ConfigError, match=r"Results with another data discs \(folds: 0 there, 3 here\) found in"):
        state.require_same(read_suite(suite), output)


def test_a_score_that_is_no_number_chooses_no_rate(suite):
    read = read_suite(suite)
    tried = [(row, done(0.5, float("nan") if row.learning_rate == 1e-3 else 0.1)) for row in search_rows(read, suite)]
    assert set(run._best_rates(tried).values()) == {1e-2}
    assert run._best_rates([(row, done(0.5, float("nan"))) for row, _ in tried]) == {}


def without_truth(suite: Path, split: str) -> None:
    index = read_index(suite.parent / "dataset.json")
    cases = tuple(replace(case, truth=None) if case.split == split else case for case in index.cases)
    write_index(index.model_copy(update={"cases": cases}), suite.parent / "dataset.json")


def test_truth_is_not_applicable_where_no_training_case_has_one(suite, capsys):
    without_truth(suite, "train")
    text = re.sub(r"(?s)\[\[variants.*?(?=\[\[data)", "", suite.read_text())
    text = re.sub("methods = .*", 'methods = ["truth"]', text)
    suite.write_text(text.replace("[0, 1]", "[0]").replace("[1e-3, 1e-2]", "[]"))
    assert benchmark(suite) == 2
    said = capsys.readouterr().err
    assert "truth/seed0_fold0: No training case has what" in said and "umanet: No row has a result. " in said
    assert [row["status"] for row in rows_of(suite)] == ["not applicable"]
    assert "No training case has what 'truth' learns from." in (suite.parent / "out/results.md").read_text()


def test_what_is_tested_against_has_to_be_there(suite, capsys):
    without_truth(suite, "test")
    assert benchmark(suite) == 2
    assert re.search(r"No truth of 2 of 2 cases \(.*\) found in 'discs', to be tested", capsys.readouterr().err)
    assert not (suite.parent / "out/rows").exists()


def test_a_row_that_is_interrupted_has_no_result(tmp_path, monkeypatch):
    def interrupted(folder):
        raise Interrupted("Interrupted at step 3.")

    monkeypatch.setattr("umanet.benchmark.row.do_row", interrupted)
    with pytest.raises(Interrupted):
        do_and_write(tmp_path)
    assert not (tmp_path / RESULT).exists()


def test_the_digests_cover_all_that_results_depend_on():
    """Errors are no results, and a suite is compared itself."""
    of_methods = {name: digest.method_files(name) for name in METHODS}
    methods = {file.relative_to(digest.ROOT).as_posix() for files in of_methods.values() for file in files}
    for name, files in {"": list(digest.code_files()), **of_methods}.items():
        covered = {*digest.CODE, *digest.OF_METHOD.get(name, ()), "errors.py", "benchmark/suite.py", "__init__.py"}
        for file in files:
            imported = re.findall(r"^ *from (umanet[\w.]*) import", file.read_text(), re.MULTILINE)
            places = {Path(str(importlib.import_module(one).__file__)) for one in imported}
            found = {place.relative_to(digest.ROOT).as_posix() for place in places}
            if file == digest.ROOT / "methods/__init__.py":
                found -= methods
            assert not [one for one in found if not one.startswith(tuple(covered))], file


def test_a_digest_is_of_code_not_of_words():
    code = '"""One."""\nA = "# no comment"  # one\n"""Of A."""\n\n\ndef f():\n    """Two\n    lines."""\n    return A\n'
    assert digest.without_words(code) == 'A = "# no comment"\ndef f():\n    return A'
    assert digest.without_words(code.replace("One", "Another").replace("# one", "# two")) == digest.without_words(code)
    assert digest.without_words(code.replace("no comment", "comment")) != digest.without_words(code)


def test_the_digest_of_an_ensemble_covers_its_members(suite):
    ensemble = 'method = "ensemble"\nconfig = {ensemble = {of = "padl"}}'
    suite.write_text(suite.read_text().replace('config = {uma_net = {grade = "none"}}', ensemble))
    assert read_suite(suite).members == {"padl"}
    assert "padl" in state.require_same(read_suite(suite), suite.parent / "out")["code of"]


def test_rates_at_the_end_of_what_was_tried_are_marked(suite):
    read = read_suite(suite)
    rates = {("discs", one.name): 1e-2 for one in read.contestants}
    shown = page(read, [(row, done(0.5)) for row in plan_rows(read, suite.parent, rates)], "umanet benchmark")
    assert "| 0.01 (highest tried) |" in shown and "over seeds (by Student's t)" in shown
    one = read.model_copy(update={"seeds": (0,)})
    assert "over patients, given this seed." in page(one, [], "umanet benchmark")
    folds = one.model_copy(update={"data": (one.data[0].model_copy(update={"folds": 3}),)})
    assert "scenario, seed and fold (other folds test these)." in page(folds, [], "umanet benchmark")


def test_a_row_can_be_read_back(tmp_path):
    row = Row("d", "hard", "m", "mean", 1, 2, "dataset.json", {"preset": "small"}, "truth", 1e-3)
    row.write(tmp_path)
    assert Row(**json.loads((tmp_path / "row.json").read_text())) == row and row.key == "d/hard/m/seed1_fold2_lr0.001"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_suites_of_the_project_can_be_read(path):
    assert read_suite(path).contestants


@pytest.mark.parametrize("path", sorted(SUITES.glob("*_gpu.toml")), ids=lambda path: path.stem)
def test_a_gpu_sized_suite_compares_the_same_on_the_same_data(path):
    large, small = read_suite(path), read_suite(path.with_name(path.name.replace("_gpu", "")))
    assert [one.name for one in large.contestants] == [one.name for one in small.contestants]
    assert large.checkers == small.checkers and large.baseline == small.baseline
    known = {"name", "dataset", "images", "truth", "scenarios", "against", "metrics", "split_seed"}
    assert [one.model_dump(include=known) for one in large.data] == [
        one.model_dump(include=known) for one in small.data
    ]
    assert large.config["trainer"]["max_steps"] > small.config.get("trainer", {"max_steps": 0})["max_steps"]


def test_every_variant_of_an_ablation_is_another_method():
    """What is set may be what ``auto`` chooses."""
    read = read_suite(SUITES / "ablation_chest_xray.toml")

    def meant(contestant):
        config = build_config(merge(read.config, {**contestant.config, "method": contestant.method}), 2)
        method = build_method(make_task(), config)
        options = config.uma_net.model_dump(exclude={"target", "loss"})
        return json.dumps([contestant.method, options, getattr(method, "hard", 0), getattr(method, "heavy_tailed", 0)])

    assert len({meant(one) for one in read.contestants}) == len(read.contestants)


def test_a_suite_extends_another_one_and_no_circle(suite):
    wider = suite.with_name("large.toml")
    wider.write_text('extends = "suite.toml"\nname = "Large"\nseeds = [5]\n[config]\ntrainer = {max_steps = 9}\n')
    read = read_suite(wider)
    assert (read.name, read.seeds, read.methods) == ("Large", (5,), read_suite(suite).methods)
    assert read.config["trainer"]["max_steps"] == 9 and read.config["trainer"]["batch_size"] == 2
    suite.write_text('extends = "large.toml"\n' + suite.read_text())
    with pytest.raises(ConfigError, match="extends it again"):
        read_suite(wider)


def test_the_consensus_of_a_run_is_a_target(suite):
    text = suite.read_text().replace("seeds = [0, 1]", "seeds = [0]").replace("learning_rates", "#")
    text = re.sub(r"methods = .*", 'methods = ["majority"]', text)
    own = 'name = "consensus"\nmethod = "majority"\nconsensus_of = "uma-net"'
    suite.write_text(re.sub(r'name = "uma-net, no QAM"\nconfig = .*', own, text))
    assert benchmark(suite) == 0
    rows = {row["method"]: row["status"] for row in rows_of(suite)}
    assert rows == {"majority": "done", "consensus": "done"}
    folder = suite.parent / "out/rows/discs/given/consensus/seed0_fold0"
    taught = json.loads((folder / "consensus/dataset.json").read_text())
    assert taught["annotators"] == ["consensus"] and {case["split"] for case in taught["cases"]} == {
        "train",
        "validation",
    }
    assert (suite.parent / "out/ranks.png").stat().st_size > 1000
    for whole in (RESULT, "consensus/dataset.json", "predictions/predictions.json"):  # killed in the middle, twice
        (folder / whole).unlink()
    for beside in (folder, suite.parent / "out/data/discs"):
        (beside / ".writing-consensus-1").mkdir()
    (suite.parent / "out/data/discs/begun").mkdir()
    assert benchmark(suite) == 0
    assert {row["method"]: row["status"] for row in rows_of(suite)} == rows
    assert not list(suite.parent.glob("out/**/.writing*")) and not (suite.parent / "out/data/discs/begun").exists()


def test_seeds_share_their_test_cases_where_the_split_has_a_seed_of_its_own(tmp_path):
    for n in range(9):
        for part in ("images", "truth"):
            (tmp_path / part).mkdir(exist_ok=True)
            square = np.zeros((20, 20), np.uint8)
            square[4 : 9 + n, 5:15] = 255
            Image.fromarray(square).save(tmp_path / part / f"c{n}.png")
    made = [
        simulate(tmp_path / "images", tmp_path / "truth", "mild", seed, tmp_path / f"{seed}", split_seed=3)
        for seed in (0, 1)
    ]
    tested = [{case.id for case in index.select("test")} for index in made]
    assert tested[0] == tested[1]
    drawn = [index.cases[0].annotations["over"].read_bytes() for index in made]
    assert drawn[0] != drawn[1]
