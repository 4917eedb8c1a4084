"""A training takes what processors there are, and says what will be slow."""

import pytest

from umanet.config import build_config
from umanet.executor import processors
from umanet.ranks import Launch
from umanet.training.processors import within_processors


@pytest.fixture
def machine(monkeypatch):
    def of(usable, busy):
        monkeypatch.setattr("umanet.training.processors.usable", lambda: usable)
        monkeypatch.setattr("umanet.training.processors.busy", lambda: busy)

    return of


def config(workers=0, threads=None):
    return build_config({"data": {"workers": workers}, "threads": threads})


@pytest.mark.parametrize(
    ("launch", "processors", "wanted", "given"),
    [(Launch(), 2, 8, 2), (Launch(), 16, 8, 8), (Launch(), 1, 4, 1), (Launch(), 1, 0, 0),
     (Launch(0, 4, 1), 16, 8, 4), (Launch(0, 4, 2), 16, 8, 8), (Launch(0, 4, 1), 2, 1, 1)],
)  # fmt: skip
def test_no_more_processes_load_than_there_are_processors_for(machine, caplog, launch, processors, wanted, given):
    machine(processors, 0.0)
    assert within_processors(config(wanted), launch) == config(given)
    assert (f"data.workers = {wanted} found" in caplog.text) == (given < wanted)


@pytest.mark.parametrize(
    ("processors", "busy", "threads", "said"),
    [(2, 0.3, 2, False), (2, 1.2, 2, True), (2, 9.0, None, False), (2, 9.0, 1, False), (2, 0.0, 4, True),
     (16, 3.0, 8, False), (16, 12.0, 8, True)],
)  # fmt: skip
def test_threads_that_would_wait_for_each_other_are_said(machine, caplog, processors, busy, threads, said):
    machine(processors, busy)
    assert within_processors(config(threads=threads), Launch()) == config(threads=threads)
    assert ("twenty times as long" in caplog.text) == said


def test_processors_are_those_of_the_machine_or_of_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert processors.usable(tmp_path) == 16
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job/step\n")
    step = tmp_path / "sys/fs/cgroup/job/step"
    step.mkdir(parents=True)
    (step / "cpu.max").write_text("max 100000\n")
    assert processors.usable(tmp_path) == 16
    (step.parent / "cpu.max").write_text("150000 100000\n")
    assert processors.usable(tmp_path) == 2
    (step / "cpu.max").write_text("20000 100000\n")
    assert processors.usable(tmp_path) == 1


def test_how_busy_a_machine_is_may_be_unknown(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 0, 0))
    assert processors.busy() == 1.5
    monkeypatch.delattr("os.getloadavg")
    assert processors.busy() == 0
