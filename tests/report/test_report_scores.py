"""What the section of scores says besides the scores."""

import pytest

from umanet.evaluation import Evaluation
from umanet.report.scores import Scores


def remarks(without, **summary):
    protocol = {"cases": 5, "distances": {"unit": "voxels" if without == 5 else "mm", "cases_without_spacing": without}}
    return Scores(None, 0, Evaluation(summary, {}, [], protocol, {}), "dice", {}, {}, []).remarks


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (0, []),
        (2, ["2 of 5 images do not say how large a voxel is: there it is 1 mm."]),
        (5, ["No image says how large a voxel is: distances are in voxels."]),
    ],
)
def test_images_that_do_not_say_how_large_a_voxel_is_are_counted(without, said):
    assert remarks(without) == said


def test_what_is_undefined_in_every_case_is_named_with_its_unit():
    found = remarks(5, hd95_mm={"cases": 0}, dice={"cases": 4})
    assert found[1:] == ["Undefined in every case, as with one annotator: HD95 (voxels)."]
