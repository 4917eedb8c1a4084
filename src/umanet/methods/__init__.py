"""Ways to learn from several annotations, by name."""

from collections.abc import Callable

from umanet.config import RunConfig
from umanet.fusion import FUSIONS
from umanet.methods.fused_target import FusedTarget
from umanet.methods.method import GradesAnnotations, Method
from umanet.methods.uma_net import UMANet
from umanet.types import Task

METHODS: dict[str, Callable[[Task, RunConfig], Method]] = {
    "uma-net": UMANet,
    "truth": FusedTarget,
    **dict.fromkeys(FUSIONS, FusedTarget),
}


def build_method(task: Task, config: RunConfig) -> Method:
    """The method that ``config.method`` names, for a task."""
    return METHODS[config.method](task, config)


__all__ = ["METHODS", "FusedTarget", "GradesAnnotations", "Method", "UMANet", "build_method"]
