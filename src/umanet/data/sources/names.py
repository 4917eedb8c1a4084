"""Names of other layouts as names that a data set may have."""

import re
from collections import Counter
from collections.abc import Sequence

from umanet.data.index import SAFE_NAME

UNSAFE = re.compile(r"[^\w .+=@-]+")


def safe_name(name: str) -> str:
    """``name`` with what may not stand in a file name as ``_``; unchanged where there is nothing of the kind."""
    if SAFE_NAME.fullmatch(name):
        return name
    return UNSAFE.sub("_", name).strip(" .+=@-") or "_"


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Safe names, with ``_0``, ``_1`` and so on behind those that come several times."""
    names = [safe_name(name) for name in names]
    counts = Counter(names)
    return tuple(f"{name}_{number}" if counts[name] > 1 else name for number, name in enumerate(names))
