"""Agreement of a data set: the numbers of plain loops over its files, and what it says of nobody."""

import csv
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from fake_data.arrays import ball
from fake_data.discs import ANNOTATORS, write_array, write_discs
from fake_data.reference import PAGE, documented
from umanet.agreement import ALL, MARGIN, measure_agreement
from umanet.data.images import read_case
from umanet.data.index import ClassDefinition
from umanet.errors import ConfigError, DatasetError
from umanet.metrics import bootstrap_interval, dice

SHAPES = {2: (20, 26), 3: (10, 12, 8)}


def with_core(folder, shape):
    """The discs with a core of another class, which Bert forgets and Anna draws too large."""
    index = write_discs(folder, shape, train=3, validation=2)
    centre = tuple(side / 2 for side in shape)
    for case, who in [(one, who) for one in index.cases for who in one.annotations]:
        drawn = ball(shape, centre, 0.3 * min(shape)).numpy().astype(int)
        core = ball(shape, centre, {"anna": 2.5, "bert": 0, "carl": 1.6}[who]).numpy()
        write_array(folder / "annotations" / who, case.id, np.where(core, 2, drawn))
    classes = (*index.classes, ClassDefinition(name="core", values=(2,)))
    return index.model_copy(update={"classes": classes})


@pytest.fixture(scope="module", params=["2D", "3D", "classes", "equal"])
def measured(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "classes":
        index = with_core(folder, SHAPES[3])
    else:
        index = write_discs(folder, SHAPES[3 if request.param == "3D" else 2], train=3, validation=2)
    if request.param == "equal":
        carls = tuple(case for case in index.cases if "carl" in case.annotations)
        index = index.model_copy(update={"cases": carls})
    # Two cases are of one patient.
    cases = tuple(replace(case, patient="one" if number < 2 else case.id) for number, case in enumerate(index.cases))
    index = index.model_copy(update={"cases": cases})
    return index, measure_agreement(index)


def drawings(index):
    """Per case: who drew what, as labels."""
    for case in index.cases:
        sample = read_case(case, index)
        yield case, {who: sample.annotations[r].numpy() for r, who in enumerate(ANNOTATORS) if who in case.annotations}


def near(drawn):
    """Voxels within the margin of what anybody drew, along every axis."""
    there = np.any([labels > 0 for labels in drawn.values()], axis=0)
    padded = np.pad(there, MARGIN)
    steps = itertools.product(range(2 * MARGIN + 1), repeat=there.ndim)
    return np.any([padded[tuple(slice(a, a + n) for a, n in zip(at, there.shape, strict=True))] for at in steps], 0)


def plain_alpha(units, classes):
    """Krippendorff's formulas on his coincidence matrix, filled pair by pair."""
    coincidences = np.zeros((classes, classes))
    for unit in units:
        for first, second in itertools.permutations(unit, 2):
            coincidences[first, second] += 1 / (len(unit) - 1)
    values, total = coincidences.sum(axis=1), coincidences.sum()
    return 1 - (total - np.trace(coincidences)) / ((total**2 - np.sum(values**2)) / (total - 1))


def test_pairs_are_the_mean_dice_of_the_cases_that_both_annotated(measured):
    index, found = measured
    assert found.annotators == ANNOTATORS
    for k, name in enumerate(index.task.classes[1:], start=1):
        for (i, one), (j, other) in itertools.product(enumerate(ANNOTATORS), repeat=2):
            values = [dice(d[one] == k, d[other] == k) for _, d in drawings(index) if {one, other} <= set(d)]
            assert found.pairs[name][i, j] == pytest.approx(np.mean(values))
            assert found.pair_cases[i, j] == len(values)


def test_every_case_has_the_mean_dice_of_its_pairs_and_the_least_comes_first(measured):
    index, found = measured
    expected = {}
    for case, drawn in drawings(index):
        for k, name in enumerate(index.task.classes[1:], start=1):
            pairs = list(itertools.combinations(drawn.values(), 2))
            expected[case.id, name] = np.mean([dice(a == k, b == k) for a, b in pairs])
    assert {(row["case"], row["class"]): row["mean_pairwise_dice"] for row in found.cases} == pytest.approx(expected)
    assert [row["mean_pairwise_dice"] for row in found.cases] == sorted(expected.values())
    for name in index.task.classes[1:]:
        estimate = found.statistics[name]["mean_pairwise_dice"]
        values = [expected[case.id, name] for case in index.cases]
        assert estimate["value"] == pytest.approx(np.mean(values))
        interval = bootstrap_interval(values, [case.patient for case in index.cases], seed=0)
        assert estimate["ci95"] == pytest.approx(list(interval))


@pytest.mark.parametrize("region", ["union", "image"])
def test_alpha_is_that_of_all_voxels_near_annotations_or_of_the_whole_image(measured, region):
    index, found = measured
    units = []
    for _, drawn in drawings(index):
        inside = near(drawn) if region == "union" else np.ones(index_shape(drawn), bool)
        units += np.stack([labels[inside] for labels in drawn.values()], axis=1).tolist()
    for k, name in enumerate(index.task.classes[1:], start=1):
        own = [[int(label == k) for label in unit] for unit in units]
        estimate = found.statistics[name]["krippendorff_alpha"][region]
        assert estimate["value"] == pytest.approx(plain_alpha(own, 2))
        low, high = estimate["ci95"]
        assert low <= estimate["value"] <= high
    if len(index.classes) > 2:
        together = found.statistics[ALL]["krippendorff_alpha"][region]["value"]
        assert together == pytest.approx(plain_alpha(units, len(index.classes)))


def index_shape(drawn):
    return next(iter(drawn.values())).shape


def test_kappa_is_there_only_where_all_cases_have_as_many_annotations(measured):
    index, found = measured
    constant = len({len(case.annotations) for case in index.cases}) == 1
    for row in found.statistics.values():
        for region, alpha in row["krippendorff_alpha"].items():
            kappa = row["fleiss_kappa"][region]
            if constant:
                # They differ by a correction for the number of votes.
                assert kappa["value"] == pytest.approx(alpha["value"], abs=1e-3) and kappa["ci95"][0] is not None
            else:
                assert kappa == {"value": None, "ci95": [None, None]}


def plain_others(index, who, k):
    """Volumes that both, the annotator, the consensus of the others, and neither have; a tie is half a voxel."""
    both = own = consensus = voxels = 0.0
    for _, drawn in drawings(index):
        if who not in drawn:
            continue
        inside = near(drawn)
        voxels += inside.sum()
        for at in np.argwhere(inside):
            votes = np.bincount([drawn[o][tuple(at)] for o in drawn if o != who], minlength=len(index.classes))
            leading = np.flatnonzero(votes == votes.max())
            share = 0.5 * (leading[0] == k) + 0.5 * (leading[-1] == k)
            mine = drawn[who][tuple(at)] == k
            both, own, consensus = both + mine * share, own + mine, consensus + share
    return both, own, consensus, voxels - own - consensus + both


def outside(index, who):
    """Voxels that lie near nobody's annotation, in the cases of an annotator."""
    return sum(int((~near(drawn)).sum()) for _, drawn in drawings(index) if who in drawn)


def test_every_annotator_is_compared_with_the_consensus_of_the_others(measured):
    index, found = measured
    rows = {(row["annotator"], row["class"]): row for row in found.per_annotator}
    assert len(rows) == len(ANNOTATORS) * (len(index.classes) - 1)
    for who, (k, name) in itertools.product(ANNOTATORS, enumerate(index.task.classes[1:], start=1)):
        both, own, consensus, neither = plain_others(index, who, k)
        row = rows[who, name]
        assert row["cases"] == sum(who in case.annotations for case in index.cases)
        assert row["sensitivity"]["value"] == pytest.approx(both / consensus)
        assert row["volume_ratio"]["value"] == pytest.approx(own / consensus)
        assert row["specificity"]["union"]["value"] == pytest.approx(neither / (neither + own - both))
        whole = neither + outside(index, who)
        assert row["specificity"]["image"]["value"] == pytest.approx(whole / (whole + own - both))
        alone = [plain_others(index.model_copy(update={"cases": (case,)}), who, k) for case in index.cases]
        scores = [2 * b / (o + c) if o + c else 1.0 for b, o, c, n in alone if b + o + c + n]
        assert row["dice"]["value"] == pytest.approx(np.mean(scores))
    means = [np.mean([row["dice"]["value"] for row in found.per_annotator if row["annotator"] == who])
             for who in dict.fromkeys(row["annotator"] for row in found.per_annotator)]  # fmt: skip
    assert means == sorted(means, reverse=True)


def test_who_draws_more_than_the_others_has_an_interval_above_one(tmp_path):
    index = with_core(tmp_path, SHAPES[2])
    rows = {(row["annotator"], row["class"]): row["volume_ratio"] for row in measure_agreement(index).per_annotator}
    assert rows["anna", "core"]["ci95"][0] > 1 and rows["bert", "core"]["value"] == 0


def test_two_who_differ_are_neither_too_large_nor_too_small_for_the_third(tmp_path):
    """With ties for the background, whoever is compared with two others would always draw more than they do."""
    index = write_discs(tmp_path, SHAPES[2], train=1, validation=0)
    for who, radius in zip(ANNOTATORS, (4.0, 6.0, 8.0), strict=True):
        write_array(tmp_path / "annotations" / who, "disc0", ball(SHAPES[2], (10, 13), radius).numpy())
    drawn = next(drawings(index))[1]
    sizes = [int(labels.sum()) for labels in drawn.values()]
    ratio = next(r["volume_ratio"]["value"] for r in measure_agreement(index).per_annotator if r["annotator"] == "bert")
    assert ratio == pytest.approx(sizes[1] / np.mean([sizes[0], sizes[2]]))


def test_empty_annotations_are_counted_and_told_from_missed_ones(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=3, validation=0)
    nothing = np.zeros(SHAPES[2])
    for who, case in (("anna", "disc0"), ("anna", "disc1"), ("bert", "disc1"), ("anna", "disc2"), ("bert", "disc2")):
        write_array(tmp_path / "annotations" / who, case, nothing)
    found = measure_agreement(index)
    rows = {row["annotator"]: [row[name] for name in ("empty", "missed", "false")] for row in found.per_annotator}
    # disc0: only Anna drew nothing; disc1: nobody of the two drew; disc2: only Carl drew.
    assert rows == {"anna": [3, 1, 0], "bert": [2, 0, 0], "carl": [0, 0, 1]}
    counts = [found.statistics["disc"][name] for name in ("pairs", "both_empty", "one_empty")]
    assert counts == [7, 2, 4]
    assert {row["case"]: row["drew"] for row in found.cases} == {"disc0": 2, "disc1": 0, "disc2": 1}
    assert next(row for row in found.per_annotator if row["annotator"] == "bert")["dice"]["value"] is not None


def test_the_farthest_annotator_is_named_where_there_is_one(tmp_path):
    found = measure_agreement(write_discs(tmp_path, SHAPES[2], train=2, validation=0))
    rows = {row["case"]: row for row in found.cases}
    assert (rows["disc0"]["farthest"], rows["disc1"]["farthest"]) == ("carl", None)
    assert rows["disc0"]["farthest_dice"] < rows["disc0"]["mean_pairwise_dice"]


def test_nothing_is_said_about_anonymous_annotators(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=1)
    named = measure_agreement(index)
    found = measure_agreement(index.model_copy(update={"annotators_are_identified": False}))
    assert (found.annotators, found.pairs, found.per_annotator) == ((), {}, []) and found.pair_cases.size == 0
    assert found.statistics == named.statistics and found.cases == named.cases
    assert not found.protocol["annotators_are_identified"]


def test_cases_with_fewer_than_two_annotations_are_left_out_and_counted(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=3, validation=2)
    alone = replace(index.cases[0], annotations={"carl": index.cases[0].annotations["carl"]})
    index = index.model_copy(update={"cases": (alone, replace(index.cases[1], annotations={}), *index.cases[2:])})
    seen = []
    found = measure_agreement(index, progress=lambda done, total: seen.append((done, total)))
    assert (found.protocol["cases"], found.protocol["left_out"]) == (3, 2)
    assert found.protocol["cases_by_annotations"] == {"2": 1, "3": 2} and found.protocol["annotations"] == 8
    assert {row["case"] for row in found.cases} == {"disc2", "disc3", "disc4"}
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert {row["case"] for row in measure_agreement(index, "validation").cases} == {"disc3", "disc4"}


def test_the_agreement_of_one_annotator_is_said_to_be_undefined(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=1)
    alone = tuple(replace(case, annotations={"anna": case.annotations["anna"]}) for case in index.cases)
    with pytest.raises(DatasetError, match=r"among the 3 of 'discs'.*the agreement of one annotator is undefined"):
        measure_agreement(index.model_copy(update={"cases": alone}))
    with pytest.raises(DatasetError, match="No case found in split 'test' of 'discs'"):
        measure_agreement(index, "test")


def test_one_patient_has_no_interval(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=0)
    cases = tuple(replace(case, patient="one") for case in index.cases)
    found = measure_agreement(index.model_copy(update={"cases": cases}))
    row = found.statistics["disc"]
    assert row["mean_pairwise_dice"]["value"] > 0
    assert row["mean_pairwise_dice"]["ci95"] == row["krippendorff_alpha"]["union"]["ci95"] == [None, None]


def test_images_that_nobody_drew_on_have_a_dice_of_one_and_no_alpha(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=0)
    for case in index.cases:
        for who in case.annotations:
            write_array(tmp_path / "annotations" / who, case.id, np.zeros(SHAPES[2]))
    found = measure_agreement(index)
    assert found.statistics["disc"]["mean_pairwise_dice"]["value"] == 1
    assert found.statistics["disc"]["krippendorff_alpha"]["union"]["value"] is None
    row = found.per_annotator[0]
    assert row["dice"]["value"] == 1 and row["volume_ratio"]["value"] is None and row["missed"] == 0
    json.loads(found.to_json())


def test_what_is_written_is_what_was_found(measured, tmp_path):
    _, found = measured
    found.write(tmp_path)
    values = json.loads((tmp_path / "agreement.json").read_text())
    assert (values["format"], values["version"]) == ("umanet-agreement", 1)
    keys = {key.split(".")[0] for key in documented("Agreement", "key")}
    assert keys | {"format", "version"} == set(values)
    named = {name for row in (values["per_annotator"][0], values["statistics"]["disc"]) for name in row}
    assert [name for name in named if f"`{name}`" not in PAGE.read_text(encoding="utf-8")] == []
    assert values["per_annotator"] == found.per_annotator and values["statistics"] == found.statistics
    assert np.array(values["pairs"]["disc"], float) == pytest.approx(found.pairs["disc"])
    with (tmp_path / "agreement.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(found.cases[0]) == documented("Agreement", "column")
    assert [float(row["mean_pairwise_dice"]) for row in rows] == [row["mean_pairwise_dice"] for row in found.cases]


def test_a_negative_seed_is_refused_before_anything_is_compared(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=0)
    with pytest.raises(ConfigError, match="A seed of -1 found"):
        measure_agreement(index, seed=-1, progress=lambda done, total: pytest.fail("compared"))
