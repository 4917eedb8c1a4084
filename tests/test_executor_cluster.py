"""A Dask cluster of this machine: what it gives is what one process gives, also where a worker is killed."""

import os
import signal
import socket
import subprocess
import sys
from functools import partial

import pytest

from fake_data.commands import commands, make, tree
from test_executor import ITEMS, NAMES, fails, killed_always, killed_once, sleeps, square, talks, threads
from umanet.cli import main
from umanet.errors import DatasetError, ExecutorError
from umanet.executor import INLINE, Executor

distributed = pytest.importorskip("distributed", reason="Dask is not installed.")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made_up:
        yield made_up


def done(cluster, function) -> list:
    with Executor(scheduler=cluster.scheduler_address).map(function, ITEMS, NAMES) as results:
        return list(results)


def test_a_killed_worker_costs_no_case_and_none_is_there_twice(cluster, tmp_path):
    found = done(cluster, partial(killed_once, tmp_path, 4))
    with INLINE.map(square, ITEMS, NAMES) as expected:
        assert found == list(expected)
    assert (tmp_path / "tried").exists()
    assert (tmp_path / "4").read_text() == "done\n"


def test_errors_and_logs_of_cases_come_back_in_order(cluster, caplog):
    with pytest.raises(DatasetError) as caught:
        done(cluster, fails)
    assert str(caught.value) == "No 3 found."
    with pytest.warns(UserWarning, match="warned of"):
        assert done(cluster, talks) == ITEMS
    assert [r.getMessage() for r in caplog.records if r.name == "umanet"] == [f"Case {item} is odd." for item in ITEMS]
    assert {number for number, _ in done(cluster, threads)} == {1}


@pytest.mark.parametrize("name", ["check", "predict", "evaluate", "grade", "fuse", "fuse --with run"])
def test_a_cluster_writes_what_one_process_writes(cluster, made, tmp_path, name):
    for place, flags in (("1", []), ("2", ["--scheduler", cluster.scheduler_address])):
        (tmp_path / place).mkdir()
        assert main([*commands(made)[name], "-o", str(tmp_path / place / "out"), *flags]) == 0
    assert tree(tmp_path / "1/out") == tree(tmp_path / "2/out") != {}


def test_a_case_that_kills_every_worker_is_named(cluster):
    with pytest.raises(ExecutorError, match="Every worker that case 'case-4' was given to died"):
        done(cluster, partial(killed_always, 4))


def test_a_scheduler_that_is_lost_is_said():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    host, port = address.split(":")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", host, "--port", port, "--no-dashboard"], env=here, **quiet
    )
    worker = subprocess.Popen([*dask, "worker", address, "--no-dashboard", "--nthreads", "1"], env=here, **quiet)
    try:
        with (
            pytest.raises(ExecutorError, match=r"The scheduler at .* was lost at case 'case-0'"),
            Executor(scheduler=f"tcp://{address}").map(sleeps, ITEMS, NAMES) as results,
        ):
            kill_soon = subprocess.Popen(["sh", "-c", f"sleep 8; kill -9 -{scheduler.pid}"])
            next(results)
        kill_soon.wait()
    finally:
        for process in (scheduler, worker):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
