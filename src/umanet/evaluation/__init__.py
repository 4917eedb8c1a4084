"""How good predictions are: scores with intervals, by a stated protocol, and differences between methods."""

from umanet.evaluation.comparison import Comparison, compare
from umanet.evaluation.evaluation import Evaluation, evaluate
from umanet.evaluation.evaluation_file import read_evaluation
from umanet.evaluation.protocol import MARGIN, METRICS, PROTOCOLS, Metric, Protocol
from umanet.evaluation.scores import MEAN
from umanet.evaluation.table import Table, annotators_table, differences_table, scores_table

__all__ = [
    "MARGIN",
    "MEAN",
    "METRICS",
    "PROTOCOLS",
    "Comparison",
    "Evaluation",
    "Metric",
    "Protocol",
    "Table",
    "annotators_table",
    "compare",
    "differences_table",
    "evaluate",
    "read_evaluation",
    "scores_table",
]
