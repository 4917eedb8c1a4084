"""Two ranks on a CPU, connected by gloo: what one process learns, and what happens when one of them goes."""

import csv
import os
import signal
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from fake_data.arrays import tiny_config
from fake_data.discs import write_discs
from umanet.config import TrainerOptions, format_config
from umanet.data.index import write_index
from umanet.inference.model_file import DESCRIPTION, WEIGHTS
from umanet.ranks import Launch, launch
from umanet.training import train

LIMIT = 240
"""Seconds for two processes on a busy machine; a rank that waits for a dead one would take half an hour."""
TRAIN = "import sys; from umanet.cli import main; sys.exit(main(sys.argv[1:]))"
DIES = """
import os, signal
import lightning.pytorch as pl
from umanet.training.progress import StepReports

def die(self, trainer, *arguments):
    if os.environ["RANK"] == "1" and trainer.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

pl.LightningModule.on_before_optimizer_step = lambda self, optimizer: die(self, self.trainer)
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs"))


def config_of(**trainer):
    options = TrainerOptions(**{"max_steps": 6, "batch_size": 4, "validate_every": 2, **trainer})
    uma_net = {"grade_warm_up": 0.2, "weight_warm_up": 0.1, "grade": "image", "quality_floor": 0.0}
    return tiny_config(**uma_net).model_copy(update={"trainer": options, "device": "cpu", "seed": 2})


def start(index, folder, *, config=None, ranks=2, code=TRAIN, flags=()):
    """As ``torchrun`` starts ranks, but nobody watches over them."""
    write_index(index, folder / "dataset.json")
    (folder / "given.toml").write_text(format_config(config or config_of()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["train", str(folder / "dataset.json"), "-o", str(folder / "run"), "--config", str(folder / "given.toml")]
    started = []
    for rank in range(ranks):
        said = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks,
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none",
                "OMP_NUM_THREADS": 1}  # fmt: skip
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *words, *flags],
                env=os.environ | {name: str(value) for name, value in said.items()},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return [(process.communicate(timeout=LIMIT)[1], process.returncode) for process in started]


def metrics_of(run):
    with (run / "metrics.csv").open() as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(index, tmp_path_factory):
    return train(config_of(), index, tmp_path_factory.mktemp("alone") / "run")


def assert_alike(run, other):
    for row, expected in zip(metrics_of(run), metrics_of(other), strict=True):
        assert row == pytest.approx(expected, rel=2e-3, abs=1e-4, nan_ok=True)
    weights = load_file(other / WEIGHTS)
    for name, value in load_file(run / WEIGHTS).items():
        assert (value - weights[name]).abs().max() < 2e-3, name


def test_two_ranks_learn_what_one_process_learns_from_the_same_batches(index, alone, tmp_path):
    """Losses, reliability of annotators, images graded low, validation and weights: sums run over both ranks."""
    ended = start(index, tmp_path)
    assert [code for _, code in ended] == [0, 0], ended
    assert_alike(tmp_path / "run", alone)
    assert any(row["loss/auxiliary"] > 0 for row in metrics_of(alone))  # else there was nothing to deal out unevenly
    assert "The model is in" in ended[0][0]
    assert ended[1][0] == ""  # one of them speaks


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_ranks(index, alone, tmp_path):
    half = [code for _, code in start(index, tmp_path, code=TRAIN.replace("sys;", "sys;" + STOPS))]
    assert half == [2, 2]
    assert not (tmp_path / "run" / DESCRIPTION).exists()
    ended = start(index, tmp_path, ranks=1, flags=("--resume", "must"))
    assert [code for _, code in ended] == [0], ended
    assert_alike(tmp_path / "run", alone)


STOPS = """
import lightning.pytorch as pl

def stop(self):
    if self.trainer.global_step == 4:
        raise KeyboardInterrupt

pl.LightningModule.on_train_epoch_start = stop
import sys;"""


@pytest.mark.slow
def test_the_others_stop_with_the_reason_where_a_rank_is_killed(index, tmp_path):
    (said, code), (_, killed) = start(index, tmp_path, code=DIES + TRAIN)
    assert killed == -signal.SIGKILL
    assert code == 2
    assert "Another process of this training is gone" in said
    assert "--resume auto" in said
    assert "Traceback" not in said


def test_batches_must_be_dealt_out_evenly(index, tmp_path, monkeypatch):
    from umanet.errors import ConfigError, DatasetError
    from umanet.training.distributed import refuse_uneven_ranks

    refuse_uneven_ranks(Launch(1, 2), batch=4, validation=2)
    with pytest.raises(ConfigError, match=r"batch_size = 5 found, a multiple of the 2 ranks expected"):
        refuse_uneven_ranks(Launch(1, 2), batch=5, validation=2)
    with pytest.raises(DatasetError, match="1 validation cases found, at least one for each of the 2 ranks"):
        refuse_uneven_ranks(Launch(0, 2), batch=4, validation=1)


@pytest.mark.parametrize(("said", "expected"), [
    ({}, Launch()),
    ({"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, Launch(5, 8, 2)),
    ({"SLURM_NTASKS": "6", "SLURM_PROCID": "3", "SLURM_NNODES": "3", "SLURM_JOB_NAME": "train"}, Launch(3, 6, 3)),
    ({"SLURM_NTASKS": "6", "SLURM_PROCID": "3", "SLURM_JOB_NAME": "interactive"}, Launch()),
])  # fmt: skip
def test_launchers_say_who_is_who(said, expected, monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert launch() == expected
    assert launch().leads == (expected.rank == 0)
