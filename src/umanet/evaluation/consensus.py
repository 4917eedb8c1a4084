"""One answer of all annotators of a case, to score labels against; made when a metric first asks for it."""

import warnings
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from umanet.fusion import staple
from umanet.fusion.staple import OneClassWarning
from umanet.types import Sample


class Consensus:
    """Of one case, for all its classes together."""

    def __init__(self, sample: Sample, num_classes: int):
        self.sample, self.num_classes = sample, num_classes

    @cached_property
    def staple(self) -> UInt8[np.ndarray, "*spatial"]:
        """The most probable class by STAPLE, ties to the lowest; where all hold one class everywhere, that class."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneClassWarning)
            probabilities, _ = staple(self.sample.annotations.numpy(), self.sample.present.numpy(), self.num_classes)
        return probabilities.argmax(axis=0).astype(np.uint8)
