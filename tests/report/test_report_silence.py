"""Pages on annotators who draw some classes only, or ignore a part of the image."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.reports import Page, make
from fake_data.silence import CLASSES, IGNORED, write, write_silence
from umanet.agreement import measure_agreement
from umanet.cli.classes import parse_classes
from umanet.data.images import read_case
from umanet.data.sources.folder import index as index_folder
from umanet.grading import grade
from umanet.inference.model_file import load_model
from umanet.report import write_agreement
from umanet.report.pictures import SILENT, _disputed, displayed, outline, picture_of_annotations
from umanet.report.reasons import find_reasons
from umanet.report.scores import _reference, _targets
from umanet.types import IGNORE

NAMES = ("background", "organ", "tumour")
ONLY = {"bert": ("tumour",)}
NOT_A_NUMBER = re.compile(r"[>\s]nan[<\s]", re.IGNORECASE)


@pytest.fixture(scope="module", params=[(24, 28), (14, 16, 12)], ids=["2D", "3D"])
def silence(request, tmp_path_factory):
    raw = write_silence(tmp_path_factory.mktemp("silence"), request.param, cases=6)
    found = index_folder(
        raw, classes=parse_classes(CLASSES), ignore=(IGNORED,),
        fractions={"train": 0.5, "validation": 0.2, "test": 0.3},
    )  # fmt: skip
    return found.model_copy(update={"annotator_classes": ONLY})


def kinds(annotation, consensus, drawn=None):
    found = find_reasons(annotation, consensus, NAMES, (1.0, 1.0), drawn=drawn)
    return [reason.kind for reason in found]


def test_a_class_that_is_not_drawn_is_no_missed_object():
    consensus = np.zeros((20, 20), np.uint8)
    consensus[2:8, 2:8], consensus[12:18, 12:18] = 1, 2
    annotation = np.where(consensus == 2, 2, 0).astype(np.uint8)
    assert kinds(annotation, consensus) == ["missed object"]
    assert kinds(annotation, consensus, drawn=(2,)) == ["as the consensus"]
    assert kinds(np.zeros_like(consensus), consensus, drawn=(2,)) == ["empty"]
    (reason,) = find_reasons(np.zeros_like(consensus), consensus, NAMES, (1.0, 1.0), drawn=(2,))
    assert "the consensus has 36 mm²" in reason.text


def test_what_is_ignored_is_neither_missed_nor_drawn():
    consensus = np.zeros((20, 20), np.uint8)
    consensus[2:8, 2:8], consensus[12:18, 12:18] = 1, 1
    annotation = consensus.copy()
    annotation[:10] = IGNORE
    assert kinds(annotation, consensus) == ["as the consensus"]
    assert kinds(np.full_like(consensus, IGNORE), consensus) == ["empty"]


def test_what_is_ignored_is_hatched_and_has_no_outline(silence):
    sample = read_case(silence.cases[0], silence)
    shown, _ = picture_of_annotations(sample, silence, displayed(sample.image.numpy(), silence))
    assert shown.outlines[0].style == SILENT and shown.outlines[0].path
    assert outline(np.full((8, 8), IGNORE, np.uint8), 64, 64) == ""


def test_annotators_differ_where_no_class_is_possible_by_all(silence):
    said = np.array([[0, 1, 2, 1, IGNORE, 0], [0, 0, 0, 2, 2, 0], [0, 1, 2, 1, IGNORE, 1]], np.uint8)[:, None]
    found = _disputed(said, silence, ("anna", "bert", "carl"))[0]
    assert found.tolist() == [False, False, True, True, False, True]


def test_the_reference_and_the_targets_are_of_those_who_speak(silence):
    case = silence.cases[0]
    sample = read_case(case, silence)
    drawn = sample.annotations.numpy()
    mean, _, known = _targets(sample, 1, silence)["mean of the annotations"]
    assert np.array_equal(known, drawn[2] != IGNORE) and not known.all()
    np.testing.assert_allclose(mean[known], ((drawn[0] == 1) * 0.5 + (drawn[2] == 1) * 0.5)[known])
    without_truth = replace(sample, truth=None)
    assert set(np.unique(_reference(without_truth, silence))) == {0, 1, 2}
    silent = replace(without_truth, annotations=torch.full_like(sample.annotations, IGNORE))
    assert (_reference(silent, silence) == IGNORE).all()


def test_the_report_says_who_draws_what_and_hatches_what_is_ignored(silence, tmp_path):
    made = make(tmp_path, silence)
    page = made.page
    assert not page.open and page.count("article", "card") > 20
    assert "bert draws only tumour" in page.text and page.count("path", SILENT) > 6
    assert page.text.count('<pattern id="hatch"') == 1
    reasons = page.text.split('<ul class="why">')[1:]
    cards = page.text.split('<article class="card stop" tabindex="0" data-who="')[1:]
    assert len(reasons) == len(cards)
    assert all("organ" not in why.split("</ul>")[0]
               for card, why in zip(cards, reasons, strict=True) if card.startswith("bert"))  # fmt: skip
    assert not NOT_A_NUMBER.search(page.text)


def test_the_page_of_agreement_has_dashes_for_what_cannot_be_compared(silence, tmp_path):
    write_agreement(measure_agreement(silence), silence, tmp_path / "agreement.html")
    page = Page((tmp_path / "agreement.html").read_text(encoding="utf-8"))
    assert "<b>bert</b> draws only tumour" in page.text and ">–</td>" in page.text
    assert "bert (draws only tumour)" in page.text


def test_an_annotation_that_ignores_all_has_no_quality_and_json_says_null(silence, tmp_path):
    first = silence.cases[0]
    path = write(tmp_path / "all", np.full(read_case(first, silence).geometry.shape, IGNORED))
    alone = replace(first, annotations={**first.annotations, "carl": path})
    index = silence.model_copy(update={"cases": (alone, *silence.cases[1:])})
    (tmp_path / "made").mkdir()
    made = make(tmp_path / "made", index)
    assert not NOT_A_NUMBER.search(made.page.text)
    model = load_model(made.run, grading=True)
    table = grade(model, index, tmp_path / "grades", maps=False)
    assert table.quality.isna().sum() == 1
    values = json.loads((tmp_path / "grades/quality.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    (row,) = [row for row in values["annotations"] if row["quality"] is None]
    assert (row["case"], row["annotator"], row["empty"], row["low"]) == (first.id, "carl", True, False)
    assert values["annotations"][-1] == row
