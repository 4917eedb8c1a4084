"""What the truth or annotations ignore, and annotators who draw some classes only, by hand."""

import numpy as np
import pytest

from fake_data.predictions import TWO, Folder
from umanet.types import Geometry

GEOMETRY = Geometry((2, 4), (1.0, 1.0), suffix=".png")
IGNORED = 99
SILENT = 255


class Partial(Folder):
    """With a file value that is ignored."""

    def write(self, kind, name, labels):
        labels = np.asarray(labels, np.uint8).reshape(self.geometry.shape)
        path = super().write(kind, name, np.where(labels == SILENT, 0, labels))
        if (labels == SILENT).any():
            from PIL import Image

            values = np.asarray(Image.open(path)).copy()
            values[labels == SILENT] = IGNORED
            Image.fromarray(values).save(path)
        return path


def partial(folder, **update):
    return folder.index.model_copy(update={"ignore": (IGNORED,), **update})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "predictions").mkdir()
    return Partial(tmp_path, GEOMETRY, TWO)


def test_the_truth_is_compared_where_it_is_known(folder):
    folder.add("a", [1, 1, 0, 0, 1, 0, 0, 0], truth=[1, 1, 0, 0, 255, 255, 0, 2])
    found = folder.evaluate(partial(folder)).classes
    assert found["lung"]["dice"]["mean"] == 1.0
    assert found["lung"]["hd95_mm"]["mean"] == 0.0
    assert found["heart"]["dice"]["missed"] == 1


@pytest.mark.parametrize("protocol", ["default", "riga"])
def test_an_annotation_is_compared_where_it_says_something(folder, protocol):
    drawn = [[1, 1, 255, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 255]]
    folder.add("a", [1, 1, 1, 0, 0, 0, 0, 1], annotations=drawn)
    found = folder.evaluate(partial(folder), protocol=protocol)
    lung = found.classes["lung"]
    assert lung["soft_dice"]["mean"] == 1.0  # both voxels are ignored by one of them
    if protocol == "default":
        # Voxels 0, 1, 7 against 0, 1; then 0, 1, 2 against 0, 1.
        assert lung["mean_dice"]["mean"] == pytest.approx(4 / 5)
        assert [row["dice"] for row in found.annotator_cases if row["class"] == "lung"] == pytest.approx([0.8, 0.8])
        # One of one says background at voxels 2 and 7.
        assert lung["majority_dice"]["mean"] == pytest.approx(2 * 2 / (4 + 2))


def test_a_class_is_compared_with_those_who_draw_it(folder):
    drawn = [[1, 1, 2, 0, 0, 0, 0, 0], [0, 0, 2, 0, 0, 0, 0, 0]]
    folder.add("a", [1, 1, 2, 0, 0, 0, 0, 0], annotations=drawn)
    all_draw_all = folder.evaluate().classes["lung"]
    assert all_draw_all["mean_dice"]["mean"] == 0.5
    found = folder.evaluate(partial(folder, annotator_classes={"a1": ("heart",)}))
    assert found.classes["lung"]["mean_dice"]["mean"] == found.classes["lung"]["soft_dice"]["mean"] == 1.0
    assert found.classes["heart"]["mean_dice"]["mean"] == 1.0
    assert {(row["annotator"], row["class"]) for row in found.annotator_cases} == {
        ("a0", "lung"), ("a0", "heart"), ("a0", "(mean)"), ("a1", "heart"), ("a1", "(mean)"),
    }  # fmt: skip


def test_a_class_that_nobody_draws_has_no_score_and_is_counted(folder):
    folder.add("a", [1, 1, 2, 0, 0, 0, 0, 0], annotations=[[0, 0, 2, 0, 0, 0, 0, 0]])
    found = folder.evaluate(partial(folder, annotator_classes={"a0": ("heart",)}))
    assert found.classes["lung"]["mean_dice"]["cases"] == 0
    assert found.summary["mean_dice"]["mean"] == 1.0
    assert found.protocol["cases_drawn_by_nobody"] == {"lung": 1}


def test_staple_and_samples_leave_out_what_is_ignored(folder):
    drawn = [[1, 1, 0, 0, 0, 0, 0, 255]] * 3
    folder.add("a", [1, 1, 0, 0, 0, 0, 0, 1], annotations=drawn, samples=[[1, 1, 0, 0, 0, 0, 0, 2]] * 2)
    lung = folder.evaluate(partial(folder)).classes["lung"]
    assert lung["staple_dice"]["mean"] == lung["dice_match"]["mean"] == lung["majority_dice"]["mean"] == 1.0
