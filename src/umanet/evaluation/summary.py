"""From rows of cases to means, each with an interval over patients and the counts that it must be read with."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from umanet.evaluation.protocol import METRICS, Against, Protocol
from umanet.evaluation.scores import MEAN, OUTCOMES, Row, defined
from umanet.metrics.interval import bootstrap_interval


def summarise(
    rows: list[Row], classes: Iterable[str], kinds: tuple[Against, ...], protocol: Protocol, seed: int
) -> tuple[dict[str, Row], dict[str, dict[str, Row]]]:
    """Metric to entry over all cases, and the same for every class.

    Of several classes the entry over all cases has the mean of the rows named ``MEAN``, but counts single classes.
    """
    metrics = [(name, f"outcome_{METRICS[name].counted}") for kind in kinds for name in protocol.metrics_against(kind)]
    by_class = {name: [row for row in rows if row["class"] == name] for name in classes}
    single = [row for own in by_class.values() for row in own]
    means = [row for row in rows if row["class"] == MEAN] or single
    return (
        {metric: _entry(metric, outcome, means, single, seed) for metric, outcome in metrics},
        {
            name: {metric: _entry(metric, outcome, own, own, seed) for metric, outcome in metrics}
            for name, own in by_class.items()
        },
    )


def summarise_annotators(rows: list[Row], classes: Iterable[str], seed: int) -> dict[str, dict[str, dict[str, Row]]]:
    """Annotator to class to Dice: of several classes their mean first."""
    classes, found = list(classes), {}
    for name in dict.fromkeys(row["annotator"] for row in rows):
        own = {c: [row for row in rows if row["annotator"] == name and row["class"] == c] for c in (MEAN, *classes)}
        single = [row for c in classes for row in own[c]]
        found[name] = {
            c: {"dice": _entry("dice", "outcome", of_class, single if c == MEAN else of_class, seed)}
            for c, of_class in own.items()
            if of_class
        }
    return found


def _entry(metric: str, outcome: str, scored: list[Row], counted: list[Row], seed: int) -> Row:
    """The mean over cases where it is defined, its interval, their number, and how often nothing was there."""
    with_value = [row for row in scored if row[metric] is not None]
    values = [row[metric] for row in with_value]
    outcomes = Counter(row[outcome] for row in counted)
    interval = bootstrap_interval(values, [row["patient"] for row in with_value], seed=seed)
    return {
        "mean": float(np.mean(values)) if values else None,
        "ci95": [defined(bound) for bound in interval],
        "cases": len(values),
        **{outcome: outcomes[outcome] for outcome in OUTCOMES},
    }
