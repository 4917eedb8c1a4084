"""Ways to learn from several annotations, by name."""

from umanet.config import RunConfig
from umanet.fusion import FUSIONS
from umanet.methods.annotator_heads import AnnotatorHeads
from umanet.methods.co_teaching import CoTeaching
from umanet.methods.confusion_matrix import ConfusionMatrix
from umanet.methods.ensemble import Ensemble
from umanet.methods.fused_target import FusedTarget
from umanet.methods.method import GradesAnnotations, Method
from umanet.methods.mr_net import MRNet
from umanet.methods.padl import PADL
from umanet.methods.persona import Persona
from umanet.methods.pionono import Pionono
from umanet.methods.prob_unet import ProbUNet
from umanet.methods.stochastic_segmentation import StochasticSegmentation
from umanet.methods.t_loss import TLoss
from umanet.methods.truncated_gce import TruncatedGCE
from umanet.methods.uma_net import UMANet
from umanet.types import Task


def build_method(task: Task, config: RunConfig) -> Method:
    """The method that ``config.method`` names, for a task.

    Raises:
        TaskError: A method that learns the style of annotators, and anonymous ones.
    """
    return METHODS[config.method](task, config)


METHODS: dict[str, type[Method]] = {
    "uma-net": UMANet,
    "truth": FusedTarget,
    **dict.fromkeys(FUSIONS, FusedTarget),
    "confusion-matrix": ConfusionMatrix,
    "annotator-heads": AnnotatorHeads,
    "truncated-gce": TruncatedGCE,
    "mr-net": MRNet,
    "padl": PADL,
    "pionono": Pionono,
    "persona": Persona,
    "prob-unet": ProbUNet,
    "stochastic-segmentation": StochasticSegmentation,
    "co-teaching": CoTeaching,
    "t-loss": TLoss,
    "ensemble": Ensemble,
}

__all__ = ["METHODS", "FusedTarget", "GradesAnnotations", "Method", "UMANet", "build_method"]
