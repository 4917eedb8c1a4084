"""Agreement of annotators who draw some classes only, or ignore voxels, by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from umanet.agreement import ALL, measure_agreement
from umanet.agreement.counted import count_case
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import DatasetError
from umanet.metrics import krippendorff_alpha
from umanet.metrics.agreement import agreement_counts, confusion_with_others, pairwise_dice
from umanet.types import IGNORE, Case

X = IGNORE
CLASSES = (
    ClassDefinition(name="background", values=(0,)),
    ClassDefinition(name="organ", values=(1,)),
    ClassDefinition(name="tumour", values=(2,)),
)
DRAWN = {
    "anna": [0, 1, 1, 1, 2, 2, 0, 0],
    "bert": [0, 0, 0, 0, 2, 0, 0, 0],
    "carl": [X, X, 1, 1, 2, 2, 2, 0],
}
"""Bert draws the tumour only."""


@pytest.fixture
def index(tmp_path):
    """Three cases with the same lines."""
    cases = []
    for number in range(3):
        Image.fromarray(np.zeros((1, 8), np.uint8)).save(tmp_path / f"{number}.png")
        paths = {who: tmp_path / f"{number}-{who}.png" for who in DRAWN}
        for who, path in paths.items():
            Image.fromarray(np.array([DRAWN[who]], np.uint8)).save(path)
        cases.append(Case(str(number), (tmp_path / f"{number}.png",), paths, patient=str(number), split="train"))
    return DatasetIndex(
        spatial_dims=2, channels=("grey",), classes=CLASSES, annotators=tuple(DRAWN), cases=tuple(cases),
        ignore=(IGNORE,), annotator_classes={"bert": ("tumour",)},
    )  # fmt: skip


def test_pairs_are_compared_where_both_speak_of_the_class(index):
    found = measure_agreement(index)
    # Organ: only Anna and Carl, from the third voxel on.
    np.testing.assert_allclose(found.pairs["organ"], [[1, np.nan, 1], [np.nan] * 3, [1, np.nan, 1]])
    # Tumour: of two voxels and one; of two and three; of one and three.
    np.testing.assert_allclose(found.pairs["tumour"], [[1, 2 / 3, 4 / 5], [2 / 3, 1, 1 / 2], [4 / 5, 1 / 2, 1]])
    assert found.statistics["organ"]["mean_pairwise_dice"]["value"] == 1
    assert [found.statistics[name]["pairs"] for name in ("organ", "tumour", ALL)] == [3, 9, 12]
    row = next(row for row in found.cases if row["class"] == "organ")
    assert (row["annotations"], row["drew"], row["least_voxels"], row["most_voxels"]) == (2, 2, 2, 3)


def test_undefined_numbers_are_null(index):
    index = index.model_copy(update={"annotator_classes": {"bert": ("tumour",), "carl": ("tumour",)}})
    found = measure_agreement(index)
    values = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert values["pairs"]["organ"] == [[1, None, None], [None] * 3, [None] * 3]
    assert values["statistics"]["organ"]["mean_pairwise_dice"] == {"value": None, "ci95": [None, None]}
    assert values["statistics"][ALL]["krippendorff_alpha"]["union"]["value"] is None
    alone = next(row for row in values["per_annotator"] if row["class"] == "organ")
    assert (alone["annotator"], alone["cases"], alone["dice"]["value"], alone["missed"]) == ("anna", 0, None, None)
    assert [row["class"] for row in values["cases"]] == ["tumour"] * 3 + ["organ"] * 3
    assert values["cases"][-1]["mean_pairwise_dice"] is None


def test_who_does_not_draw_a_class_neither_misses_it_nor_votes_against_it(index):
    rows = {(row["annotator"], row["class"]): row for row in measure_agreement(index).per_annotator}
    assert set(rows) == {(who, name) for who in DRAWN for name in ("organ", "tumour")} - {("bert", "organ")}
    # Against Carl alone, without the voxels that he ignores.
    assert rows["anna", "organ"]["sensitivity"]["value"] == rows["anna", "organ"]["volume_ratio"]["value"] == 1
    # Of the tumour the others are Anna and Carl, of one voxel Carl alone: a tie counts half.
    assert rows["bert", "tumour"]["sensitivity"]["value"] == pytest.approx(1 / 2.5)


def test_alpha_is_of_those_who_speak_of_the_voxel(index):
    found = measure_agreement(index)
    drawn = np.array([DRAWN["anna"], DRAWN["carl"]], np.uint8)
    for k, name in enumerate(("organ", "tumour"), start=1):
        rows = drawn if name == "organ" else np.array(list(DRAWN.values()), np.uint8)
        own = np.where(rows == X, X, rows == k).astype(np.uint8)
        expected = krippendorff_alpha(np.tile(own, 3), None, 2)
        assert found.statistics[name]["krippendorff_alpha"]["image"]["value"] == pytest.approx(expected)
    organ = (drawn == 1).astype(np.uint8)
    assert krippendorff_alpha(np.where(drawn == X, X, organ), None, 2) == krippendorff_alpha(organ[:, 2:], None, 2)
    assert found.statistics["organ"]["fleiss_kappa"]["image"]["value"] == pytest.approx(1)
    assert found.statistics["tumour"]["fleiss_kappa"]["image"]["value"] is None  # two or three speak


def test_a_value_that_is_ignored_nowhere_changes_nothing(index):
    """The very numbers of the path for data that ignore nothing."""
    anna = replace(index.cases[0], annotations={who: index.cases[0].annotations[who] for who in ("anna", "bert")})
    full = index.model_copy(update={"cases": (anna,), "annotator_classes": {}})
    found, expected = measure_agreement(full), measure_agreement(full.model_copy(update={"ignore": ()}))
    assert replace(found, protocol={}).to_json() == replace(expected, protocol={}).to_json()


def test_those_who_share_no_class_cannot_be_compared(index):
    apart = {"anna": ("organ",), "bert": ("tumour",)}
    cases = tuple(
        replace(case, annotations={who: case.annotations[who] for who in ("anna", "bert")}) for case in index.cases
    )
    with pytest.raises(DatasetError, match="No two annotations of a case that speak of the same class and voxel found"):
        measure_agreement(index.model_copy(update={"annotator_classes": apart, "cases": cases}))


def test_who_ignores_the_whole_image_is_as_absent(index):
    Image.fromarray(np.full((1, 8), X, np.uint8)).save(index.cases[0].annotations["carl"])
    counted = count_case(index.cases[0], index)
    assert counted.draw.tolist() == [[True, False, False], [True, True, False]]
    assert counted.numbers_of_pairs == [(0, 0, 0), (1, 0, 0)]


def test_counts_by_hand():
    labels = np.array([[0, 1, 1, X], [0, 1, 0, X], [1, X, 1, 1]], np.uint8)
    counts = agreement_counts(labels, None, 2)
    # Voxel 1 has two votes of class 1; voxels 0 and 2 three each; voxel 3 only one.
    assert counts[2].tolist() == [[0, 0], [0, 2]]
    assert counts[3].tolist() == [[2, 4], [4, 2]] and not counts[:2].any()
    third = confusion_with_others(labels, None, 2)[2]
    # Others say 0 at voxel 0, tie at voxel 2; nobody else speaks of voxel 3.
    assert third.tolist() == [[0, 2], [0, 0]]
    silent = labels == X
    dice = pairwise_dice((labels == 1) & ~silent, None, silent)
    np.testing.assert_allclose(dice[0], [1, 2 / 3, 2 / 3])
    nowhere = pairwise_dice(np.ones((2, 2), bool), None, np.array([[True, False], [False, True]]))
    np.testing.assert_array_equal(nowhere, [[1, np.nan], [np.nan, 1]])
