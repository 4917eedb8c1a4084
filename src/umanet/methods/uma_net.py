"""UMA-Net: learns from all annotations at once, each weighted voxel by voxel by how likely it is to be right.

The parts (annotation uncertainty, quality, primary and auxiliary predictor) are the paper's; the formulas are ours,
chosen by trial, because the paper's text and code were not available to us. docs/concepts/method.md has them all.

Reference:
    Wang, Luo, Wu, Wang, Chen: "Learning robust medical image segmentation from multi-source annotations", Medical
    Image Analysis 101, 2025, 103489, DOI 10.1016/j.media.2025.103489.
"""

import copy
import math
from typing import final

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from umanet.config import RunConfig
from umanet.losses import (
    HALF,
    for_all,
    heavy_tailed_loss,
    leave_one_out_agreement,
    log_probability_of,
    segmentation_loss,
    uncertainty_loss,
    weighted_consensus,
    who_draws,
)
from umanet.methods.method import Method
from umanet.models import (
    AnnotationUncertainty,
    Backbone,
    Predictor,
    QualityAssessment,
    annotation_quality,
    region_of_interest,
)
from umanet.soft_labels import as_interpolated, expected_dice
from umanet.types import IGNORE, AnnotationGrades, Batch, Prediction, Task, rest_votes

RUNNING_MEAN = 0.97
# Of annotators while nothing is known about any: the module starts with w = 0.88.
START_RELIABILITY = 0.88
RELIABILITY_LIMITS = (0.05, 0.95)
LEAST_FACTOR = 0.05
# That an annotation is right, in what is written of it.
LEAST_PROBABILITY = 1e-6


