"""The page as a whole: every section, nothing from outside, every name escaped, in 2D and 3D."""

import re
import shutil
from dataclasses import replace
from datetime import date
from importlib.resources import files

import numpy as np
import pytest

from fake_data.discs import write_array, write_discs
from fake_data.reports import KINDS, SHAPES, Page, make
from umanet.cli import main
from umanet.errors import OutputError
from umanet.executor import Executor
from umanet.inference.model_file import load_model
from umanet.report import annotators, build_report, doubts, scores
from umanet.report.build import MOST_CASES, SECTIONS
from umanet.report.pictures import SIDE

NASTY = '<script>alert("x")</script> & <b>'


def annotations(index):
    return sum(len(case.annotations) for case in index.cases)


def test_every_section_is_there_in_the_order_in_which_people_ask(made):
    page = made.page
    assert page.headings == list(SECTIONS.values())
    assert page.open == []
    anchors = [address[1:] for address in page.addresses() if address.startswith("#")]
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert set(SECTIONS) <= set(anchors) and set(anchors) <= ids


def test_nothing_is_asked_of_anybody_else(made):
    page = made.page
    assert re.findall(r"https?:|//\w+\.\w|url\((?!#)|@import", page.text) == []
    assert {address[:5] for address in page.addresses() if not address.startswith("#")} <= {"data:"}
    policy = [attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs]
    assert policy[0].startswith("default-src 'none'")


def test_every_picture_has_a_text(made):
    pictures = [attrs for tag, attrs in made.page.tags if tag == "img"]
    assert pictures and all(attrs["alt"] for attrs in pictures)
    assert all(attrs["aria-label"] for tag, attrs in made.page.tags if tag == "svg" and attrs.get("class") == "chart")


def test_every_annotation_has_a_card_with_a_reason_or_the_page_says_why_not(made):
    page = made.page
    if made.run.parent.name.startswith("fused"):
        assert page.count("div", "pair") == 0
        assert page.text.count("cannot grade") == 2 and "--method uma-net" in page.text
        return
    assert page.count("div", "pair") == page.count("ul", "why") == annotations(made.index)
    assert page.text.count("<li><b>") >= annotations(made.index)


def test_anonymous_annotators_are_not_judged(made):
    anonymous = not made.index.annotators_are_identified
    assert ("nothing is said about" in made.page.text) == anonymous
    graded = made.page.count("div", "pair") > 0
    assert ("As the network sees them" in made.page.text) == (graded and not anonymous)
    for shown in ("Annotations by annotator", "right where they disagree, as learned", 'data-filter="who"'):
        assert (shown in made.page.text) == ((not anonymous) and (graded or "data-filter" not in shown))


def test_grades_of_a_run_that_never_doubted_are_said_to_mean_nothing(flat, tmp_path):
    text = flat.report.read_text()
    assert text.count("These grades mean nothing.") == 2 and "graded low</span>" not in text
    model = load_model(flat.run, grading=True)
    model.method.said.fill_(10.0)
    model.method.right.fill_(6.0)
    build_report(model, flat.index, flat.run, tmp_path / "doubting.html", most_cases=0)
    text = (tmp_path / "doubting.html").read_text()
    assert "mean nothing" not in text and "least reliable annotator" in text and "graded low</span>" in text


def test_where_calibration_is_measured_is_said_whatever_it_is_measured_against(made):
    caption = "Measured within 3 voxels of the prediction and of what it is compared with."
    assert caption in made.page.text


def test_distances_have_the_unit_in_which_they_were_measured(made):
    text, scored = made.page.text, any(case.truth for case in made.index.cases)
    assert ("HD95 (voxels)" in text) == ("No image says how large a voxel is:" in text) == scored
    assert "(mm)" not in text


def test_the_filter_counts_the_cards_that_it_shows(made):
    counts = re.findall(r'<option value="([^"]+)">[^<]* \((\d+)\)</option>', made.page.text)
    cards = [(attrs["data-kinds"] or "").split("|") for _, attrs in made.page.tags if "data-kinds" in attrs]
    assert {kind: int(count) for kind, count in counts} == {
        kind: sum(kind in card for card in cards) for card in cards for kind in card
    }


def test_the_slice_is_the_one_where_it_happens(made):
    assert (made.index.spatial_dims == 3) == bool(re.search(r"axial slice \d+ of 8", made.page.text))


def test_the_forgotten_class_is_named(tmp_path_factory):
    text = KINDS["classes"](tmp_path_factory.mktemp("core")).page.text
    assert re.search(r"<li><b>[a-z ]+</b> core: ", text)


