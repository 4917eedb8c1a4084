"""A training does not take more processors than there are, and says where they are taken."""

import logging

from umanet.config import RunConfig
from umanet.executor.processors import busy, usable
from umanet.ranks import Launch

TOLERANCE = 0.5
"""Processors that may be busy beside a training: something always is."""
log = logging.getLogger("umanet")


def within_processors(config: RunConfig, launch: Launch) -> RunConfig:
    """The configuration with as many loading processes as there are processors for; says what will be slow.

    Each rank of a machine has its share. Threads are never changed, as who asks for them may know better.
    """
    here = launch.ranks // launch.nodes
    share, threads = max(1, usable() // here), config.threads or 1
    if config.data.workers > share:
        log.warning(
            "data.workers = %d found, at most the %d processors for %s expected: %d load.",
            config.data.workers,
            share,
            "each rank" if here > 1 else "this process",
            share,
        )
        config = config.model_copy(update={"data": config.data.model_copy(update={"workers": share})})
    if threads > 1 and (threads > share or busy() > usable() - threads * here + TOLERANCE):
        log.warning(
            "--threads %d found, for which too few of the %d processors are free (%.1f are busy): threads that wait "
            "for each other can take twenty times as long. Leave --threads out, or wait.",
            threads,
            usable(),
            busy(),
        )
    return config
