"""Many cases at a time: in this process, in several, or on a Dask cluster; results are the same and in order.

``executor`` is what verbs take; ``processes`` and ``cluster`` are the two ways to leave this process, ``outcome`` is
what comes back from there; ``memory`` says how many processes fit, ``seen`` whether workers see the output's folder.
"""

from umanet.executor.executor import INLINE, Executor
from umanet.executor.seen import Shared, shared

__all__ = ["INLINE", "Executor", "Shared", "shared"]
