"""What goes wrong where data are loaded reads the same whoever loads them."""

import os
import signal

import pytest

from fake_data.arrays import tiny_config
from fake_data.discs import write_discs
from umanet.config import TrainerOptions
from umanet.errors import ImageError, RunError
from umanet.training import train


def config_of(workers):
    config = tiny_config("majority")
    return config.model_copy(
        update={
            "trainer": TrainerOptions(max_steps=6, batch_size=2, validate_every=2),
            "device": "cpu",
            "data": config.data.model_copy(update={"workers": workers}),
        }
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path, workers):
    index = write_discs(tmp_path / "data")
    broken = index.select("train")[2].annotations["anna"]
    broken.write_bytes(b"nothing")
    with pytest.raises(ImageError) as raised:
        train(config_of(workers), index, tmp_path / "run")
    assert str(raised.value).startswith(str(broken))
    assert "\n" not in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_a_loading_process_that_is_killed_is_said(tmp_path, monkeypatch):
    index, trainer = write_discs(tmp_path / "data"), os.getpid()

    def dies(*arguments):
        if os.getpid() != trainer:
            os.kill(os.getpid(), signal.SIGKILL)
        pytest.fail("read in the training process")

    monkeypatch.setattr("umanet.data.dataset.read_case", dies)
    with pytest.raises(RunError, match=r"A process that loads data was killed .step 1., .*fewer --data.workers"):
        train(config_of(1), index, tmp_path / "run")
