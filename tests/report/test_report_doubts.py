"""Cards of doubtful annotations: what their pictures show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fake_data.arrays import ball, make_index, make_task
from fake_data.discs import write_array
from fake_data.reports import SHAPES
from umanet.grading import GradedCase, annotation_rows
from umanet.inference.model_file import load_model
from umanet.report import build_report
from umanet.report.doubts import Doubts, _Drawing, find_doubts
from umanet.report.reasons import Reason
from umanet.types import AnnotationGrades, Geometry, Sample

SHAPE = (30, 30, 12)


def graded(drawn, consensus, wrong):
    """A case of one annotation, and the probability that it is wrong."""
    index = make_index(make_task(3, annotators=1))
    labels = torch.as_tensor(drawn)[None].to(torch.uint8)
    geometry = Geometry(SHAPE, (1.0, 1.0, 1.0), affine=np.eye(4), suffix=".nii.gz")
    sample = Sample("case0", torch.rand(1, *SHAPE), labels, torch.ones(1, dtype=torch.bool), geometry)
    uncertainty = -torch.log1p(-torch.as_tensor(wrong).float())[None, None]
    fused = torch.stack([~torch.as_tensor(consensus), torch.as_tensor(consensus)]).float()[None]
    one, low = torch.full((1, 1), 0.3), torch.zeros(1, 1, dtype=torch.bool)
    grades = AnnotationGrades(uncertainty, one, one[0], low, low[0], fused, fused)
    case = GradedCase(index.cases[0], sample, grades)
    (row,) = annotation_rows(case, index.annotators)
    return _Drawing(case, index).card(row)


@pytest.mark.parametrize("agrees", [True, False])
def test_both_pictures_show_the_same_place_where_nothing_is_drawn_in_the_doubted_slice(agrees):
    drawn, elsewhere = ball(SHAPE, (6, 6, 3), 2.2).numpy(), ball(SHAPE, (22, 22, 9), 2.2).numpy()
    card = graded(drawn, drawn if agrees else drawn | elsewhere, 0.9 * elsewhere)
    assert card.place == "axial slice 10 of 12, the annotation is in slices 2 to 6"
    lined = [line for line in card.outlines.outlines if line.path]
    framed = [line for line in card.heat.outlines if line.style == "close"]
    if agrees:
        assert not lined and not framed and card.outlines.view_box == card.heat.view_box
    else:
        assert [line.style for line in lined] == ["consensus"]


def test_the_slice_is_that_of_the_place_which_the_table_names():
    drawn = ball(SHAPE, (15, 15, 3), 2.2).numpy()
    wrong = np.zeros(SHAPE)
    wrong[5:12, 5:12, 8:11] = 0.7  # deepest in the middle
    wrong[5:12, 5:12, 10] = 0.9  # most doubt
    card = graded(drawn, drawn, wrong)
    assert card.row["where"].split()[2] == "9" and card.place.startswith("axial slice 10 of 12")
    assert [line for line in card.heat.outlines if line.style == "place" and line.path]


def test_a_card_counts_for_each_of_its_reasons_once():
    card = graded(ball(SHAPE, (6, 6, 3), 2.2).numpy(), ball(SHAPE, (6, 6, 3), 2.2).numpy(), np.zeros(SHAPE))
    reasons = [Reason(kind, "", 1.0) for kind in ("shift", "missed object", "missed object")]
    cards = [replace(card, reasons=reasons), replace(card, reasons=reasons[1:2])]
    assert Doubts(pd.DataFrame(), [], [], cards, []).kinds == {"missed object": 2, "shift": 1}


@pytest.fixture
def with_empties(flat, tmp_path):
    """Carl draws nothing in the first case, where there is something; in the third nobody draws anything."""
    nothing = write_array(tmp_path / "nothing", "nothing", np.zeros(SHAPES[2]))
    first, second, third, *rest = flat.index.cases
    cases = (
        replace(first, annotations={**first.annotations, "carl": nothing}),
        second,
        replace(third, annotations=dict.fromkeys(third.annotations, nothing)),
        *rest,
    )
    return flat.index.model_copy(update={"cases": cases})


def test_what_is_empty_against_the_consensus_is_in_a_table_and_takes_no_card(flat, with_empties):
    found = find_doubts(load_model(flat.run, grading=True), with_empties, None, 60, lambda done, total: None)
    assert found is not None
    assert [(one.row["case"], one.row["annotator"]) for one in found.empties] == [("disc0", "carl")]
    assert found.empties[0].lacks.endswith(" px")
    assert len(found.cards) == len(found.table) - 1
    assert {card.row["case"] for card in found.cards if card.row["empty"]} == {"disc2"}


def test_the_page_has_the_table_of_what_is_empty(flat, with_empties, tmp_path):
    build_report(load_model(flat.run, grading=True), with_empties, flat.run, tmp_path / "r.html", most_cases=1)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    table = text.split('id="empty-annotations"')[1].split("</table>")[0]
    assert table.count("<tr><td>disc0</td><td>carl</td>") == table.count("<tr><td>") == 1
    assert '<summary class="stop">1 annotation is empty where the consensus is not</summary>' in text
    assert 'id="empty-annotations"' not in flat.report.read_text(encoding="utf-8")
