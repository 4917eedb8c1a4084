"""How many processors this process may use, and how busy they are."""

import os
from math import ceil
from pathlib import Path

from umanet.executor.memory import groups, lines_of


def usable(root: Path = Path("/")) -> int:
    """Processors of the machine, as far as a job or container may use them; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    found = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    for group in groups(root):
        for line in lines_of(group / "cpu.max")[:1]:
            quota, period = line.split()
            if quota.isdigit():
                found.append(ceil(int(quota) / int(period)))
    return max(1, min(found))


def busy() -> float:
    """How many processors were in use on average in the last minute, by any process of the machine; 0 unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return 0.0
