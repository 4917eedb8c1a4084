"""Methods on the same data, splits and budget: a suite is planned as rows, each row is one training run of its own."""

from umanet.benchmark.run import run_suite
from umanet.benchmark.suite import Suite, read_suite

__all__ = ["Suite", "read_suite", "run_suite"]
