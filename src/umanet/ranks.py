"""Several processes (ranks) that train one network together: who started them, and sums over all their batches.

Started by ``torchrun`` or SLURM; both say in the environment who is who. One process alone is rank 0 of 1.
"""

import os
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed


@dataclass(frozen=True)
class Launch:
    """What the launcher says of this process.

    Attributes:
        rank: This process, from 0.
        ranks: All processes.
        nodes: Machines that they run on, each as many.
    """

    rank: int = 0
    ranks: int = 1
    nodes: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to the user: one does."""
        return self.rank == 0


def launch() -> Launch:
    """How this process was started."""
    said = os.environ
    if "TORCHELASTIC_RUN_ID" in said:  # torchrun
        ranks = int(said["WORLD_SIZE"])
        return Launch(int(said["RANK"]), ranks, ranks // int(said["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" in said and said.get("SLURM_JOB_NAME") not in ("bash", "interactive"):  # srun
        return Launch(int(said["SLURM_PROCID"]), int(said["SLURM_NTASKS"]), int(said.get("SLURM_NNODES", 1)))
    return Launch()


def ranks() -> int:
    """How many processes are connected."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def over_ranks(sums: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    """Sums over a rank's part of a batch as sums over all of it. All ranks must call it, as often as each other.

    The gradient is that of this rank's part, times the number of ranks: of gradients the mean over ranks is taken, so
    a loss that knows its batch by such sums only has the very gradient that the whole batch has in one process.
    """
    if ranks() == 1:
        return sums
    total = sums.detach().clone()
    distributed.all_reduce(total)
    if not sums.requires_grad:
        return total
    own = sums * ranks()
    return own + (total - own.detach())


def gathered(values: Shaped[Tensor, "B *any"]) -> Shaped[Tensor, "N *any"]:
    """Values per image of all ranks' parts of a batch, which are of one size, in the order of the ranks."""
    if ranks() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(ranks())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
