"""Who calls train() finds the process as it was."""

import logging
import os
import random

import numpy as np
import pytest
import torch

from fake_data.arrays import tiny_config
from fake_data.discs import write_discs
from umanet.config import TrainerOptions
from umanet.errors import RunError
from umanet.training import train
from umanet.training.global_state import CHATTY, global_state_put_back


def state():
    numpy = np.random.get_state()
    return (
        torch.get_num_threads(), torch.random.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2:],
        {name: value for name, value in os.environ.items() if name.startswith("PL_")},
    )  # fmt: skip


@pytest.mark.parametrize("seed", [None, "3"])
def test_everything_is_put_back_after_an_error(monkeypatch, seed):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if seed:
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
    before = state()
    with pytest.raises(RuntimeError), global_state_put_back():
        torch.set_num_threads(2)
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        os.environ["PL_GLOBAL_SEED"] = os.environ["PL_SEED_WORKERS"] = "1"
        raise RuntimeError
    assert state() == before


def test_training_says_nothing_of_its_tools_and_leaves_the_process_alone(tmp_path, recwarn, capfd):
    index = write_discs(tmp_path)
    options = TrainerOptions(max_steps=1, batch_size=1, validate_every=1)
    config = tiny_config().model_copy(update={"trainer": options, "device": "cpu", "threads": 2})
    torch.rand(1), random.random(), np.random.rand()
    before = state()
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    train(config, index, tmp_path / "run")
    assert state() == before
    assert {name: logging.getLogger(name).level for name in CHATTY} == levels
    assert not [str(one.message) for one in recwarn if "lightning" in one.filename]
    said = capfd.readouterr()
    assert "available" not in said.out + said.err and "Tip" not in said.out + said.err
    with pytest.raises(RunError):
        train(config, index, tmp_path / "run")
    assert state() == before
