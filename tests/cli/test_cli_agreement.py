"""umanet agreement: tables, files, and a line for whatever is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fake_data.discs import write_array, write_discs
from umanet.cli import main
from umanet.data.index import write_index


@pytest.fixture
def data(tmp_path):
    """Anna, Bert and Carl in 2D; returns what writes the index, changed or not, and where it is."""
    index = write_discs(tmp_path, (16, 20), train=3, validation=1)
    path = tmp_path / "dataset.json"

    def write(**changes):
        write_index(index.model_copy(update=changes), path)
        return index

    write()
    return write, path


def test_the_tables_name_every_annotator_and_the_worst_case(data, capsys):
    _, path = data
    assert main(["agreement", str(path)]) == 0
    shown = capsys.readouterr()
    for said in (
        "mean Dice of pairs",
        "Krippendorff's alpha",
        "near annotations",
        "anna",
        "carl",
        "volume ratio",
        "disc0",
    ):
        assert said in shown.out
    assert "Fleiss" not in shown.out and "Next: umanet agreement" in shown.err
    assert not (path.parent / "agreement").exists()


def test_the_folder_holds_a_page_a_table_and_json(data, tmp_path, capsys):
    _, path = data
    assert main(["agreement", str(path), "-o", str(tmp_path / "new" / "out"), "--split", "train"]) == 0
    folder = tmp_path / "new" / "out"
    assert sorted(one.name for one in folder.iterdir()) == ["agreement.csv", "agreement.html", "agreement.json"]
    assert "agreement.html in a browser" in capsys.readouterr().err
    assert json.loads((folder / "agreement.json").read_text())["protocol"]["split"] == "train"
    page = (folder / "agreement.html").read_text(encoding="utf-8")
    assert "umanet agreement" in page and "--split train" in page and "disc3" not in page


def test_json_is_all_that_is_printed(data, capsys):
    _, path = data
    assert main(["agreement", str(path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["format"] == "umanet-agreement" and len(values["cases"]) == 4


def test_anonymous_annotators_get_a_sentence_and_no_table(data, capsys):
    write, path = data
    write(annotators_are_identified=False)
    assert main(["agreement", str(path)]) == 0
    shown = capsys.readouterr()
    assert "annotators are anonymous" in shown.err and "volume ratio" not in shown.out


def test_cases_that_are_left_out_are_counted(data, capsys):
    write, path = data
    index = write()
    write(cases=(replace(index.cases[0], annotations={}), *index.cases[1:]))
    assert main(["agreement", str(path)]) == 0
    assert "1 of 4 cases are left out" in capsys.readouterr().err


def only_anna(write, path):
    index = write()
    cases = tuple(replace(case, annotations={"anna": case.annotations["anna"]}) for case in index.cases)
    write(cases=cases)


def other_shape(write, path):
    write_array(path.parent / "annotations" / "anna", "disc2", np.zeros((5, 6)))


def other_value(write, path):
    write_array(path.parent / "annotations" / "anna", "disc2", np.full((16, 20), 9))


@pytest.mark.parametrize(
    ("damage", "more", "said"),
    [
        (only_anna, (), "the agreement of one annotator is undefined"),
        (lambda write, path: None, ("--split", "test"), "No case found in split 'test' of 'discs'. Measure"),
        (lambda write, path: None, ("--split", "tset"), "Did you mean 'test'?"),
        (other_shape, (), "the same grid expected"),
        (other_value, (), "Value 9 found"),
        (lambda write, path: (path.parent / "annotations/bert/disc2.png").unlink(), (), "disc2.png"),
        (lambda write, path: path.write_text("{"), (), "is not valid JSON"),
    ],
    ids=["one annotator", "empty split", "no split", "shape", "value", "missing file", "no JSON"],
)
def test_bad_input_is_a_line_and_leaves_nothing(data, tmp_path, capsys, damage, more, said):
    write, path = data
    damage(write, path)
    assert main(["agreement", str(path), "-o", str(tmp_path / "out"), *more]) == 2
    message = capsys.readouterr()
    assert said in message.err and message.err.count("\n") == 1 and not message.out
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".writing*"))


def test_a_folder_in_use_is_refused_before_anything_is_read(data, tmp_path, capsys):
    write, path = data
    only_anna(write, path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main(["agreement", str(path), "-o", str(tmp_path / "out")]) == 2
    assert "a new or empty folder expected" in capsys.readouterr().err
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["mine.txt"]
