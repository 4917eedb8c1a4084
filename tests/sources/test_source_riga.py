"""RIGA: from contours in pictures to disc and cup."""

import numpy as np
import pytest
from PIL import Image

from fake_data.raw.riga import circle, draw, save, write
from umanet.data.images import read_case
from umanet.data.sources.drawn_lines import disc_and_cup
from umanet.data.sources.riga import index
from umanet.errors import AnnotationError, DatasetError

CENTRE = (32.0, 36.0)


def drawn(*distances):
    return draw(np.zeros((64, 72, 3), np.uint8), *distances).max(2).astype(np.float32)


def test_photographs_stay_where_they_are_and_magrabia_is_the_test_split(tmp_path):
    root = write(tmp_path / "raw")
    found = index(root, tmp_path / "files")
    assert [case.id for case in found.cases][:3] == ["BinRushed1_image1", "BinRushed1_image2", "BinRushed1_image3"]
    assert {case.id: case.split for case in found.cases if case.split} == {
        "MagrabiaFemale_image1": "test",
        "MagrabiaMale_image1": "test",
        "MagrabiaMale_image2": "test",
    }
    assert all(root in case.image[0].parents and len(case.annotations) == 6 for case in found.cases)


def test_jpeg_and_tiff_give_discs_of_the_size_that_was_drawn(tmp_path):
    found = index(write(tmp_path / "raw"), tmp_path / "files")
    for case in found.cases:
        labels = read_case(case, found).annotations.numpy()
        for k, drawing in enumerate(labels, start=1):
            for k_class, radius in ((0, 19 + k / 2), (1, 8 + k / 2)):
                assert np.sqrt((drawing > k_class).sum() / np.pi) == pytest.approx(radius, abs=0.6), case.id


def test_borders_run_along_the_middle_of_the_line():
    labels = disc_and_cup(drawn(circle(CENTRE, 22), circle(CENTRE, 10)))
    assert ((labels > 0) != (circle(CENTRE, 22) < 0)).mean() < 0.01
    assert ((labels > 1) != (circle(CENTRE, 10) < 0)).mean() < 0.01


def test_a_wide_cup_leaves_a_narrow_rim():
    labels = disc_and_cup(drawn(circle(CENTRE, 26), circle(CENTRE, 21)))
    assert (labels == 2).sum() > (labels == 1).sum() > 0


def test_a_small_gap_is_closed():
    difference = drawn(circle(CENTRE, 22), circle(CENTRE, 10))
    difference[30:35, 50:] = 0
    labels = disc_and_cup(difference)
    assert (labels > 0).sum() == pytest.approx(np.pi * 22**2, rel=0.03)


@pytest.mark.parametrize(
    ("lines", "cut", "message"),
    [
        ((), 0, "No contour found"),
        ((22,), 0, "One closed contour found"),
        ((22, 10), 15, "One closed contour found, .* its line is open"),
        ((22,), 15, "No closed contour found"),
    ],
)
def test_open_and_missing_contours_are_refused(lines, cut, message):
    difference = drawn(*(circle(CENTRE, radius) for radius in lines))
    difference[32 - cut : 32 + cut, 50:] = 0
    with pytest.raises(AnnotationError, match=message):
        disc_and_cup(difference)


def test_contours_that_touch_are_refused():
    with pytest.raises(AnnotationError, match="they touch, cross"):
        disc_and_cup(drawn(circle(CENTRE, 22), circle((32.0, 48.0), 10)))


def test_a_bad_drawing_is_named_with_case_and_annotator(tmp_path, caplog):
    root = write(tmp_path / "raw")
    photograph = np.asarray(Image.open(root / "MESSIDOR/image2prime.tif"))
    save(root / "MESSIDOR/image2-3.tif", draw(photograph, circle(CENTRE, 20)))
    (root / "Magrabia/MagrabiFemale/image1prime.tif").unlink()
    save(root / "MESSIDOR/image2-7.tif", photograph)
    with pytest.raises(DatasetError, match="3 faults found"):
        index(root, tmp_path / "files")
    assert "MESSIDOR_image2/annotator3: One closed contour found" in caplog.text
    assert "image2-7.tif found, a number from 1 to 6 expected" in caplog.text
    assert "MagrabiaFemale_image1: No photograph found" in caplog.text
    found = index(root, tmp_path / "other", leave_out=True)
    assert {len(case.annotations) for case in found.cases} == {5, 6} and len(found.cases) == 11


def test_a_renamed_folder_is_named(tmp_path):
    root = write(tmp_path / "raw")
    (root / "MESSIDOR").rename(root / "Messidors")
    with pytest.raises(DatasetError, match="Messidors, one of BinRushed1-Corrected"):
        index(root, tmp_path / "files")
