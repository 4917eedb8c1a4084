"""Training: the only part that knows Lightning."""

from umanet.training.train import plan, train

__all__ = ["plan", "train"]
