"""What each method can be told: a section of the configuration each."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MethodName = Literal[
    "uma-net", "majority", "staple", "mean", "union", "intersection", "random", "single", "truth",
    "confusion-matrix", "annotator-heads", "truncated-gce", "prob-unet", "stochastic-segmentation", "mr-net", "padl",
    "pionono", "persona", "co-teaching", "t-loss", "ensemble",
]  # fmt: skip


class Options(BaseModel):
    """Unknown keys are errors; values do not change after creation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SegmentationLoss = Literal["heavy-tailed", "ce-dice"]
"""heavy-tailed: images that are far from their target pull little harder than those that are near.
ce-dice: cross-entropy and Dice, of which gross errors in the target take the largest share."""


class UmaNetOptions(Options):
    """UMA-Net's own options; docs/concepts/method.md has the formulas."""

    grade: Literal["auto", "image", "annotation", "none"] = "auto"
    """What QAM grades into high and low quality: whole images (journal version), single annotations (v1), nothing.
    auto: images, but nothing where a patch shows less than half of one: what it happens to show would look like
    quality."""
    target: Literal["auto", "hard", "soft"] = "auto"
    """hard: better masks when annotators make gross errors. soft: better calibrated when they disagree in earnest.
    auto: hard where annotators are identified, as it can then be learned who errs; soft where they are anonymous."""
    loss: Literal["auto", "heavy-tailed", "ce-dice"] = "auto"
    """What the predictors learn with: see ``SegmentationLoss``. auto: heavy-tailed for hard targets, ce-dice for soft
    ones."""
    weights: Literal["normalised", "total"] = "normalised"
    """Pixel weight of the loss: every pixel alike, or less where no annotator is reliable."""
    reliability: bool = True
    """Weight annotators by their running reliability (only where annotators are identified)."""
    sharpness: float = Field(default=2.0, ge=0)
    """Exponent of an annotator's factor in what the predictors learn: larger listens more to the most reliable."""
    power: float | None = Field(default=None, ge=0)
    """Exponent of w in what the predictors learn; 0: every voxel of an annotation counts alike. Default: between 1 and
    0, the lower the more alike annotators are in reliability or, where they are anonymous, the less w tells the sides
    of disputes apart."""
    uncertainty_loss: Literal["bce", "attenuated"] = "bce"
    """bce: w learns P(right). attenuated: w * CE + lambda * u, which dies on small objects; for comparison."""
    attenuation: float = Field(default=0.3, gt=0)
    """lambda of the attenuated loss."""
    kappa: float = Field(default=1.0, ge=0)
    """Votes that the network has in the consensus an annotation is compared with."""
    network_vote: float = Field(default=0.5, ge=0)
    """Votes of the network in the consensus that is written (the most reliable annotator has one); it never learns
    from its own."""
    k: float = Field(default=2.0, gt=0)
    """Robust standard deviations below the median at which a quality is low."""
    quality_floor: float = Field(default=0.05, ge=0)
    """Least distance below the median at which a quality is low."""
    mu: float = Field(default=0.5, ge=0)
    """Weight of the auxiliary predictor's loss."""
    width: int = Field(default=12, ge=1)
    """Channels inside the annotation uncertainty module."""
    stride: int = Field(default=4, ge=1)
    """Voxels per cell, along every axis, of the grid on which that module looks at single annotations."""
    embedding: bool = True
    """Whether that module knows who drew an annotation (only where annotators are identified)."""
    weight_warm_up: float = Field(default=0.15, ge=0, le=1)
    """Share of the steps before annotations are weighted."""
    grade_warm_up: float = Field(default=0.30, ge=0, le=1)
    """Share of the steps before samples are graded."""
    margin: int = Field(default=3, ge=0)
    """Voxels of the working grid by which the region of interest is dilated."""
    memory: int = Field(default=256, ge=8)
    """Over how many of the last images (with all their annotations) the median and the spread are taken."""


class FusionOptions(Options):
    """How the fused targets of the baselines are made, and learned."""

    loss: SegmentationLoss = "ce-dice"
    """As nnU-Net learns labels: ce-dice. heavy-tailed: as UMA-Net learns its consensus, for comparison."""

    ties: Literal["background", "lowest", "highest", "split"] = "lowest"
    """Majority vote where classes tie: the lowest class index among them (background, if it is one), background
    always, the highest index, or equal shares."""
    annotator: str | None = None
    """Whose annotations ``single`` takes; by default the annotator with the most cases."""


class ConfusionMatrixOptions(Options):
    """CM-Net."""

    matrices: Literal["voxel", "global"] = "voxel"
    """A matrix per annotator and voxel, or per annotator."""
    trace: float = Field(default=0.01, ge=0)
    """Weight of the mean trace, which is minimised: as much as possible is to be explained by the matrices."""
    warm_up: float = Field(default=0.3, ge=0, le=1)
    """Share of the steps before the matrices learn."""


class TruncatedGceOptions(Options):
    """Truncated generalised cross-entropy."""

    q: float = Field(default=0.5, gt=0, le=1)
    """Towards 0 it is cross-entropy, at 1 the mean absolute error (0.1 in seg_tgce)."""


class LatentOptions(Options):
    """The latent space of prob-unet and persona; of pionono the space of annotators."""

    dimensions: int = Field(default=6, ge=1)
    beta: float = Field(default=1.0, ge=0)
    """Weight of the Kullback-Leibler divergence per image; the reconstruction counts per image too."""
    samples: int = Field(default=16, ge=2)
    """How many are drawn to predict; always the same ones."""


class StochasticOptions(Options):
    """Stochastic segmentation networks."""

    rank: int = Field(default=10, ge=1)
    """Of the covariance of the logits."""
    draws: int = Field(default=20, ge=2)
    """Samples of the logits per image in training."""
    samples: int = Field(default=16, ge=2)
    """How many are drawn to predict; always the same ones."""


class CoTeachingOptions(Options):
    """Co-teaching."""

    forget: float = Field(default=0.1, ge=0, lt=1)
    """Share of the images, those with the largest loss, that the other network does not learn from."""
    warm_up: float = Field(default=0.3, gt=0, le=1)
    """Share of the steps over which this share grows from 0."""


class EnsembleOptions(Options):
    """Several networks of one method."""

    of: MethodName = "majority"
    """The method of the members."""
    members: int = Field(default=5, ge=2)
