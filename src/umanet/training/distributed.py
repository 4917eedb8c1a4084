"""Training by several processes (ranks): torch's DistributedDataParallel through Lightning."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from umanet.errors import ConfigError, DatasetError, RunError
from umanet.methods import Method
from umanet.ranks import Launch, ranks

LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")
"""Of what torch says where a rank has gone; it has no kind of error for it."""


def strategy_for(launch: Launch, device: str, method: Method) -> dict[str, Any]:
    """What Lightning's trainer has to be told of this launch."""
    if launch.ranks == 1:
        return {"devices": 1}
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    backend = "gloo" if on_cpu else "nccl"
    strategy = DDPStrategy(process_group_backend=backend, find_unused_parameters=method.has_idle_parts)
    return {"devices": launch.ranks // launch.nodes, "num_nodes": launch.nodes, "strategy": strategy}


def refuse_uneven_ranks(launch: Launch, batch: int, validation: int) -> None:
    """Raises: ConfigError, DatasetError: A batch, or the validation cases, cannot be dealt out to the ranks."""
    if batch % launch.ranks:
        raise ConfigError(
            f"trainer.batch_size = {batch} found, a multiple of the {launch.ranks} ranks expected: every batch is "
            "dealt out to them in equal parts. Choose another batch size, or start fewer processes."
        )
    if validation < launch.ranks:
        raise DatasetError(
            f"{validation} validation cases found, at least one for each of the {launch.ranks} ranks expected. Start "
            "fewer processes."
        )


def raise_if_lost(error: RuntimeError, step: int, checkpoint: Path) -> None:
    """Raises: RunError: Another rank has gone, and this is what its partners notice."""
    if ranks() > 1 and any(word in str(error).lower() for word in LOST):
        kept = f"{checkpoint} is kept. Go on with --resume auto" if checkpoint.exists() else "Nothing was kept"
        raise RunError(
            f"Another process of this training is gone (step {step + 1}); why, stands in what that one printed. {kept}."
        ) from error


def disconnect() -> None:
    """Leave the group of ranks, so that another training can begin in this process."""
    if ranks() > 1:
        distributed.destroy_process_group()
