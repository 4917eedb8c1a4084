"""One answer of all annotators of a case, to score labels against; made when a metric first asks for it."""

import warnings
from functools import cached_property

import numpy as np
from jaxtyping import Bool, UInt8

from umanet.fusion import staple
from umanet.fusion.staple import OneClassWarning
from umanet.types import IGNORE, Sample


class Consensus:
    """Of one case, for all its classes together."""

    def __init__(self, sample: Sample, num_classes: int, drawn: tuple[tuple[int, ...], ...] = ()):
        self.sample, self.num_classes, self.drawn = sample, num_classes, drawn

    @cached_property
    def staple(self) -> UInt8[np.ndarray, "*spatial"]:
        """The most probable class by STAPLE, ties to the lowest; where all hold one class everywhere, that class.

        ``IGNORE`` where nobody says anything.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OneClassWarning)
            given = (self.sample.annotations.numpy(), self.sample.present.numpy(), self.num_classes)
            probabilities, _ = staple(*given, drawn=self.drawn)
        labels = probabilities.argmax(axis=0).astype(np.uint8)
        if self.silent is not None:
            labels[self.silent.all(axis=0)] = IGNORE
        return labels

    @cached_property
    def silent(self) -> Bool[np.ndarray, "P *spatial"] | None:
        """What each present annotator ignores; None where they ignore nothing."""
        silent = self.sample.annotations.numpy()[self.sample.present.numpy()] == IGNORE
        return silent if silent.any() else None

    def draw(self, k: int) -> Bool[np.ndarray, " P"]:
        """Which of the present annotators draw class ``k``, and do not ignore the whole image."""
        present = np.flatnonzero(self.sample.present.numpy())
        draw = np.array([not self.drawn or k in self.drawn[r] for r in present], bool)
        return draw if self.silent is None else draw & ~self.silent.reshape(len(draw), -1).all(axis=1)
