"""Quality over time: of whom it is said, and what."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fake_data.arrays import make_index, make_task
from umanet.report.charts import drift_chart
from umanet.report.drift import NEAREST, Drift, find_drift
from umanet.types import Case

FIRST = date(2023, 11, 20)
RISING = [0.1, 0.3, 0.2, 0.4, 0.5, 0.6, 0.8, 0.7, 0.9]


def found_of(quality, days, *, identified=True):
    """``days`` since the first; None where the date is not known."""
    index = make_index(make_task(2, annotators=1, identified=identified))
    who, image = index.annotators[0], (Path("/nowhere/image.png"),)
    cases = tuple(
        Case(f"case{number}", image, {who: image[0]}, dates={} if day is None else {who: FIRST + timedelta(day)})
        for number, day in enumerate(days)
    )
    names = [case.id for case in cases]
    table = pd.DataFrame({"case": names, "annotator": who, "quality": quality}).sample(frac=1, random_state=0)
    return find_drift(table, index.model_copy(update={"cases": cases}))


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        (RISING, "quality rises with time"),
        (RISING[::-1], "quality falls with time"),
        (RISING[::2] + RISING[-2::-2], "no change beyond chance"),
        ([0.5] * 9, "the same quality throughout"),
    ],
)
def test_a_trend_is_named_only_where_it_is_no_chance(quality, said):
    (drift,) = found_of(quality, range(0, 90, 10))
    assert drift.said == said and drift.days == [FIRST + timedelta(day) for day in range(0, 90, 10)]
    assert drift.quality == quality
    if drift.correlation is not None:
        ranks = np.argsort(np.argsort(quality))
        assert drift.correlation == pytest.approx(np.corrcoef(np.arange(9), ranks)[0, 1])


def test_nothing_is_said_of_few_annotations_few_days_and_anonymous_annotators():
    assert found_of(RISING[:8], range(8))
    assert not found_of(RISING[:7], range(7))
    assert not found_of(RISING, [0] * 5 + [1] * 4) and found_of(RISING, [0] * 5 + [1] * 3 + [2])
    assert not found_of(RISING, range(9), identified=False)
    assert not found_of(RISING, [*range(7), None, None])


def test_annotations_without_a_date_do_not_count():
    (drift,) = found_of([*RISING, 0.0], [*range(9), None])
    assert drift.quality == RISING


def test_the_line_is_the_median_of_the_nearest_in_time():
    days = [FIRST + timedelta(day) for day in (0, *range(100, 100 + NEAREST))]
    drift = Drift("anna", days, [1.0] + [0.5] * NEAREST, 0.0, 1.0)
    assert drift.medians == (days, [0.5] * len(days))
    quality = np.linspace(0, 1, 30)
    drift = Drift("anna", [FIRST + timedelta(day) for day in range(30)], quality.tolist(), 1.0, 0.0)
    assert np.allclose(drift.medians[1][5:25], quality[5:25], atol=0.02)


def test_every_annotator_has_a_panel():
    drift = Drift("anna", [FIRST + timedelta(day) for day in range(9)], RISING, 0.9, 0.001)
    chart = drift_chart([replace(drift, annotator=f"annotator{number}") for number in range(5)], "quality", "alt text")
    assert all(f">annotator{number}<" in chart for number in range(5)) and 'aria-label="alt text"' in chart


def test_with_more_annotators_a_trend_must_be_clearer():
    index = make_index(make_task(2, annotators=5))
    image = Path("/nowhere/image.png")
    cases = tuple(
        Case(
            f"case{number}",
            (image,),
            dict.fromkeys(index.annotators, image),
            dates=dict.fromkeys(index.annotators, day),
        )
        for number, day in enumerate(FIRST + timedelta(number) for number in range(9))
    )
    rows = [(case.id, who, quality) for who in index.annotators for case, quality in zip(cases, RISING, strict=True)]
    table = pd.DataFrame(rows, columns=["case", "annotator", "quality"])
    alone, *_ = found_of(RISING, range(9))
    assert [drift.p for drift in find_drift(table, index.model_copy(update={"cases": cases}))] == [5 * alone.p] * 5
