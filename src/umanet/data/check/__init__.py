"""Every problem of a data set in one report: nothing stops at the first, nothing is skipped silently.

``dataset`` goes through all cases, ``cases`` through the files of one (``images``, ``annotations``, ``mirrored``);
``across`` looks at what only many cases together show, ``listing`` at ``dataset.json`` alone; ``report`` and
``problems`` are what comes out. ``mend`` copies headers.
"""

from umanet.data.check.dataset import check
from umanet.data.check.listing import patients_in_two_splits
from umanet.data.check.problems import CODES, SEVERITIES, Problem
from umanet.data.check.report import CheckReport

__all__ = ["CODES", "SEVERITIES", "CheckReport", "Problem", "check", "patients_in_two_splits"]
