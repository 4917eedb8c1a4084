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
    shown_where,
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
    features_of,
    region_of_interest,
    shared,
)
from umanet.models.annotated_voxels import values_at
from umanet.models.disputes import RUNNING_MEAN, add_fading, sums_by_class
from umanet.models.region import one_hot
from umanet.models.seen_annotations import SeenAnnotations
from umanet.ranks import gathered, over_ranks, ranks
from umanet.soft_labels import as_interpolated, expected_dice
from umanet.types import AnnotationGrades, Batch, Prediction, Task, as_index

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
        self.annotators, self.drawn, self.classes = task.annotators, task.drawn, task.num_classes
        self.identified = task.annotators_are_identified
        self.weighs_annotators = self.identified and self.options.reliability
        auto = "hard" if self.identified else "soft"
        self.hard = (auto if self.options.target == "auto" else self.options.target) == "hard"
        auto = "heavy-tailed" if self.hard else "ce-dice"
        self.heavy_tailed = (auto if self.options.loss == "auto" else self.options.loss) == "heavy-tailed"
        self.backbone = Backbone(task, config.backbone)
        self.primary = Predictor(task, features)
        self.auxiliary = Predictor(task, features)
        self.uncertainty = AnnotationUncertainty(
            task, features, self.options.width, self.options.stride, embedding=self.options.embedding
        )
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
        features = shared(self.backbone(batch.image))
        logits, total = self.primary(features), self.options.weights == "total"
        with torch.no_grad():
            seen = SeenAnnotations.of(
                batch, logits.float().softmax(1), self.options.margin, self.drawn, all_unsettled=total
            )
        at_odds, quality, uncertainty = self._doubt(features.detach(), batch, seen)
        weights, factors = seen.some.shown.float().expand_as(at_odds), batch.present.float()
        if progress >= self.options.weight_warm_up:
            factors = self._factors(batch.present)
            weights = at_odds ** self._power() * seen.some.of_images(factors**self.options.sharpness)
        low = self._low(quality, batch.present, graded=progress >= self.options.grade_warm_up)
        given = seen, weights, at_odds
        return {
            "segmentation": self._teach(logits, factors * ~low, *given),
            "auxiliary": self.options.mu * self._teach_auxiliary(features, factors * low, *given),
            "uncertainty": uncertainty,
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
        shown = shown_where(annotations, present)
        reliability = torch.exp(-own_uncertainty) * shown
        region = region_of_interest((annotations * shown).amax(1), probabilities, self.options.margin)
        counted = region[:, None] & shown
        own = self._quality(reliability, annotations, counted.float(), present)
        weights = reliability * _over_space(self._factors(present), reliability)
        network = self.options.network_vote * probabilities
        consensus = weighted_consensus(as_index(annotations), weights, network, probabilities, self.drawn)
        quality = expected_dice(consensus, annotations, counted, self.draws)
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
        for own in ("annotator", "habit"):
            values = getattr(self.uncertainty, own)
            if values is not None:
                setattr(other.uncertainty, own, torch.nn.Parameter(choose(values.data, values.data.mean(0))))
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
        counted: Float[Tensor, "B R *spatial"],
        present: Bool[Tensor, "B R"],
    ) -> Float[Tensor, "B R"]:
        """What QAM grades by. Where annotators are anonymous, only what is rather wrong than right counts.

        Else an image on which good readers differ, so that w is a half, would be called as low as one with bad work.
        """
        believed = reliability if self.identified else (2 * reliability).clamp_max(1)
        return annotation_quality(believed, annotations, counted, present)

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
            self.image_quality.remember(gathered(of_image))
            self.annotation_quality.remember(gathered(quality))
        if not graded or self.options.grade == "none":
            return torch.zeros_like(present)
        single = self.options.grade == "annotation"
        low = self.annotation_quality.is_low(quality) if single else self.image_quality.is_low(of_image)
        low = low.expand_as(present) & present
        if self.training:
            number, of = over_ranks(torch.stack([low.sum(), present.sum()]))
            self.low_share.lerp_(number / of.clamp_min(1), 1 - RUNNING_MEAN)
        return low

    def _doubt(
        self, features: Float[Tensor, "B F *spatial"], batch: Batch, seen: SeenAnnotations
    ) -> tuple[Float[Tensor, "1 R S"], Float[Tensor, "B R"], Float[Tensor, ""]]:
        """Reliability at the unsettled voxels, quality of each annotation, and the loss that teaches reliability."""
        row, labels = seen.row, seen.row.labels.long()
        around = row.of_maps(self.uncertainty.around(features, batch.annotations, silent=batch.silent))
        wrong = (around + self.uncertainty.against(row.of_maps(features), labels)).float()
        uncertainty = functional.softplus(wrong.detach())
        reliability = torch.sigmoid(-wrong.detach()).mul_(row.shown)
        at_odds, quality = values_at(reliability, seen.unsettled), self._quality_of_images(reliability, seen)
        self._observe(uncertainty, at_odds, seen, quality)
        agreement = leave_one_out_agreement(reliability, labels, seen.probabilities, self.options.kappa, self.drawn)
        attenuation = self.options.attenuation if self.options.uncertainty_loss == "attenuated" else None
        said = wrong, uncertainty, reliability
        return at_odds, quality, uncertainty_loss(*said, agreement, seen.counted, attenuation)

    def _quality_of_images(self, reliability: Float[Tensor, "1 R D"], seen: SeenAnnotations) -> Float[Tensor, "B R"]:
        found = []
        for b, at in enumerate(seen.row.by_image):
            rows = reliability[..., at], seen.row.labels[..., at], seen.counted[..., at]
            found.append(self._quality(*rows, seen.row.present[b, None]))
        return torch.cat(found)

    def _teach_auxiliary(
        self,
        features: Float[Tensor, "B F *spatial"],
        teachers: Float[Tensor, "B R"],
        seen: SeenAnnotations,
        weights: Float[Tensor, "1 R S"],
        at_odds: Float[Tensor, "1 R S"],
    ) -> Float[Tensor, ""]:
        """As ``_teach``; the predictor sees only the images that teach it."""
        teach = teachers.any(1).nonzero()[:, 0]
        if len(teach):
            return self._teach(self.auxiliary(features_of(features, teach)), teachers, seen, weights, at_odds, teach)
        nothing = torch.stack([parameter.sum() for parameter in self.auxiliary.parameters()]).sum() * 0.0
        if ranks() == 1:
            return nothing
        nobody = features.new_zeros(0, self.classes, *features.shape[2:])
        return nothing + self._teach(nobody, teachers, seen, weights, at_odds, teach)

    def _teach(
        self,
        logits: Float[Tensor, "N K *spatial"],
        teachers: Float[Tensor, "B R"],
        seen: SeenAnnotations,
        weights: Float[Tensor, "1 R S"],
        at_odds: Float[Tensor, "1 R S"],
        images: Integer[Tensor, " N"] | slice = slice(None),
    ) -> Float[Tensor, ""]:
        """The segmentation loss of one predictor with the weighted consensus of its teachers (F_r, or 0 if not one).

        An image counts as much as the most reliable of its teachers. Voxels of which none of them says anything have
        a target of zeros, which is not learned.
        """
        chosen, likely = seen.some.of_images(teachers > 0), values_at(seen.probabilities, seen.unsettled)
        nobody = torch.zeros_like(likely)
        consensus = weighted_consensus(seen.some.labels, weights * chosen, nobody, likely, self.drawn)
        if self.hard:
            known = consensus.sum(1, keepdim=True) > HALF
            consensus = one_hot(consensus.max(1).indices, self.classes) * known
        target = seen.settled.clone()
        seen.some.write(target, consensus)
        target = target if self.hard else as_interpolated(target)
        target, image_weight, weight = target[images], teachers.amax(1)[images], None
        if self.options.weights == "total":
            weight = torch.ones_like(seen.settled[:, 0])
            mean = (at_odds * chosen).sum(1, keepdim=True) / chosen.sum(1, keepdim=True).clamp_min(1)
            seen.some.write(weight[:, None], mean)
            weight = weight[images]
        if self.heavy_tailed:
            return heavy_tailed_loss(logits, target, image_weight, weight)
        of_image = _over_space(image_weight, target[:, 0]).expand_as(target[:, 0])
        weight = of_image if weight is None else weight * of_image
        return segmentation_loss(logits, target, weight, use=image_weight > 0)

    @torch.no_grad()
    def _observe(
        self,
        uncertainty: Float[Tensor, "1 R D"],
        at_odds: Float[Tensor, "1 R S"],
        seen: SeenAnnotations,
        quality: Float[Tensor, "B R"],
    ) -> None:
        """Running sums. a_r comes from w alone, never from F, so that reliability cannot feed on itself.

        Images of low quality do not count for a_r: they say little about who is usually right.
        """
        if not self.training:
            return
        if not self.identified:
            apart = at_odds.amax(1) - at_odds.masked_fill(~seen.some.shown, 1).amin(1)
            total, number = over_ranks(torch.stack([(apart[0] * seen.contrary).sum(), seen.contrary.sum()]))
            self.decided.lerp_(total / number.clamp_min(1), (1 - RUNNING_MEAN) * (number > 0))
        usual = ~self.image_quality.is_low(quality.nanmean(1, keepdim=True))
        if self.options.grade == "none":
            usual = torch.ones_like(usual)
        counts = seen.contrary & seen.some.of_images(usual) & seen.some.shown
        said = torch.stack(sums_by_class(at_odds, seen.some.labels, counts, self.classes))
        doubt = torch.stack([(uncertainty * seen.counted).sum([0, 2]), seen.counted.sum([0, 2])])
        add_fading(self.right, self.said, *over_ranks(said))
        add_fading(self.doubt, self.seen, *over_ranks(doubt))


def _over_space(values: Tensor, like: Tensor) -> Tensor:
    """(B, R) or (B,) values, ready to be multiplied with (B, R, *spatial) or (B, *spatial) maps."""
    return values.view(*values.shape, *[1] * (like.ndim - values.ndim))
