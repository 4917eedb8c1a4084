"""Results of several workers are those of one, in order and each once, whatever happens to a worker."""

import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import pytest

from umanet.data.files import whole_folder
from umanet.errors import ConfigError, DatasetError, ExecutorError
from umanet.executor import INLINE, Executor, Shared, memory, shared

ITEMS = list(range(9))
NAMES = [f"case-{item}" for item in ITEMS]


def square(item: int) -> int:
    return item * item


def traced(folder: Path, item: int) -> tuple[int, int]:
    """Leaves a file per try."""
    (folder / f"{item}-{os.getpid()}").touch()
    return item * item, os.getpid()


def killed_once(folder: Path, bad: int, item: int) -> int:
    marker = folder / "tried"
    if item == bad and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with (folder / f"{item}").open("a") as tries:
        tries.write("done\n")
    return item * item


def killed_always(bad: int, item: int) -> int:
    if item == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def fails(item: int) -> int:
    if item in (3, 5):
        raise DatasetError(f"No {item} found.")
    return item


class Foreign(Exception):
    def __init__(self, first: str, second: str):
        super().__init__(f"{first} {second}")


def fails_in_foreign_words(item: int) -> int:
    raise Foreign("strange", "words")


def talks(item: int) -> int:
    logging.getLogger("umanet").warning("Case %d is odd.", item)
    warnings.warn(f"warned of {item}", UserWarning, stacklevel=1)
    return item


def sleeps(item: int) -> int:
    time.sleep(60)
    return item


def threads(item: int) -> tuple[int, str | None]:
    import torch

    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")


def done(executor: Executor, function, items=ITEMS) -> list:
    with executor.map(function, items, [f"case-{item}" for item in items]) as results:
        return list(results)


def test_several_processes_give_what_one_gives_in_order(tmp_path):
    found = done(Executor(workers=2), partial(traced, tmp_path))
    assert [value for value, _ in found] == done(INLINE, square)
    assert os.getpid() not in {pid for _, pid in found}
    assert len(list(tmp_path.iterdir())) == len(ITEMS)


def test_one_worker_is_this_process(tmp_path):
    assert {pid for _, pid in done(INLINE, partial(traced, tmp_path))} == {os.getpid()}
    assert {pid for _, pid in done(Executor(workers=8), partial(traced, tmp_path), [1])} == {os.getpid()}
    assert not INLINE.elsewhere and Executor(workers=2).elsewhere and Executor(scheduler="tcp://x:1").elsewhere


def test_a_worker_takes_one_thread():
    assert set(done(Executor(workers=2), threads, [1, 2])) == {(1, "1")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "3")
        assert set(done(Executor(workers=2), threads, [1, 2])) == {(1, "1")}
        assert os.environ["OMP_NUM_THREADS"] == "3"


def test_cases_are_begun_as_results_are_asked_for(tmp_path):
    begun = []

    def note(item):
        begun.append(item)
        return item

    with INLINE.map(note, ITEMS, NAMES) as results:
        assert next(results) == 0
    assert begun == [0]
    many = range(40)
    with Executor(workers=2).map(partial(traced, tmp_path), many, [str(item) for item in many]) as results:
        next(results)
        time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 8


def test_a_killed_worker_costs_no_case(tmp_path, caplog):
    found = done(Executor(workers=2), partial(killed_once, tmp_path, 4))
    assert found == done(INLINE, square)
    assert "A worker died, perhaps for want of memory: " in caplog.text
    assert "done again, by 1 worker." in caplog.text
    assert (tmp_path / "4").read_text() == "done\n"


def test_a_case_that_kills_its_worker_alone_is_named(caplog):
    with pytest.raises(ExecutorError, match="died twice at case 'case-4'"):
        done(Executor(workers=2), partial(killed_always, 4))
    assert caplog.text.count("A worker died") == 1


