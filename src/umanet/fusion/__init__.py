"""One annotation out of several, without looking at the image. ``voting`` states the signature they share."""

from umanet.fusion.named import FUSIONS, Fusion, find_fusion, fusion_options
from umanet.fusion.patterns import Fused
from umanet.fusion.staple import staple
from umanet.fusion.voting import (
    intersection,
    majority_vote,
    mean,
    random_annotator,
    single_annotator,
    union,
)

__all__ = [
    "FUSIONS",
    "Fused",
    "Fusion",
    "find_fusion",
    "fusion_options",
    "intersection",
    "majority_vote",
    "mean",
    "random_annotator",
    "single_annotator",
    "staple",
    "union",
]
