"""The list of methods says what the methods themselves say."""

import json

import pytest

from fake_data.arrays import make_method, make_task, tiny_config
from umanet.__main__ import main
from umanet.errors import TaskError
from umanet.fusion import FUSIONS
from umanet.methods import METHODS, GradesAnnotations


@pytest.fixture
def listed(capsys) -> dict[str, dict[str, object]]:
    assert main(["methods", "--json"]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)}


def test_every_method_is_listed_with_its_paper(listed):
    assert list(listed) == list(METHODS)
    without = [name for name, one in listed.items() if "DOI 10." not in str(one["reference"])]
    assert without == ["truth", *(name for name in FUSIONS if name != "staple")]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_listed_is_what_the_method_does(name, listed):
    method = make_method(make_task(), tiny_config(name))
    assert listed[name]["grades"] == isinstance(method, GradesAnnotations)
    assert listed[name]["per_annotator"] == method.per_annotator
    assert listed[name]["samples"] == method.samples
    assert listed[name]["needs_identity"] == _refuses_anonymous(name)


def _refuses_anonymous(name: str) -> bool:
    try:
        make_method(make_task(identified=False), tiny_config(name))
    except TaskError:
        return True
    return False


def test_the_table_has_a_row_per_method_and_the_references_below(capsys):
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in METHODS)
    assert "confusion-matrix: Zhang et al." in shown
    assert "needs identity: refuses anonymous" in shown and "by default the one with the most cases" in shown
