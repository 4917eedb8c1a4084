"""What import and simulate say about what they made."""

from fake_data.discs import write_discs
from fake_data.raw.nnunet import write
from umanet.__main__ import main
from umanet.data.index import read_index


def test_import_counts_the_patients_and_cases_of_every_split(tmp_path, capsys):
    write_discs(tmp_path, (8, 8), train=10)
    words = ["import", "folder", tmp_path, "-o", tmp_path / "dataset.json", "--fractions", 0.5, 0.5, 0]
    assert main([*map(str, words), "--patient-pattern", "disc1?"]) == 0
    said = "Splits: train 1 patient with 3 cases, validation 1 patient with 9 cases, test 0 patients with 0 cases.\n"
    assert said in capsys.readouterr().err


def test_any_source_may_have_anonymous_annotators(tmp_path):
    raw = write(tmp_path / "raw")
    assert main(["import", "nnunet", str(raw), "-o", str(tmp_path / "dataset.json"), "--anonymous"]) == 0
    assert not read_index(tmp_path / "dataset.json").annotators_are_identified


def test_simulate_counts_them_too(tmp_path, capsys):
    write_discs(tmp_path, (16, 16))
    words = ["simulate", "--images", tmp_path / "images", "--truth", tmp_path / "truth", "-o", tmp_path / "out"]
    assert main([*map(str, words)]) == 0
    said = "Splits: train 4 patients with 4 cases, validation 1 patient with 1 case, test 1 patient with 1 case.\n"
    assert said in capsys.readouterr().err
