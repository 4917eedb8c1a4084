"""Ctrl-C: the last checkpoint is kept, and going on from it ends as if nothing had happened."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from fake_data.discs import write_discs
from umanet.data.index import write_index

PATIENCE = 120
"""Seconds until a subprocess has imported everything and written a checkpoint, on a busy machine."""
SETTINGS = [
    "--preset", "cpu-small", "--trainer.max-steps", "200", "--trainer.validate-every", "4", "--trainer.batch-size", "2",
    "--backbone.channels", "4", "8", "--threads", "1", "--device", "cpu",
]  # fmt: skip


def start(folder: Path, run: str, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "umanet", "train", "dataset.json", "-o", run, *flags]
    # A shell lets what it starts in the background ignore Ctrl-C, and so would our child.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process that succeeded said."""
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_that_a_run_goes_on_from_to_the_same_weights(tmp_path):
    write_index(write_discs(tmp_path, (16, 16)), tmp_path / "dataset.json")
    process = start(tmp_path, "run", *SETTINGS)
    checkpoint, deadline = tmp_path / "run/checkpoints/last.ckpt", time.monotonic() + PATIENCE
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith("umanet: Interrupted at step ")
    assert "run/checkpoints/last.ckpt is kept. Go on with --resume" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run/model.json").exists()

    finish(start(tmp_path, "run", "--resume", "must"))
    said = finish(start(tmp_path, "whole", *SETTINGS))
    for name in ("model.safetensors", "grading.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Nothing of other packages on the terminal.
    assert [
        line for line in said.splitlines() if not line.startswith(("umanet: ", "Training ", "The model", "Next:"))
    ] == []
