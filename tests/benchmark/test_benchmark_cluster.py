"""Rows on a Dask cluster: what they are in one process, also where a worker is killed."""

import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from fake_data.discs import write_discs
from umanet.benchmark.cluster_rows import ClusterRows, row_there
from umanet.cli import main
from umanet.data.index import write_index
from umanet.errors import ExecutorError, Interrupted

distributed = pytest.importorskip("distributed", reason="Dask is not installed.")

SUITE = """
name = "Small"
seeds = [0, 1]
methods = ["majority", "uma-net"]
minutes = 5

[config]
preset = "cpu-small"
backbone = {channels = [4, 8], features = 4}
trainer = {max_steps = 40, batch_size = 2, validate_every = 2}

[[data]]
name = "discs"
dataset = "dataset.json"
metrics = ["dice"]
"""


@pytest.fixture
def suite(tmp_path):
    index = write_discs(tmp_path, (16, 18))
    parts = ("train", "train", "train", "validation", "test", "test")
    cases = tuple(replace(case, split=part) for case, part in zip(index.cases, parts, strict=True))
    write_index(index.model_copy(update={"cases": cases}), tmp_path / "dataset.json")
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path / "suite.toml"


def results(output):
    found = {}
    for path in sorted(output.rglob("result.json")):
        result = json.loads(path.read_text())
        found[path.parent.relative_to(output).as_posix()] = [result[key] for key in ("status", "summary", "cases")]
    return found


def kill_one_at_work(cluster, output):
    """The worker whose row has begun to train, once."""
    while not list(output.rglob("last.ckpt")):
        time.sleep(0.05)
    for worker in cluster.workers.values():
        os.kill(worker.pid, signal.SIGKILL)
        return


@pytest.mark.slow
def test_rows_of_a_cluster_are_those_of_one_process_and_a_killed_worker_costs_none(suite, tmp_path):
    assert main(["benchmark", str(suite), "-o", str(tmp_path / "alone")]) == 0
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        killer = threading.Thread(target=kill_one_at_work, args=(cluster, tmp_path / "cluster"))
        killer.start()
        words = ["benchmark", str(suite), "-o", str(tmp_path / "cluster"), "--scheduler", cluster.scheduler_address]
        assert main(words) == 0
        killer.join()
    assert results(tmp_path / "cluster") == results(tmp_path / "alone")
    assert len(results(tmp_path / "alone")) == 4
    assert "2 rows at a time" in (tmp_path / "cluster/results.md").read_text()


def test_a_scheduler_that_is_gone_is_one_line(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("umanet.executor.cluster.PATIENCE", 0.5)
    assert main(["benchmark", str(suite), "-o", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "No scheduler found at tcp://127.0.0.1:9 (" in capsys.readouterr().err


def test_processes_and_a_cluster_at_once_are_refused(suite, tmp_path, capsys):
    words = ["benchmark", str(suite), "-o", str(tmp_path / "out"), "--processes", "2", "--scheduler", "tcp://x:1"]
    assert main(words) == 2
    assert "one of them expected" in capsys.readouterr().err


def test_a_worker_that_does_not_see_the_output_refuses(tmp_path):
    with pytest.raises(ExecutorError, match="on a file system that all machines share"):
        row_there((tmp_path, 5.0))


def test_a_row_takes_no_longer_than_it_may(tmp_path, monkeypatch):
    (tmp_path / "row.json").write_text("{}")
    monkeypatch.setattr("umanet.benchmark.cluster_rows.sys.executable", "/bin/sh")
    monkeypatch.setattr("umanet.benchmark.cluster_rows.MODULE", ("-c", "sleep 60"))
    started = time.monotonic()
    assert row_there((tmp_path, 0.2)) is None
    assert time.monotonic() - started < 30


def test_after_a_stop_nothing_begins(tmp_path):
    rows = ClusterRows(lambda *_: pytest.fail("begun"))
    rows.stop()
    with pytest.raises(Interrupted, match="was not begun"):
        rows.do(tmp_path, 1.0)
