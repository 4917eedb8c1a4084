"""A checkpoint is whole or not there, and holds no pickled objects."""

import errno
from pathlib import Path

import pytest
import torch

from umanet.errors import OutputError, RunError
from umanet.training.checkpoints import WholeCheckpoints, read_checkpoint

LIMIT = 100_000


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1, "state_dict": {"weight": torch.arange(3.0)}}, path)
    return path


def test_what_is_saved_is_read_back(saved):
    found = read_checkpoint(saved)
    assert found["step"] == 1
    assert torch.equal(found["state_dict"]["weight"], torch.arange(3.0))
    assert WholeCheckpoints().load_checkpoint(saved)["step"] == 1


def test_a_crash_while_saving_keeps_the_old_checkpoint(saved, monkeypatch):
    def write_some(path, content):
        with path.open("wb") as file:
            file.write(bytes(content)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_some)
        with pytest.raises(OutputError, match=r"last\.ckpt could not be written: No space left on device"):
            WholeCheckpoints().save_checkpoint({"step": 2}, saved)
    assert read_checkpoint(saved)["step"] == 1
    assert list(saved.parent.iterdir()) == [saved]


def test_a_file_that_the_system_refuses_to_let_grow_is_an_output_error(saved):
    """The same with a real limit of the system in place of a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        with pytest.raises(OutputError, match="could not be written"):
            WholeCheckpoints().save_checkpoint({"weight": torch.zeros(LIMIT)}, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_checkpoint(saved)["step"] == 1
    assert list(saved.parent.iterdir()) == [saved]


def test_a_truncated_checkpoint_is_named(saved):
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"last\.ckpt is not a readable checkpoint .* Delete it, or start afresh"):
        read_checkpoint(saved)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm was done"),))


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "surprise": Harmful()}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "harm was done").exists()
