"""Algorithms that annotate: images alone become a data set with several annotators."""

from umanet.algorithms.annotate import annotate
from umanet.algorithms.draw import ALGORITHMS

__all__ = ["ALGORITHMS", "annotate"]
