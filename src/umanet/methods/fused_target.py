"""The baselines: fuse the annotations first, then learn the result as if it were the truth."""

import warnings
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from umanet.config import RunConfig
from umanet.fusion import FUSIONS, fusion_options
from umanet.fusion.staple import OneClassWarning
from umanet.losses import heavy_tailed_loss, segmentation_loss
from umanet.methods.method import Method
from umanet.models import Backbone, Predictor
from umanet.types import Batch, Case, Prediction, Sample, Task


class Fuser:
    """The fusion that a configuration names, of one sample.

    Args:
        name: A key of ``FUSIONS``.
        task: Whose annotators.
        config: How.
    """

    def __init__(self, name: str, task: Task, config: RunConfig):
        self.name, self.num_classes, self.drawn, self.seed = name, task.num_classes, task.drawn, config.seed
        self.annotator: str | None = None
        given = {"ties": config.fusion.ties} if name == "majority" else {}
        if name == "single":
            self.annotator = config.fusion.annotator or task.annotators[0]
            given = {"annotator": self.annotator}
        self.options = fusion_options(name, given, task.annotators)

    def __call__(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"]:
        fuse = FUSIONS[self.name]
        if self.name == "random":
            fuse = partial(fuse, seed=self.seed, epoch=epoch, case=sample.case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneClassWarning)  # legal, and in training noise
            given = (sample.annotations.numpy(), sample.present.numpy(), self.num_classes)
            fused, _ = fuse(*given, drawn=self.drawn, **self.options)
        return torch.from_numpy(fused)


@final
class FusedTarget(Method):
    """Backbone and primary predictor, taught with a fused target: any of ``FUSIONS``, or the truth (upper bound)."""

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, config.backbone.features)
        self.num_classes = task.num_classes
        self.heavy_tailed = config.fusion.loss == "heavy-tailed"
        self.fuse = None if config.method == "truth" else Fuser(config.method, task, config)
        self.target_depends_on_epoch = config.method == "random"

    def trains_on(self, case: Case) -> bool:
        if self.fuse is None:
            return case.truth is not None
        return bool(case.annotations) if self.fuse.annotator is None else self.fuse.annotator in case.annotations

    def target(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"]:
        if self.fuse is not None:
            return self.fuse(sample, epoch)
        assert sample.truth is not None  # trains_on
        classes = torch.arange(self.num_classes).view(-1, *[1] * sample.truth.ndim)
        return (sample.truth == classes).float()  # zero for all classes where it is unknown

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        assert batch.target is not None  # the data set calls target()
        learn = heavy_tailed_loss if self.heavy_tailed else segmentation_loss
        return {"segmentation": learn(self.primary(self.backbone(batch.image)), batch.target)}

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        return Prediction(self.primary(self.backbone(image)).float().softmax(1))