@final
class UMANet(Method):
    """Backbone, primary and auxiliary predictor, annotation uncertainty and quality assessment modules.

    Buffers that are saved with it: running sums per annotator, over the disputed voxels that are called k (``right``:
    of w; ``said``: of ones) and over the region of interest (``doubt``: of u; ``seen``: of ones), and ``low_share``,
    the running share graded low. Sums fade; only their ratios mean something. ``draws``: who says which class.
    ``decided``, where annotators are anonymous: how far w tells the sides of a dispute apart, in [0, 1].
    """

    right: Float[Tensor, "R K"]
    said: Float[Tensor, "R K"]
    doubt: Float[Tensor, " R"]
    seen: Float[Tensor, " R"]
    low_share: Float[Tensor, ""]
    decided: Float[Tensor, ""]
    draws: Bool[Tensor, "R K"]

    def __init__(self, task: Task, config: RunConfig):
        super().__init__(task, config)
        self.options, features = config.uma_net, config.backbone.features
        self.annotators, self.drawn = task.annotators, task.drawn
        self.identified = task.annotators_are_identified
        self.weighs_annotators = self.identified and self.options.reliability
        auto = "hard" if self.identified else "soft"
        self.hard = (auto if self.options.target == "auto" else self.options.target) == "hard"
        auto = "heavy-tailed" if self.hard else "ce-dice"
        self.heavy_tailed = (auto if self.options.loss == "auto" else self.options.loss) == "heavy-tailed"
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, features)
        self.auxiliary = Predictor(task, features)
        self.uncertainty = AnnotationUncertainty(task, features, self.options.width, embedding=self.options.embedding)
        self.image_quality, self.annotation_quality = (
            QualityAssessment(self.options.memory * each, self.options.k, self.options.quality_floor)
            for each in (1, len(task.annotators))
        )
        for sums, shape in (("right", (task.num_classes,)), ("said", (task.num_classes,)), ("doubt", ()), ("seen", ())):
            self.register_buffer(sums, torch.zeros(len(task.annotators), *shape))
        self.register_buffer("low_share", torch.zeros(()))
        self.register_buffer("decided", torch.zeros(()), persistent=not self.identified)
        self.register_buffer("draws", who_draws(self.drawn, *self.right.shape), persistent=False)

    def predict(self, image: Float[Tensor, "B C *spatial"]) -> Prediction:
        return Prediction(self.primary(self.backbone(image)).float().softmax(1))

    def loss(self, batch: Batch, progress: float) -> dict[str, Float[Tensor, ""]]:
        features = self.backbone(batch.image)
        logits = self.primary(features)
        probabilities = logits.detach().float().softmax(1)
        wrong = self.uncertainty(features.detach(), batch.annotations).float()
        shown = _speaks(batch.annotations, batch.present)
        reliability = torch.sigmoid(-wrong.detach()) * shown
        region = region_of_interest(batch.annotations, batch.present, probabilities, self.options.margin)
        quality = self._quality(reliability, batch.annotations, region, batch.present)
        self._observe(reliability, functional.softplus(wrong.detach()), region, quality, batch)

        weights, factors = shown.expand_as(reliability).float(), batch.present.float()
        if progress >= self.options.weight_warm_up:
            factors = self._factors(batch.present)
            trust = _over_space(factors**self.options.sharpness, reliability)
            weights = reliability ** self._power() * trust * shown
        low = self._low(quality, batch.present, graded=progress >= self.options.grade_warm_up)
        attenuation = self.options.attenuation if self.options.uncertainty_loss == "attenuated" else None
        agreement = leave_one_out_agreement(
            reliability, batch.annotations, probabilities, self.options.kappa, self.drawn
        )
        given = batch, probabilities, weights, reliability
        auxiliary = self._teach(self.auxiliary(features), factors * low, *given)
        return {
            "segmentation": self._teach(logits, factors * ~low, *given),
            "auxiliary": self.options.mu * auxiliary,
            "uncertainty": uncertainty_loss(wrong, agreement, region[:, None] & shown, attenuation),
        }

    def grade(self, batch: Batch) -> AnnotationGrades:
        return self.assess(*self.own_uncertainty(batch), batch.annotations, batch.present)

    def own_uncertainty(self, batch: Batch) -> tuple[Float[Tensor, "B R *spatial"], Float[Tensor, "B K *spatial"]]:
        features = self.backbone(batch.image)
        uncertainty = functional.softplus(self.uncertainty(features, batch.annotations).float())
        return uncertainty, self.primary(features).float().softmax(1)

    def assess(
        self,
        own_uncertainty: Float[Tensor, "B R *spatial"],
        probabilities: Float[Tensor, "B K *spatial"],
        annotations: Integer[Tensor, "B R *spatial"],
        present: Bool[Tensor, "B R"],
    ) -> AnnotationGrades:
        shown = _speaks(annotations, present)
        reliability = torch.exp(-own_uncertainty) * shown
        region = region_of_interest(annotations, present, probabilities, self.options.margin)
        own = self._quality(reliability, annotations, region, present)
        weights = reliability * _over_space(self._factors(present), reliability)
        network = self.options.network_vote * probabilities
        consensus = weighted_consensus(annotations, weights, network, probabilities, self.drawn)
        quality = expected_dice(consensus, annotations, region[:, None] & shown, self.draws)
        expected = for_all(consensus.clamp(LEAST_PROBABILITY, 1).log(), annotations)
        return AnnotationGrades(
            -log_probability_of(expected, annotations, self.drawn) * shown,
            quality,
            quality.nanmean(1),
            self.annotation_quality.is_low(own),
            self.image_quality.is_low(own.nanmean(1)),
            consensus,
            probabilities,
        )

    def annotator_reliability(self) -> Float[Tensor, " R"] | None:
        return self._reliability().cpu() if self.weighs_annotators else None

    def with_annotators(self, annotators: tuple[str, ...], drawn: tuple[tuple[int, ...], ...] = ()) -> "UMANet":
        """A copy for other annotators: known ones keep what was learned, new ones count as the mean of these."""
        other = copy.deepcopy(self)
        other.annotators, other.drawn = annotators, drawn
        rows = [self.annotators.index(name) if name in self.annotators else None for name in annotators]

        def choose(values: Tensor, new: Tensor) -> Tensor:
            return torch.stack([new if row is None else values[row] for row in rows])

        for sums in ("right", "said", "doubt", "seen"):
            values = getattr(self, sums)
            setattr(other, sums, choose(values, torch.zeros_like(values[0])))
        other.draws = who_draws(drawn, *other.right.shape).to(self.right.device)
        embedding = self.uncertainty.annotator
        if embedding is not None:
            other.uncertainty.annotator = torch.nn.Parameter(choose(embedding.data, embedding.data.mean(0)))
        return other

    def monitor(self) -> dict[str, float]:
        """Of annotators who occurred; ``reliability`` only of those whose annotations were ever disputed.

        Anonymous annotators are not named.
        """
        seen = {"low_quality_share": float(self.low_share)}
        if self.said.any():
            seen["reliability_where_disputed"] = float(self.right.sum() / self.said.sum())
        if not self.identified:
            return seen
        for kind, values in (("uncertainty", self.doubt / self.seen), ("reliability", self._reliability())):
            named = zip(self.annotators, values.tolist(), strict=True)
            seen |= {f"{kind}/{name}": value for name, value in named if not math.isnan(value)}
        return seen

    def _quality(
        self,
        reliability: Float[Tensor, "B R *spatial"],
        annotations: Integer[Tensor, "B R *spatial"],
        region: Bool[Tensor, "B *spatial"],
        present: Bool[Tensor, "B R"],
    ) -> Float[Tensor, "B R"]:
        """What QAM grades by. Where annotators are anonymous, only what is rather wrong than right counts.

        Else an image on which good readers differ, so that w is a half, would be called as low as one with bad work.
        """
        believed = reliability if self.identified else (2 * reliability).clamp_max(1)
        return annotation_quality(believed, annotations, region, present)

    def _reliability(self) -> Float[Tensor, " R"]:
        """a_r, the lowest of accuracy, mean precision and mean recall in disputed voxels; NaN without disputes.

        All as w has it, means over classes. Where r is wrong, other classes are true as often as they are in all
        disputes. Each can be deceived: accuracy by who hardly draws anything, where most of what is disputed is
        background; precision by who draws too much and is right in the little that is left out; recall by who draws too
        much of what is small.
        """
        often = self.right.sum(0) / self.right.sum()
        wrong = (self.said - self.right) / (1 - often).clamp_min(1e-6)
        missed = often * (wrong.sum(1, keepdim=True) - wrong)
        recall = (self.right / (self.right + missed)).masked_fill(~self.draws, torch.nan)
        precision = self.right / self.said
        precision = torch.where(precision.isnan(), precision.nanmean(0), precision)  # never said: as others are
        accuracy = self.right.sum(1) / self.said.sum(1)
        return torch.stack([accuracy, precision.nanmean(1), recall.nanmean(1)]).amin(0)

    def _factors(self, present: Bool[Tensor, "B R"]) -> Float[Tensor, "B R"]:
        """F_r in (0, 1], 1 for the most reliable annotator; 0 where absent.

        Independent sources combine by log-odds, so F is the logit of an annotator's reliability. Annotators of whom
        nothing is known count as the mean of the others.
        """
        if not self.weighs_annotators:
            return present.float()
        reliability = self._reliability().to(present.device)
        mean = reliability.nanmean().nan_to_num(START_RELIABILITY)
        reliability = torch.where(reliability.isnan(), mean, reliability)
        logit = torch.logit(reliability.clamp(*RELIABILITY_LIMITS)).clamp_min(LEAST_FACTOR)
        return logit / logit.max() * present

    def _power(self) -> Float[Tensor, ""] | float:
        """Of w: by how much the others fall short of the most reliable annotator, mean of 1 - F; 1 where not known.

        Where all are alike, errors cancel out best in a vote in which nobody counts more at any voxel. Of anonymous
        annotators: how far w decides their disputes. Where it cannot, they are doubt, of which each has a share.
        """
        if self.options.power is not None:
            return self.options.power
        if not self.identified:
            return self.decided
        if not self.weighs_annotators or len(self.annotators) == 1:
            return 1.0
        everybody = torch.ones(1, len(self.annotators), dtype=torch.bool, device=self.right.device)
        return (1 - self._factors(everybody)).sum() / (len(self.annotators) - 1)

    def _low(self, quality: Float[Tensor, "B R"], present: Bool[Tensor, "B R"], *, graded: bool) -> Bool[Tensor, "B R"]:
        """Which annotations teach the auxiliary predictor: all of a low image, or the low ones."""
        of_image = quality.nanmean(1, keepdim=True)
        if self.training:
            self.image_quality.remember(of_image)
            self.annotation_quality.remember(quality)
        if not graded or self.options.grade == "none":
            return torch.zeros_like(present)
        single = self.options.grade == "annotation"
        low = self.annotation_quality.is_low(quality) if single else self.image_quality.is_low(of_image)
        low = low.expand_as(present) & present
        if self.training:
            self.low_share.lerp_(low.sum() / present.sum().clamp_min(1), 1 - RUNNING_MEAN)
        return low

    def _teach(
        self,
        logits: Float[Tensor, "B K *spatial"],
        teachers: Float[Tensor, "B R"],
        batch: Batch,
        probabilities: Float[Tensor, "B K *spatial"],
        weights: Float[Tensor, "B R *spatial"],
        reliability: Float[Tensor, "B R *spatial"],
    ) -> Float[Tensor, ""]:
        """The segmentation loss of one predictor with the weighted consensus of its teachers (F_r, or 0 if not one).

        An image counts as much as the most reliable of its teachers. Voxels of which none of them says anything have
        a target of zeros, which is not learned.
        """
        chosen = _over_space(teachers > 0, weights)
        nobody = torch.zeros_like(logits)
        target = weighted_consensus(batch.annotations, weights * chosen, nobody, probabilities, self.drawn)
        if self.hard:
            unknown = target.sum(1, keepdim=True) < HALF
            target = functional.one_hot(target.max(1).indices, logits.shape[1]).movedim(-1, 1).float()
            target = target.masked_fill(unknown, 0) if unknown.any() else target
        else:
            target = as_interpolated(target)
        image_weight, weight = teachers.amax(1), torch.ones_like(target[:, 0])
        if self.options.weights == "total":
            weight = (reliability * chosen).sum(1) / chosen.sum(1).clamp_min(1)
        if self.heavy_tailed:
            return heavy_tailed_loss(logits, target, image_weight, weight)
        return segmentation_loss(logits, target, weight * _over_space(image_weight, weight), use=image_weight > 0)

    @torch.no_grad()
    def _observe(
        self,
        reliability: Float[Tensor, "B R *spatial"],
        uncertainty: Float[Tensor, "B R *spatial"],
        region: Bool[Tensor, "B *spatial"],
        quality: Float[Tensor, "B R"],
        batch: Batch,
    ) -> None:
        """Running sums. a_r comes from w alone, never from F, so that reliability cannot feed on itself.

        Images of low quality do not count for a_r: they say little about who is usually right.
        """
        if not self.training:
            return
        shown = _speaks(batch.annotations, batch.present)
        differ = _differ(batch.annotations, shown, self.drawn, self.said.shape[1])
        if not self.identified and differ.any():
            apart = reliability.amax(1) - reliability.masked_fill(~shown, 1).amin(1)
            self.decided.lerp_(apart[differ].mean(), 1 - RUNNING_MEAN)
        usual = ~self.image_quality.is_low(quality.nanmean(1, keepdim=True))
        if self.options.grade == "none":
            usual = torch.ones_like(usual)
        disputed = (differ & _over_space(usual[:, 0], differ))[:, None] & shown
        said = _sums_by_class(reliability, batch.annotations, disputed, self.said.shape[1])
        _add(self.right, self.said, *said)
        over_images_and_space = [0, *range(2, uncertainty.ndim)]
        inside = region[:, None] & shown
        _add(
            self.doubt,
            self.seen,
            (uncertainty * inside).sum(over_images_and_space),
            inside.sum(over_images_and_space).float(),
        )


