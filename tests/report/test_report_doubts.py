"""Cards of doubtful annotations: what their pictures show."""

import numpy as np
import pytest
import torch

from fake_data.arrays import ball, make_index, make_task
from umanet.grading import GradedCase, annotation_rows
from umanet.report.doubts import _Drawing
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
    assert card.place == "axial slice 10 of 12"
    lined = [line for line in card.outlines.outlines if line.path]
    framed = [line for line in card.heat.outlines if line.style == "close"]
    if agrees:
        assert not lined and not framed and card.outlines.view_box == card.heat.view_box
    else:
        assert [line.style for line in lined] == ["consensus"]
