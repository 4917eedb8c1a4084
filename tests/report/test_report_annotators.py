"""Who annotates how: what the page of agreement says, and what it leaves out."""

import re
from dataclasses import replace

import numpy as np
import pytest

from fake_data.discs import write_discs
from fake_data.reports import SHAPES, Page, two_classes
from umanet.agreement import ANONYMOUS, measure_agreement
from umanet.report import write_agreement
from umanet.report.annotators import find_agreement, habit, matrices, worst_cases
from umanet.report.build import AGREEMENT_SECTIONS
from umanet.report.charts import ratio_chart


@pytest.fixture(scope="module", params=["2D", "classes"])
def measured(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    index = (
        write_discs(folder, SHAPES[2], train=3, validation=2)
        if request.param == "2D"
        else two_classes(folder, SHAPES[3])
    )
    return index, measure_agreement(index)


def page_of(agreement, index, folder):
    write_agreement(agreement, index, folder / "agreement.html", command="umanet agreement x")
    return Page((folder / "agreement.html").read_text(encoding="utf-8"))


def test_the_page_has_every_section_and_number(measured, tmp_path):
    index, found = measured
    page = page_of(found, index, tmp_path)
    assert page.headings == list(AGREEMENT_SECTIONS.values()) and page.open == []
    for row in found.statistics.values():
        low, high = row["mean_pairwise_dice"]["ci95"]
        assert f"{row['mean_pairwise_dice']['value']:.3f} <span>{low:.3f} to {high:.3f}<" in page.text
    for row in found.per_annotator:
        assert f">{row['volume_ratio']['value']:.2f} <span>" in page.text
    assert page.count("table", "matrix") == len(found.pairs) and "umanet agreement x" in page.text
    table = page.text.split('id="agreement-cases"')[1].split("</table>")[0]
    assert table.count("<tr>") == len(found.cases) + 1
    assert "Fleiss&#39; kappa is not defined" in page.text or "Fleiss' kappa is not defined" in page.text
    assert re.findall(r"https?:|url\((?!#)|@import", page.text) == []


def test_anonymous_annotators_have_no_matrix_and_no_row_and_the_page_says_why(measured, tmp_path):
    index, _ = measured
    index = index.model_copy(update={"annotators_are_identified": False})
    page = page_of(measure_agreement(index), index, tmp_path)
    assert page.headings == list(AGREEMENT_SECTIONS.values())
    assert ANONYMOUS in page.text and page.count("table", "matrix") == 0 and "volume ratio" not in page.text


def test_cases_that_are_left_out_are_counted_on_the_page(measured, tmp_path):
    index, _ = measured
    bare = replace(index.cases[0], annotations={})
    index = index.model_copy(update={"cases": (bare, *index.cases[1:])})
    assert "1 more case is left out:" in page_of(measure_agreement(index), index, tmp_path).text


def test_the_matrix_begins_with_who_agrees_most_with_the_others(measured):
    _, found = measured
    for matrix in matrices(found):
        values = [[float(cell["text"]) if cell["text"] else np.nan for cell in row] for row in matrix.rows]
        means = np.nanmean(values, axis=1)
        assert (np.diff(means) <= 0.01).all() and np.isnan(np.diag(values)).all()
        at = [found.annotators.index(name) for name in matrix.annotators]
        np.testing.assert_allclose(
            values, np.where(np.eye(3), np.nan, found.pairs[matrix.name][np.ix_(at, at)]), atol=0.005
        )
        assert matrix.rows[0][1]["cases"] == found.pair_cases[at[0], at[1]]


def test_pairs_that_differ_little_look_alike(measured):
    _, found = measured
    dice = {"disc": np.array([[1, 0.90, 0.91], [0.90, 1, 0.92], [0.91, 0.92, 1]])}
    (matrix,) = matrices(replace(found, pairs=dice))
    shades = {int(cell["colour"].split("(")[1].split()[0]) for row in matrix.rows for cell in row if cell["text"]}
    assert max(shades) - min(shades) < 40
    alone = replace(found, pairs={"disc": np.full((3, 3), np.nan)})
    assert {cell["text"] for row in matrices(alone)[0].rows for cell in row} == {"", "–"}


@pytest.mark.parametrize(
    ("ratio", "bounds", "said"),
    [
        (1.4, (1.2, 1.6), "draws more"),
        (0.7, (0.5, 0.9), "draws less"),
        (1.4, (0.9, 1.9), ""),
        (1.03, (1.01, 1.05), ""),
        (1.4, (None, None), ""),
        (None, (None, None), ""),
    ],
)
def test_a_habit_is_named_only_where_it_is_large_and_no_chance(ratio, bounds, said):
    assert habit({"volume_ratio": {"value": ratio, "ci95": list(bounds)}}) == said


def test_the_cases_with_least_agreement_are_drawn_once_each(measured):
    index, found = measured
    drawn = worst_cases(found, index, 2)
    assert [case.case for case in drawn] == list(dict.fromkeys(row["case"] for row in found.cases))[:2]
    assert all(len(case.rows) == len(index.classes) - 1 for case in drawn)
    assert len(drawn[0].picture.outlines) == drawn[0].rows[0]["annotations"]
    assert bool(drawn[0].place) == (index.spatial_dims == 3)


def test_one_annotator_is_a_sentence_not_a_section(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=0)
    alone = tuple(replace(case, annotations={"anna": case.annotations["anna"]}) for case in index.cases)
    found, why = find_agreement(index.model_copy(update={"cases": alone}), None, lambda done, total: None)
    assert found is None and "agreement of one annotator is undefined" in why


def test_ratios_without_a_value_have_no_mark():
    nothing = {"value": None, "ci95": [None, None]}
    some = {"value": 1.2, "ci95": [1.0, 1.5]}
    marks = [ratio_chart({"anna": {"disc": one}}, "ratio", "alt").count("<use") for one in (some, nothing)]
    assert marks[0] == marks[1] + 1
