"""How many processes fit into memory: more than that, and the system kills some."""

import logging
from pathlib import Path

GIB = 2**30
IMPORTED = 0.45 * GIB
"""Of a process that has imported torch, MONAI and the rest (0.41 measured)."""
UNPACKED = 16
"""Memory for a case over its bytes as stored: compression, and maps of 4 to 8 bytes per voxel. A rough guess."""
log = logging.getLogger("umanet")


def that_fit(workers: int, stored: int) -> int:
    """``workers``, or as many as there is memory for, at least one; says so.

    Args:
        workers: Wanted.
        stored: Bytes of the largest case in its files.
    """
    free, each = available(), IMPORTED + UNPACKED * stored
    if free is None or workers * each <= free:
        return workers
    fitting = max(1, int(free // each))
    log.warning(
        "--workers %d found, for which memory is short: %.1f GiB are free, and one takes about %.1f. %d at a time.",
        workers,
        free / GIB,
        each / GIB,
        fitting,
    )
    return fitting


def available(root: Path = Path("/")) -> int | None:
    """Bytes that are free, on the machine and in what a container or a job may take; None where nobody says."""
    limits = [_of_machine(root), *_of_groups(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def groups(root: Path) -> list[Path]:
    """This process's control group (version 2) and all around it: what a container or a job may take is said there."""
    top = root / "sys/fs/cgroup"
    own = next((line[3:] for line in lines_of(root / "proc/self/cgroup") if line.startswith("0::/")), "/")
    place = top / own.lstrip("/")
    return [place, *(parent for parent in place.parents if parent.is_relative_to(top))]


def lines_of(path: Path) -> list[str]:
    """Of a file of the system; none where there is no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _of_machine(root: Path) -> int | None:
    for line in lines_of(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _of_groups(root: Path) -> list[int]:
    found = []
    for group in groups(root):
        most, used = lines_of(group / "memory.max"), lines_of(group / "memory.current")
        if most and used and most[0].isdigit():
            cached = (
                int(line.split()[1]) for line in lines_of(group / "memory.stat") if line.startswith("inactive_file ")
            )
            found.append(max(0, int(most[0]) - int(used[0]) + next(cached, 0)))
    return found
