"""Whether a worker writes where the result is read: on a cluster, only a shared file system makes it so."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from umanet.errors import ExecutorError


@dataclass(frozen=True)
class Shared:
    """A folder of the output, with a mark in it that nobody else's has."""

    folder: Path
    mark: str

    def here(self) -> Path:
        """The folder, in a worker that is about to write.

        Raises:
            ExecutorError: It is another one than that of the process that asked.
        """
        if not (self.folder / self.mark).exists():
            raise ExecutorError(
                f"No {self.folder} found by a worker, the folder of the output expected there, too. Choose an output "
                "on a file system that all machines share under one path; or the command ended before."
            )
        return self.folder


def shared(folder: Path) -> Shared:
    """Mark the folder; ``whole_folder`` removes the mark, as it does all that begins like it."""
    mark = f".writing-mark-{secrets.token_hex(8)}"
    (folder / mark).touch()
    return Shared(folder, mark)
