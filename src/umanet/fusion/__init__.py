"""One annotation out of several, without looking at the image. ``voting`` states the signature they share."""

from collections.abc import Callable

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

Fusion = Callable[..., Fused]
"""``(annotations, present, num_classes, **options) -> (probabilities, confusion)``."""

FUSIONS: dict[str, Fusion] = {
    "majority": majority_vote,
    "staple": staple,
    "mean": mean,
    "union": union,
    "intersection": intersection,
    "random": random_annotator,
    "single": single_annotator,
}
"""By their names in the configuration."""

__all__ = [
    "FUSIONS",
    "Fused",
    "Fusion",
    "intersection",
    "majority_vote",
    "mean",
    "random_annotator",
    "single_annotator",
    "staple",
    "union",
]