def _speaks(annotations: Integer[Tensor, "B R *spatial"], present: Bool[Tensor, "B R"]) -> Bool[Tensor, "B R *any"]:
    """Where an annotation says something; with axes of length 1 where that is everywhere."""
    shown, ignored = _over_space(present, annotations), annotations == IGNORE
    return shown & ~ignored if ignored.any() else shown


def _differ(
    annotations: Integer[Tensor, "B R *spatial"],
    shown: Bool[Tensor, "B R *any"],
    drawn: tuple[tuple[int, ...], ...],
    num_classes: int,
) -> Bool[Tensor, "B *spatial"]:
    """Where no class is possible by all that is said."""
    rest = rest_votes(annotations, drawn, num_classes)
    if not rest:
        highest = annotations.masked_fill(~shown, 0).amax(1)
        lowest = annotations.masked_fill(~shown, torch.iinfo(annotations.dtype).max).amin(1)
        return (highest != lowest) & shown.any(1)
    definite = shown.expand_as(annotations).clone()
    for r, (where, _) in rest.items():
        definite[:, r] &= ~where
    images, _, *spatial = annotations.shape
    possible_by = torch.zeros(images, num_classes, *spatial, device=annotations.device)
    possible_by.scatter_add_(1, annotations.masked_fill(annotations == IGNORE, 0).long(), definite.float())
    for r, (where, possible) in rest.items():
        possible_by += (where & shown[:, r])[:, None] * possible.view(1, -1, *[1] * len(spatial))
    return possible_by.amax(1) < shown.sum(1)


