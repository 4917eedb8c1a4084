"""Algorithms become annotators of a data set, through the command line."""

from dataclasses import replace

import numpy as np
import pytest

from fake_data.discs import ANNOTATORS, write_array, write_discs
from umanet.cli import main
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition, read_index, write_index


@pytest.fixture(params=[(40, 52), (20, 24, 18)], ids=["2D", "3D"])
def index(request, tmp_path):
    found = write_discs(tmp_path / "raw", request.param)
    write_index(found, tmp_path / "dataset.json")
    return found


def annotate(folder, *words) -> int:
    return main(["annotate", str(folder / "dataset.json"), "-o", str(folder / "drawn"), *words])


def test_algorithms_join_the_people(index, tmp_path):
    assert annotate(tmp_path, "--with", "otsu", "chan-vese") == 0
    again = read_index(tmp_path / "drawn" / "dataset.json")
    assert again.annotators == (*ANNOTATORS, "otsu", "chan-vese")
    for old, new in zip(index.cases, again.cases, strict=True):
        first, second = read_case(old, index), read_case(new, again)
        np.testing.assert_array_equal(first.annotations.numpy(), second.annotations[:3].numpy())
        np.testing.assert_array_equal(first.image.numpy(), second.image.numpy())
        disc = first.annotations[0].numpy() == 1
        assert all(np.mean(drawn.numpy() == disc) > 0.97 for drawn in second.annotations[3:])


def test_with_only_the_people_stay_out_and_their_data_set_is_untouched(index, tmp_path):
    write_index(index.model_copy(update={"annotators_are_identified": False}), tmp_path / "dataset.json")
    before = (tmp_path / "dataset.json").read_bytes()
    assert annotate(tmp_path, "--with", "otsu", "--only") == 0
    again = read_index(tmp_path / "drawn" / "dataset.json")
    assert again.annotators == ("otsu",) and again.annotators_are_identified
    assert [set(case.annotations) for case in again.cases] == [{"otsu"}] * len(index.cases)
    assert [case.split for case in again.cases] == [case.split for case in index.cases]
    assert (tmp_path / "dataset.json").read_bytes() == before


def test_of_several_classes_an_algorithm_draws_one_and_is_said_to(index, tmp_path, capsys):
    several = (*index.classes, ClassDefinition(name="ring", values=(2,)))
    write_index(index.model_copy(update={"classes": several}), tmp_path / "dataset.json")
    assert annotate(tmp_path, "--with", "otsu") == 2
    assert "one of disc, ring expected" in capsys.readouterr().err
    assert annotate(tmp_path, "--with", "otsu", "--class", "ring") == 0
    again = read_index(tmp_path / "drawn" / "dataset.json")
    assert again.annotator_classes == {"otsu": ("ring",)}
    drawn = read_case(again.cases[0], again).annotations[again.annotators.index("otsu")]
    assert set(np.unique(drawn)) == {0, 2}


def test_an_algorithm_that_finds_nothing_is_said(index, tmp_path, capsys):
    shape = tuple(read_case(index.cases[0], index).annotations.shape[1:])
    for case in index.cases[:2]:
        write_array(tmp_path / "raw" / "images", case.id, np.full(shape, 9.0))
    assert annotate(tmp_path, "--with", "otsu") == 0
    assert "otsu: 2 of 6 annotations empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "otsoo"), "Algorithm 'otsoo' found"),
        (("--with", "otsu", "otsu"), "found twice"),
        (("--with", "otsu", "--channel", "T1"), "Channel 'T1' found, one of grey expected"),
        (("--with", "otsu", "--class", "ring"), "Class 'ring' found, one of disc expected"),
        (("--with", "otsu", "--smooth", "-1"), "smooth = -1.0 found"),
        (("--with", "otsu", "--within", "0"), "within = 0.0 found"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_written(index, tmp_path, capsys, words, said):
    assert annotate(tmp_path, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "drawn").exists()


def test_an_algorithm_does_not_take_the_name_of_a_person(index, tmp_path, capsys):
    cases = tuple(replace(case, annotations={"otsu": case.annotations["anna"]}) for case in index.cases)
    renamed = index.model_copy(update={"annotators": ("otsu",), "cases": cases})
    write_index(renamed, tmp_path / "dataset.json")
    assert annotate(tmp_path, "--with", "otsu") == 2
    assert "An annotator 'otsu' found" in capsys.readouterr().err