@pytest.mark.parametrize("executor", [INLINE, Executor(workers=2)], ids=["one", "two"])
def test_the_first_error_in_the_order_of_cases_is_raised_where_it_belongs(executor):
    found = []
    with pytest.raises(DatasetError) as caught, executor.map(fails, ITEMS, NAMES) as results:
        for result in results:
            found.append(result)
    assert (found, str(caught.value)) == ([0, 1, 2], "No 3 found.")


def test_an_error_that_cannot_travel_is_told_in_its_words():
    with pytest.raises(RuntimeError, match="strange words"):
        done(Executor(workers=2), fails_in_foreign_words)


def test_what_workers_say_is_said_here_in_order(caplog):
    with pytest.warns(UserWarning, match="warned of") as caught:
        done(Executor(workers=2), talks)
    assert [record.getMessage() for record in caplog.records] == [f"Case {item} is odd." for item in ITEMS]
    assert [str(one.message) for one in caught] == [f"warned of {item}" for item in ITEMS]


def test_leaving_early_stops_the_workers_and_leaves_no_output(tmp_path):
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as place:
        assert place.is_dir()
        with Executor(workers=2).map(sleeps, ITEMS, NAMES):
            raise KeyboardInterrupt
    assert time.monotonic() - began < 60
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_stops_all_workers_without_a_word(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_executor import *\n"
        "if __name__ == '__main__':\n"
        "    with Executor(workers=2).map(sleeps, ITEMS, NAMES) as results:\n"
        "        print('begun', flush=True)\n"
        "        try:\n"
        "            list(results)\n"
        "        except KeyboardInterrupt:\n"
        "            print('stopped', flush=True)\n"
    )
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", Path(__file__).parent], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    said, complained = process.communicate(timeout=50)
    assert (said, complained, process.returncode) == ("stopped\n", "", 0)
    deadline = time.monotonic() + 20
    while living(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living(process.pid) == []


def living(group: int) -> list[str]:
    """Processes of a group that have not ended; those that nobody has asked about count as ended."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [row[-1] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


def test_more_workers_than_memory_allows_are_fewer_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr(memory, "available", lambda: 2 * memory.GIB)
    assert memory.that_fit(4, 0) == 4
    assert memory.that_fit(64, 0) == 4
    assert "--workers 64 found, for which memory is short: 2.0 GiB are free, and one takes about 0.5. 4 at a time." in (
        caplog.text
    )
    assert memory.that_fit(4, memory.GIB // 16) == 1
    monkeypatch.setattr(memory, "available", lambda: 1)
    assert memory.that_fit(2, 0) == 1
    assert done(Executor(workers=2), square) == done(INLINE, square)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert memory.that_fit(64, 0) == 64


def test_free_memory_is_that_of_the_machine_or_of_the_job(tmp_path):
    assert memory.available(tmp_path) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    assert memory.available(tmp_path) == 500 * 1024
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_7/step\n")
    job = tmp_path / "sys/fs/cgroup/slurm/job_7"
    (job / "step").mkdir(parents=True)
    (job / "step/memory.max").write_text("max\n")
    (job / "step/memory.current").write_text("1000\n")
    (job / "memory.max").write_text("100000\n")
    (job / "memory.current").write_text("60000\n")
    (job / "memory.stat").write_text("anon 1\ninactive_file 20000\n")
    assert memory.available(tmp_path) == 60000


def test_workers_must_see_the_folder_of_the_output(tmp_path):
    with whole_folder(tmp_path / "out") as place:
        mark = shared(place)
        assert mark.here() == place
        (place / ".writing-half").write_text("of a worker that was killed")
        (place / "whole").touch()
        with pytest.raises(ExecutorError, match="file system that all machines share"):
            Shared(tmp_path, mark.mark).here()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "--workers 0 found, at least 1"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, "one of them expected"),
    ],
)
def test_contradictions_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Executor(**options)


def test_without_dask_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'umanet\[cluster\]'"):
        done(Executor(scheduler="tcp://127.0.0.1:1"), square)
