"""A run folder is a new one or a run of ours, and what fails leaves it as it was."""

import pytest

from fake_data.arrays import tiny_config
from umanet.config import DataOptions, TrainerOptions, UmaNetOptions, format_config
from umanet.errors import Interrupted, RunError
from umanet.training.run_folder import CONFIG, find_checkpoint, refuse_other_config, run_folder


def test_every_setting_that_differs_is_named_with_both_values(tmp_path):
    before = tiny_config()
    (tmp_path / CONFIG).write_text(format_config(before))
    refuse_other_config(tmp_path, before.model_copy(update={"device": "cpu", "threads": 3}), 2)
    changes = {
        "seed": 5,
        "uma_net": UmaNetOptions(width=4, margin=1, memory=64, target="soft"),
        "data": DataOptions(patch=(8, 12)),
    }
    with pytest.raises(RunError) as error:
        refuse_other_config(tmp_path, before.model_copy(update=changes), 2)
    assert str(error.value) == (
        "seed = 5 (0 in the run), uma_net.target = soft (auto in the run), data.patch = 8 12 (none in the run) found, "
        f"the settings in {tmp_path / CONFIG} expected. Resume with these, or start a new run."
    )


def test_many_settings_that_differ_are_counted(tmp_path):
    (tmp_path / CONFIG).write_text(format_config(tiny_config()))
    names = ("max_steps", "batch_size", "learning_rate", "weight_decay", "clip", "validate_every")
    other = tiny_config().model_copy(update={"trainer": TrainerOptions(**dict.fromkeys(names, 77)), "seed": 1})
    with pytest.raises(RunError, match=r"trainer\.clip = 77\.0 \(1\.0 in the run\) and 1 more found"):
        refuse_other_config(tmp_path, other, 2)


def test_a_folder_that_is_no_run_is_not_gone_on_with(tmp_path):
    assert find_checkpoint(tmp_path / "new", "auto") is None
    assert find_checkpoint(tmp_path, "auto") is None  # empty
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists already and has no run\.toml"):
        find_checkpoint(tmp_path, "auto")
    with pytest.raises(RunError, match=r"exists already and has no run\.toml"):
        find_checkpoint(tmp_path / "thesis.txt", "auto")
    (tmp_path / CONFIG).write_text("")
    assert find_checkpoint(tmp_path, "auto") is None  # interrupted before its first checkpoint


def write_half(run):
    (run / CONFIG).write_text("half")
    (run / "tensorboard").mkdir(exist_ok=True)
    (run / "tensorboard" / "events").write_text("half")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [False, True])
def test_what_fails_before_a_checkpoint_leaves_the_folder_as_it_was(tmp_path, existed, error):
    run = tmp_path / "run"
    if existed:
        run.mkdir()
    with pytest.raises(error), run_folder(run):
        write_half(run)
        raise error
    assert run.exists() == existed
    assert list(tmp_path.rglob("*")) == ([run] if existed else [])


def test_what_fails_leaves_a_run_and_checkpoints_in_place(tmp_path):
    with pytest.raises(RuntimeError), run_folder(tmp_path / "new"):
        (tmp_path / "new" / "checkpoints" / "last.ckpt").write_text("whole")
        raise RuntimeError
    assert (tmp_path / "new" / "checkpoints" / "last.ckpt").exists()
    (tmp_path / "old").mkdir()
    write_half(tmp_path / "old")
    with pytest.raises(RuntimeError), run_folder(tmp_path / "old"):
        raise RuntimeError
    assert (tmp_path / "old" / CONFIG).read_text() == "half"
    with pytest.raises(Interrupted), run_folder(tmp_path / "stopped"):
        raise Interrupted
    assert (tmp_path / "stopped").is_dir()
