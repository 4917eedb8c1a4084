"""umanet evaluate and umanet compare, as they are typed."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fake_data.discs import write_array, write_discs
from umanet.__main__ import main
from umanet.data.index import write_index


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Discs, and two methods: one finds them, the other lies three pixels off."""
    folder = tmp_path_factory.mktemp("discs")
    index = write_discs(folder, (16, 18), train=5, validation=3)
    write_index(index, folder / "dataset.json")
    write_index(index.model_copy(update={"annotators_are_identified": False}), folder / "anonymous.json")
    for case in index.cases:
        for name, shift in (("good", 0), ("poor", 3)):
            (folder / name).mkdir(exist_ok=True)
            path = folder / name / f"{case.id}.png"
            shutil.copy(case.truth, path)
            if shift:
                write_array(folder / name, case.id, np.roll(np.asarray(Image.open(path)), shift, axis=0))
    return folder


@pytest.fixture
def work(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def scored(work, tmp_path):
    for name in ("good", "poor"):
        assert main(["evaluate", name, "dataset.json", "-o", str(tmp_path / name)]) == 0
    return tmp_path


def test_scores_are_printed_as_a_table_or_ready_to_paste_or_as_json(work, capsys):
    shown = {}
    for words in ((), ("--format", "markdown"), ("--format", "latex"), ("--json",)):
        assert main(["evaluate", "good", "dataset.json", "--against", "truth", *words]) == 0
        shown[words[-1] if words else "table"] = capsys.readouterr()
    assert "surface_dice" in shown["table"].out
    assert "| disc | Dice ↑ | 1.000 [1.000, 1.000] | 8 | 0 | 0 | 0 |" in shown["markdown"].out
    assert r"disc & IoU $\uparrow$ & 1.000 [1.000, 1.000] & 8 & 0 & 0 & 0 \\" in shown["latex"].out
    assert json.loads(shown["--json"].out)["summary"]["dice"]["mean"] == 1
    assert all("8 of 8 images do not say how large a voxel is" in one.err for one in shown.values())


def test_annotators_are_shown_where_they_are_asked_for(work, capsys):
    assert main(["evaluate", "good", "dataset.json", "--per-annotator", "--format", "markdown"]) == 0
    shown = capsys.readouterr().out
    assert "| anna | disc | 1.000 [1.000, 1.000] | 8 |" in shown and "| carl | disc | 0." in shown


def test_options_reach_the_protocol(work, capsys):
    words = ["--tolerance-mm", "3", "--missed", "diagonal", "--classes", "nested", "--seed", "4", "--json"]
    words += ["--bins", "5", "--region", "image"]
    assert main(["evaluate", "poor", "dataset.json", *words]) == 0
    said = json.loads(capsys.readouterr().out)["protocol"]
    assert said["distances"]["tolerance_mm"] == 3 and said["distances"]["missed"] == "diagonal"
    assert said["calibration"]["bins"] == 5 and said["calibration"]["region"] == "image"
    assert said["classes"] == "nested" and said["interval"]["seed"] == 4
    assert main(["evaluate", "poor", "dataset.json", "--protocol", "qubiq", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["summary"]) == ["qubiq_score"]
    assert main(["evaluate", "poor", "dataset.json", "--protocol", "lidc"]) == 0
    assert "The predictions hold no samples: ged, " in capsys.readouterr().err


def test_methods_are_compared(scored, capsys):
    capsys.readouterr()
    words = ["compare", str(scored / "good"), str(scored / "poor")]
    assert main([*words, "-o", str(scored / "out"), "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    assert json.loads((scored / "out" / "comparison.json").read_text()) == comparison
    assert (scored / "out" / "comparison.csv").is_file()
    dice = next(row for row in comparison["rows"] if row["metric"] == "dice")
    assert (dice["method"], dice["baseline"]) == ("poor", "good") and dice["high"] < 0
    # All of eight patients are worse: two of 2^8 sign patterns are as extreme.
    assert dice["p"] == pytest.approx(2 / 2**8, abs=0.01) and dice["patients"] == 8
    assert main(["compare", str(scored / "good")]) == 2
    assert "1 evaluation found, two or more expected" in capsys.readouterr().err
    assert main(["compare", str(scored / "good"), str(scored / "good" / "evaluation.json")]) == 2
    assert "good found twice, different evaluations expected" in capsys.readouterr().err
    for baseline in ("poor", str(scored / "poor")):
        assert main([*words, "--baseline", baseline, "--metrics", "dice", "--format", "markdown"]) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith("| disc | Dice ↑ | good | ") and "| +0." in line


def test_folders_of_one_name_are_told_apart_by_their_paths(scored, capsys):
    (scored / "again").mkdir()
    shutil.copytree(scored / "poor", scored / "again" / "good")
    capsys.readouterr()
    paths = [str(scored / "good"), str(scored / "again" / "good" / "evaluation.json")]
    assert main(["compare", *paths, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["protocol"]
    assert [said["baseline"], *said["methods"]] == paths


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("evaluate good anonymous.json --per-annotator", "annotators are anonymous in 'discs'"),
        ("evaluate good dataset.json --protocol lidc --per-annotator", "anonymous in the protocol 'lidc'"),
        ("evaluate good dataset.json --protocol riga --against truth", "scores against annotations only"),
        ("evaluate good dataset.json --json --format latex", "--json found with --format latex"),
        ("evaluate images dataset.json -o new", "Value"),
        ("evaluate good dataset.json --seed -1", "A seed of -1 found, 0 or more expected"),
        ("evaluate good dataset.json -o poor", "Files found in "),
        ("evaluate good dataset.json --uncertainty written -o new", "No map of uncertainty found for"),
        ("evaluate annotations dataset.json -o new", "No prediction of 8 of 8 cases (disc0, disc1, disc2, disc3,"),
        ("compare good poor", "No evaluation could be read from good/evaluation.json"),
    ],
)
def test_what_cannot_be_scored_is_one_line(work, capsys, words, expected):
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and expected in shown.err
    assert shown.err.startswith("umanet: ") and shown.err.count("\n") == 1
    assert not (work / "new").exists()


def test_what_the_numbers_do_not_show_is_said(work, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    for path in (work / "good").iterdir():
        write_array(tmp_path / "none", path.stem, np.zeros((16, 18)))
    assert main(["evaluate", str(tmp_path / "none"), "dataset.json"]) == 0
    shown = capsys.readouterr().err
    assert "8 of 8 cases have no probabilities: ece_truth, soft_dice, soft_iou, ece, ace, brier, nll take" in shown
    assert "Undefined in every case (a structure is missed or false): hd95_mm, assd_mm." in shown
    assert "Undefined in every case (annotators agree, as one does, or the uncertainty is the same" in shown


def test_labels_compared_with_probabilities_are_noted(scored, capsys):
    path = scored / "poor" / "evaluation.json"
    path.write_text(path.read_text().replace('"cases_with_probabilities": 0', '"cases_with_probabilities": 8'))
    capsys.readouterr()
    words = ["compare", str(scored / "good"), str(scored / "poor"), "--json"]
    assert main(words) == 0
    assert "Cases with probabilities: 0 of good, 8 of poor." in capsys.readouterr().err
    assert main([*words, "--metrics", "dice"]) == 0
    assert "Cases with probabilities" not in capsys.readouterr().err
    assert main([*words, "-o", str(scored / "good")]) == 2
    assert "a new or empty folder expected" in capsys.readouterr().err
