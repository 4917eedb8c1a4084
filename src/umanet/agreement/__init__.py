"""How far the annotators of a data set agree, and how each of them annotates."""

from umanet.agreement.agreement import ALL, ANONYMOUS, NOTHING, Agreement, measure_agreement
from umanet.agreement.counted import MARGIN

__all__ = ["ALL", "ANONYMOUS", "MARGIN", "NOTHING", "Agreement", "measure_agreement"]
