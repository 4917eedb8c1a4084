"""Opening a run sets torch's number of threads."""

from pathlib import Path

import pytest
import torch

from fake_data.arrays import make_method, tiny_config
from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.data.index import write_index
from umanet.inference.model_file import save_model


@pytest.fixture
def folder(tmp_path: Path):
    """A data set and a run that says three threads."""
    index, config = write_discs(tmp_path, (16, 16)), tiny_config().model_copy(update={"threads": 3})
    write_index(index, tmp_path / "dataset.json")
    (tmp_path / "run").mkdir()
    save_model(make_method(index.task, config), index, config, tmp_path / "run")
    yield tmp_path
    torch.set_num_threads(1)


@pytest.mark.parametrize(("given", "used"), [([], 3), (["--threads", "2"], 2)])
@pytest.mark.parametrize("command", ["predict", "grade", "fuse"])
def test_as_many_threads_as_given_or_as_in_the_training(folder, command, given, used):
    run, data = str(folder / "run"), str(folder / "dataset.json")
    words = [command, data, "--with", run] if command == "fuse" else [command, run, data]
    assert main([*words, "-o", str(folder / "new"), "--device", "cpu", *given]) == 0
    assert torch.get_num_threads() == used
