"""Checkpoints that are whole or not there, and that hold no pickled objects."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from umanet.data.files import whole_file
from umanet.errors import RunError

FOLDER = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the place, flushes to the disk, then replaces; reads with ``weights_only``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # Through memory: torch.save into a file on a full disk raises a RuntimeError that does not say so.
        content = BytesIO()
        torch.save(checkpoint, content)
        with whole_file(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors, numbers, strings and containers of them only.

    Raises:
        RunError: The file is truncated, or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds for a file that is not a checkpoint
        raise RunError(
            f"{path} is not a readable checkpoint ({type(error).__name__}). Delete it, or start afresh."
        ) from error
