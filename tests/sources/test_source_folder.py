"""Masks of any tool beside a plain folder."""

from pathlib import Path

import pytest

from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.data.images import read_case
from umanet.data.index import read_index


def run_import(root: Path, *words: object) -> int:
    return main(["import", "folder", str(root), "-o", str(root.parent / "dataset.json"), *map(str, words)])


@pytest.fixture
def root(tmp_path):
    write_discs(tmp_path / "raw", train=6)
    return tmp_path / "raw"


def test_masks_that_lie_elsewhere_are_a_further_annotator(root, tmp_path, monkeypatch):
    elsewhere = tmp_path / "masks of a tool"
    elsewhere.mkdir()
    for path in (root / "truth").iterdir():
        path.rename(elsewhere / path.name)
    (root / "truth").rmdir()
    monkeypatch.chdir(tmp_path)
    assert run_import(root, "--annotator", "tool=masks of a tool") == 0
    index = read_index(tmp_path / "dataset.json")
    assert index.annotators == ("anna", "bert", "carl", "tool")
    assert all("tool" in case.annotations for case in index.cases)
    sample = read_case(index.cases[1], index)
    assert (sample.annotations[3] == sample.annotations[0]).all()


def test_no_annotations_folder_is_needed_and_two_annotators_may_lie_elsewhere(root, tmp_path):
    (root / "annotations").rename(tmp_path / "drawn")
    words = ["--annotator", f"a={tmp_path / 'drawn' / 'anna'}", "--annotator", f"b={tmp_path / 'drawn' / 'bert'}"]
    assert run_import(root, *words) == 0
    assert read_index(tmp_path / "dataset.json").annotators == ("a", "b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--annotator", "tool"], "--annotator tool found, NAME=FOLDER expected"),
        (["--annotator", "anna={raw}/truth"], "have an annotator of this name"),
        (["--annotator", "tool={raw}/nowhere"], "No folder found at"),
        (["--annotator", "tool={raw}/truth", "--annotator", "tool={raw}/truth"], "--annotator tool found twice"),
        (["--annotator", "tool={raw}/empty"], "No file found in"),
        (["--annotator", "tool={raw}/other"], "1 annotation without image found in"),
    ],
)
def test_what_is_wrong_with_a_further_annotator_is_said(root, capsys, words, message):
    (root / "empty").mkdir()
    (root / "other").mkdir()
    (root / "truth" / "disc0.png").rename(root / "other" / "stranger.png")
    assert run_import(root, *(word.format(raw=root) for word in words)) == 2
    assert message in capsys.readouterr().err
