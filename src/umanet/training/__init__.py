"""Training: the only part that knows Lightning."""

from umanet.training.plan import plan
from umanet.training.train import train

__all__ = ["plan", "train"]
