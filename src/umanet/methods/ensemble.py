"""Ensemble: several networks of one method; they differ by where they start.

Reference:
    Lakshminarayanan, Pritzel, Blundell: "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
    NeurIPS 2017, DOI 10.48550/arXiv.1612.01474.

Changed: the members see the same batches and are trained together, so that an ensemble is one run like any other; hence
their sum of gradients is clipped, not each one's. Without adversarial examples, an option of the paper. An ensemble
only predicts: one of UMA-Net neither grades annotations nor writes their reliability down.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from umanet.config import RunConfig
from umanet.errors import ConfigError
from umanet.methods.method import Method
from umanet.types import Batch, Case, Prediction, Sample, Task


@final
class Ensemble(Method):
    """Members of one method; what they predict is the mean, and a sample each."""

    deployed = ("members",)
    samples = True

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        from umanet.methods import METHODS  # which has this class in it

        if config.ensemble.of == config.method:
            raise ConfigError("ensemble.of = 'ensemble' found, another method expected. Mend it.")
        own = RunConfig.model_validate(config.model_dump() | {"method": config.ensemble.of})
        self.members = nn.ModuleList(METHODS[own.method](task, own) for _ in range(config.ensemble.members))
        self.target_depends_on_epoch = self.first.target_depends_on_epoch
        self.has_idle_parts = self.first.has_idle_parts
        self.per_annotator = self.first.per_annotator  # type: ignore[misc]  # of this ensemble, not of all

    @property
    def first(self) -> Method:
        member = self.members[0]
        assert isinstance(member, Method)
        return member

    def trains_on(self, case: Case) -> bool:
        return self.first.trains_on(case)

    @property
    def has_target(self) -> bool:
        return self.first.has_target

    def target(self, sample: Sample, epoch: int) -> Float[Tensor, "K *spatial"] | None:
        return self.first.target(sample, epoch)

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        terms = [member.loss(batch, progress) for member in self.members]  # type: ignore[operator]  # methods
        return {name: torch.stack([term[name] for term in terms]).sum() for name in terms[0]}

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        found = [member.predict(image) for member in self.members]  # type: ignore[operator]  # methods
        samples = torch.stack([one.probabilities for one in found], 1)
        personal = None
        if found[0].annotator_probabilities is not None:
            personal = torch.stack([one.annotator_probabilities for one in found]).mean(0)
        return Prediction(samples.mean(1), personal, samples)
