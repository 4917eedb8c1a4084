"""Opening a trained run, and choosing the device that it runs on."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from umanet.errors import ConfigError

if TYPE_CHECKING:
    from umanet.inference.model_file import Model

Device = Literal["auto", "cpu", "cuda", "mps"]


def check_device(device: Device) -> str:
    """The torch device that is meant; ``auto`` is the best there is.

    Raises:
        ConfigError: The machine has no such device.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, available in there.items() if available)
    if not there[device]:
        found = ", ".join(name for name, available in there.items() if available)
        raise ConfigError(f"--device {device} found, one of auto, {found} expected: torch sees no {device} here.")
    return device


def open_model(run: Path, device: Device, threads: int | None, *, grading: bool = False) -> "Model":
    """The model of a run; torch computes on ``threads`` CPU threads, by default on as many as in its training.

    Raises:
        ConfigError: No thread, or a device that the machine has not.
    """
    import torch

    from umanet.inference.model_file import load_model

    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads} found, at least 1 expected. Leave it out for that of the training.")
    model = load_model(run, device=check_device(device), grading=grading)
    torch.set_num_threads(threads or model.config.threads or 1)
    return model
