"""Every command on annotators who draw some classes only or ignore a part of the image: silence is never background."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fake_data.silence import CLASSES, IGNORED, STRIPE, write, write_silence
from umanet.__main__ import main
from umanet.data.images import read_case
from umanet.data.index import read_index, write_index
from umanet.types import IGNORE


def umanet(*words):
    assert main([str(word) for word in words]) == 0, words


def strict(path):
    """JSON as every program reads it: NaN is none."""

    def refuse(name):
        pytest.fail(f"{name} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("silence")
    write_silence(folder / "raw")
    declared = ("--ignore", IGNORED, "--annotator-classes", "bert=tumour")
    umanet("import", "folder", folder / "raw", "-o", folder / "dataset.json", "--classes", *CLASSES, *declared)
    umanet(
        "train", folder / "dataset.json", "-o", folder / "run", "--preset", "cpu-small", "--device", "cpu",
        "--trainer.max-steps", 2, "--trainer.batch-size", 2, "--trainer.validate-every", 2,
        "--backbone.channels", 4, 8, "--backbone.features", 4,
    )  # fmt: skip
    return folder


def test_what_is_declared_is_in_the_data_set_and_check_counts_it(work, capsys):
    index = read_index(work / "dataset.json")
    assert index.annotator_classes == {"bert": ("tumour",)} and index.ignore == (IGNORED,)
    assert (read_case(index.cases[0], index).annotations[2, :STRIPE] == IGNORE).all()
    umanet("check", work / "dataset.json", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["error"] == 0
    counts = {one["name"]: one["voxels"] for one in found["classes"]}
    assert counts["(ignored)"] == 10 * STRIPE * 40


def test_without_classes_an_ignored_value_is_none(work, tmp_path):
    umanet("import", "folder", work / "raw", "-o", tmp_path / "dataset.json", "--ignore", IGNORED)
    assert [c.name for c in read_index(tmp_path / "dataset.json").classes] == ["background", "class_1", "class_2"]


def test_agreement_compares_a_class_among_those_who_draw_it(work, tmp_path, capsys):
    umanet("agreement", work / "dataset.json", "-o", tmp_path / "out")
    found = strict(tmp_path / "out/agreement.json")
    bert = found["annotators"].index("bert")
    assert found["pairs"]["organ"][bert] == [None, None, None]
    assert None not in found["pairs"]["tumour"][bert]
    assert ("bert", "organ") not in {(row["annotator"], row["class"]) for row in found["per_annotator"]}
    assert found["protocol"]["annotator_classes"] == {"bert": ["tumour"]} and "ignored" in found["protocol"]
    page = (tmp_path / "out/agreement.html").read_text()
    assert "draws only tumour" in page and 'class="silent"' in page


@pytest.mark.parametrize("how", ["majority", "run"])
def test_a_consensus_ignores_what_nobody_speaks_of(work, how, tmp_path, capsys):
    """Without Anna, of the stripe Bert alone speaks, and only of the tumour: by votes nobody knows what lies there."""
    index = read_index(work / "dataset.json")
    others = [{who: path for who, path in case.annotations.items() if who != "anna"} for case in index.cases]
    cases = tuple(replace(case, annotations=drawn) for case, drawn in zip(index.cases, others, strict=True))
    write_index(index.model_copy(update={"cases": cases}), tmp_path / "dataset.json")
    with_ = work / "run" if how == "run" else how
    umanet("fuse", tmp_path / "dataset.json", "--with", with_, "-o", tmp_path / "out")
    fused = read_index(tmp_path / "out/dataset.json")
    assert fused.annotators == ("consensus",) and fused.annotator_classes == {} and fused.ignore == (IGNORED,)
    values = np.asarray(Image.open(fused.cases[0].annotations["consensus"]))
    assert set(np.unique(values)) == ({0, 1, 2, IGNORED} if how == "majority" else {0, 1, 2})
    if how == "majority":
        bert, carl = read_case(index.cases[0], index).annotations.numpy()[1:]
        # Where Bert says that it is no tumour and Carl that it is one, it may as well be organ.
        assert np.array_equal(values == IGNORED, (bert == 0) & np.isin(carl, (IGNORE, 2)))
    capsys.readouterr()
    umanet("check", tmp_path / "out/dataset.json", "--json")
    assert json.loads(capsys.readouterr().out)["counts"]["error"] == 0
    umanet("evaluate", tmp_path / "out", tmp_path / "dataset.json", "-o", tmp_path / "scores")
    strict(tmp_path / "scores/evaluation.json")


@pytest.mark.parametrize("to", ["nnunet", "monai", "bids"])
def test_a_fused_export_has_a_value_for_what_is_ignored(work, to, tmp_path):
    umanet("export-dataset", work / "dataset.json", "--to", to, "--with", "majority", "-o", tmp_path / "out")
    assert any('"ignore"' in path.read_text() or "\tignore" in path.read_text()
               for path in [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.tsv")])  # fmt: skip


def test_grades_predictions_scores_and_the_report(work, tmp_path):
    dataset = work / "dataset.json"
    umanet("grade", work / "run", dataset, "-o", tmp_path / "grades")
    grades = strict(tmp_path / "grades/quality.json")
    assert len(grades["annotations"]) == 30 and not any(row["empty"] for row in grades["annotations"])
    umanet("predict", work / "run", dataset, "--split", "test", "-o", tmp_path / "predictions")
    umanet("evaluate", tmp_path / "predictions", dataset, "-o", tmp_path / "scores")
    scores = strict(tmp_path / "scores/evaluation.json")
    assert set(scores["annotators"]["bert"]) == {"tumour", "(mean)"}
    umanet("report", work / "run", "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "bert draws only tumour" in page and "voxels of file value 99" in page and 'class="silent"' in page


def test_an_annotation_that_ignores_all_has_a_dash_for_its_quality(work, tmp_path, capsys):
    index = read_index(work / "dataset.json")
    first = index.cases[0]
    path = write(tmp_path / first.id, np.full((32, 40), IGNORED))
    cases = (replace(first, annotations={"carl": path}), replace(index.cases[1], annotations={"carl": path}))
    write_index(index.model_copy(update={"cases": cases}), tmp_path / "dataset.json")
    capsys.readouterr()
    umanet("grade", work / "run", tmp_path / "dataset.json", "-o", tmp_path / "grades", "--no-maps")
    assert re.search(r"carl +- +False", capsys.readouterr().out)
    assert [row["quality"] for row in strict(tmp_path / "grades/quality.json")["annotations"]] == [None, None]


def test_algorithms_are_declared_beside_those_who_draw_some_classes(work, tmp_path):
    umanet("annotate", work / "dataset.json", "--with", "otsu", "--class", "organ", "-o", tmp_path / "out")
    index = read_index(tmp_path / "out/dataset.json")
    assert index.annotator_classes == {"bert": ("tumour",), "otsu": ("organ",)} and index.ignore == (IGNORED,)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["bert"], "--annotator-classes bert found, ANNOTATOR=CLASS or ANNOTATOR=CLASS,CLASS with each class once"),
        (["bert=tumour,tumour"], "with each class once expected"),
        (["bert=tumour", "bert=organ"], "--annotator-classes bert found twice, once expected. Join them"),
        (["bret=tumour"], "Annotator 'bret' found in `annotator_classes`, one of anna, bert, carl expected."),
        (
            ["bert=tumor"],
            "Class 'tumor' found in `annotator_classes` of 'bert', any of organ, tumour expected. Did you",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_in_a_line_and_leaves_nothing(work, flags, message, tmp_path, capsys):
    words = ["import", "folder", work / "raw", "-o", tmp_path / "dataset.json", "--ignore", IGNORED]
    assert main([*map(str, words), "--classes", *CLASSES, "--annotator-classes", *flags]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_class_that_is_ignored_too_is_refused(work, tmp_path, capsys):
    words = ["import", "folder", work / "raw", "-o", tmp_path / "dataset.json", "--ignore", 2, "--classes", *CLASSES]
    assert main([*map(str, words)]) == 2
    assert "File value 2 found in `ignore` and in class 'tumour'" in capsys.readouterr().err


def test_check_names_who_drew_a_class_that_they_are_said_not_to_draw(work, tmp_path, capsys):
    words = ["import", "folder", work / "raw", "-o", tmp_path / "dataset.json", "--ignore", IGNORED]
    umanet(*words, "--classes", *CLASSES, "--annotator-classes", "anna=tumour")
    capsys.readouterr()
    assert main(["check", str(tmp_path / "dataset.json"), "--json"]) == 1
    problems = [p for p in json.loads(capsys.readouterr().out)["problems"] if p["code"] == "undeclared-class"]
    assert len(problems) == 10 and {p["annotator"] for p in problems} == {"anna"}
    assert "Class 'organ'" in problems[0]["message"] and "only tumour expected" in problems[0]["message"]