def test_names_are_text_and_nothing_else(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=1)
    cases = tuple(replace(case, patient=NASTY) for case in index.cases)
    named = index.model_copy(update={"name": NASTY, "cases": cases})
    page = make(tmp_path, named).page
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(&#34;x&#34;\)", "", page.text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1


def test_fewer_pictures_leave_the_tables_whole(flat, tmp_path):
    model = load_model(flat.run, grading=True)
    build_report(model, flat.index, flat.run, tmp_path / "few.html", most_cases=2)
    page = Page((tmp_path / "few.html").read_text())
    assert page.count("div", "pair") == 2
    table = page.text.split('id="all-annotations"')[1].split("</table>")[0]
    assert table.count("<tr>") == annotations(flat.index) + 1


def test_500_cases_stay_small(tmp_path):
    """Noise costs most as WebP. Pictures are as many as there are cards, all else grows with the annotations."""
    shape, rng = (SIDE, SIDE), np.random.default_rng(0)
    index = write_discs(tmp_path, shape, train=3, validation=3)
    for case in index.cases:
        write_array(case.image[0].parent, case.id, rng.integers(0, 256, shape))
    made = make(tmp_path, index, most_cases=2)
    sources = [attrs["src"] or "" for tag, attrs in made.page.tags if tag == "img"]
    paths = sum(len(attrs["d"] or "") for tag, attrs in made.page.tags if tag == "path")
    assert len(sources) == 2 * 2 + 3 * 2
    rows = sum(map(len, re.findall(r"<tr>.*?</tr>|<use [^>]*>", made.page.text, re.DOTALL)))
    fixed = len(made.page.text) - sum(map(len, sources)) - paths - rows
    pictures = 2 * MOST_CASES + scores.MOST_WORST + annotators.MOST_WORST + doubts.MOST_IMAGES
    picture = max(map(len, sources)) + paths / len(sources)
    whole = fixed + pictures * picture + 500 * 6 * rows / annotations(index)
    assert whole < 30e6


def test_only_the_split_that_is_asked_for_is_looked_at(flat, tmp_path):
    model = load_model(flat.run, grading=True)
    build_report(model, flat.index, flat.run, tmp_path / "train.html", split="train")
    text = (tmp_path / "train.html").read_text()
    assert "disc0" in text and "disc4" not in text.split("</script>")[0].split('id="record"')[0]
    assert "The network was trained on these cases" in text


def test_images_without_annotations_are_counted_and_the_network_is_held_to_its_own_score(flat, tmp_path):
    bare = (replace(flat.index.cases[0], annotations={}), *flat.index.cases[1:])
    index = flat.index.model_copy(update={"cases": bare})
    build_report(load_model(flat.run, grading=True), index, flat.run, tmp_path / "bare.html", most_cases=0)
    text = (tmp_path / "bare.html").read_text()
    assert "of 4 images were graded. 1 more image has no annotation." in " ".join(text.split())
    assert "1 more case is left out:" in text
    assert "more image" not in flat.report.read_text() and "cases are left out" not in flat.report.read_text()
    assert re.search(r'has itself a <a href="#good">Dice of [\d.]+</a>', text)


def test_quality_over_time_is_shown_of_those_with_enough_dates_and_of_nobody_without(flat, tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=6, validation=2)
    dates = [date(2024, 1, 1 + 3 * number) for number in range(8)]
    cases = [replace(case, dates={"anna": day, "carl": day}) for case, day in zip(index.cases, dates, strict=True)]
    text = make(tmp_path, index.model_copy(update={"cases": tuple(cases)}), most_cases=0).report.read_text()
    section = text.split("<h3>Quality over time</h3>")[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">(\w+)</th>', section) == ["anna"]
    assert "2024-01-01" in section and "2024-01-22" in section and section.count('<svg class="chart"') == 1
    assert "Quality over time" not in flat.report.read_text()


def test_another_data_set_is_said_to_be_one(flat, tmp_path):
    (flat.run / "data.sha256").write_text("0" * 64 + "\n")
    build_report(load_model(flat.run, grading=True), flat.index, flat.run, tmp_path / "other.html", most_cases=0)
    (flat.run / "data.sha256").unlink()
    assert "Another data set." in (tmp_path / "other.html").read_text()


def test_progress_ends_where_it_should(flat, tmp_path):
    seen = []
    build_report(
        load_model(flat.run, grading=True), flat.index, flat.run, tmp_path / "new.html", most_cases=0,
        progress=lambda done, total, note: seen.append((done, total, note)),
    )  # fmt: skip
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {note for _, _, note in seen} >= {"grading", "predicting", "scoring", "drawing"}
    assert all(done <= total for done, total, _ in seen)


def test_two_workers_write_the_page_that_one_writes(flat, tmp_path):
    model = load_model(flat.run, grading=True)
    pages = []
    for workers in (1, 2):
        page = tmp_path / f"{workers}.html"
        build_report(model, flat.index, flat.run, page, most_cases=3, executor=Executor(workers))
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "now", page.read_text()))
    assert pages[0] == pages[1]


def test_no_worker_is_refused_before_anything_is_looked_at(flat, tmp_path, capsys):
    assert main(["report", str(flat.run), "-o", str(tmp_path / "r.html"), "--workers", "0"]) == 2
    assert "--workers 0 found, at least 1 expected" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_the_templates_travel_with_the_package():
    templates = files("umanet.report") / "templates"
    names = {path.name for path in templates.iterdir()}
    assert {"layout.html", "report.html", "agreement.html", "style.css", "page.js"} <= names


def test_the_command_writes_a_report_from_the_run_alone(flat, tmp_path, capsys):
    assert main(["report", str(flat.run), "-o", str(tmp_path / "r.html"), "--most-cases", "1"]) == 0
    assert "needs no other file" in capsys.readouterr().err
    assert "umanet report" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run, out: run.joinpath("model.json").unlink(), "No model.json found in"),
        (lambda run, out: run.joinpath("dataset.json").unlink(), "Name it with --dataset"),
        (lambda run, out: out.write_text("mine"), "exists already, a new file expected"),
    ],
    ids=["no run", "no data set", "output exists"],
)
def test_bad_input_is_a_line(flat, tmp_path, capsys, change, said):
    run, out = tmp_path / "run", tmp_path / "report.html"
    shutil.copytree(flat.run, run)
    change(run, out)
    assert main(["report", str(run), "-o", str(out)]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert not out.exists() or out.read_text() == "mine"


def test_an_empty_split_is_refused(flat, tmp_path, capsys):
    assert main(["report", str(flat.run), "-o", str(tmp_path / "r.html"), "--split", "test"]) == 2
    assert "No case found in split 'test' of 'discs'. Report on another split." in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_a_report_is_not_overwritten(flat):
    with pytest.raises(OutputError, match="exists already"):
        build_report(load_model(flat.run), flat.index, flat.run, flat.report)