def _sums_by_class(
    values: Float[Tensor, "B R *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    where: Bool[Tensor, "B R *spatial"],
    classes: int,
) -> tuple[Float[Tensor, "R K"], Float[Tensor, "R K"]]:
    """Sum and number of the values that lie in ``where``, per annotator and class that is said there."""
    annotators = values.shape[1]
    first = torch.arange(annotators, device=values.device) * classes
    said = (_over_space(first[None], annotations) + annotations)[where]
    sums = torch.zeros(2, annotators * classes, device=values.device)
    sums.index_add_(1, said, torch.stack([values[where], torch.ones_like(values[where])]))
    total, count = sums.view(2, annotators, classes)
    return total, count


def _add(
    total: Float[Tensor, "R *k"],
    count: Float[Tensor, "R *k"],
    more: Float[Tensor, "R *k"],
    counted: Float[Tensor, "R *k"],
) -> None:
    """Let the sums of the annotators who occur in a batch fade, and add those of the batch."""
    occurs = (counted.flatten(1).sum(1) if counted.ndim > 1 else counted) > 0
    fade = torch.where(occurs, RUNNING_MEAN, 1.0).view(-1, *[1] * (total.ndim - 1))
    total.mul_(fade).add_(more)
    count.mul_(fade).add_(counted)


def _over_space(values: Tensor, like: Tensor) -> Tensor:
    """(B, R) or (B,) values, ready to be multiplied with (B, R, *spatial) or (B, *spatial) maps."""
    return values.view(*values.shape, *[1] * (like.ndim - values.ndim))
