"""What learning rates are chosen by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.arrays import make_method, make_task, tiny_config
from fake_data.discs import write_discs
from umanet.benchmark import validation
from umanet.data.images import read_case
from umanet.inference.model_file import load_model, save_model
from umanet.inference.predict import predict_case
from umanet.metrics import dice
from umanet.types import IGNORE, Geometry, Sample

TASK = make_task(annotators=3)


def sample_of(*annotations, present=(True, True, True)) -> Sample:
    """Of one row of pixels."""
    said = torch.tensor(annotations, dtype=torch.uint8)[:, None]
    image, geometry = torch.zeros(1, *said.shape[1:]), Geometry(tuple(said.shape[1:]), (1.0, 1.0))
    return Sample("case", image, said, torch.tensor(present), geometry)


def probabilities(foreground) -> np.ndarray:
    p = np.array(foreground, np.float32)[None]
    return np.stack([1 - p, p])


def test_against_annotations_a_probability_that_is_their_share_is_best():
    sample = sample_of([1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])
    share, labels = (probabilities(one) for one in ([1, 2 / 3, 1 / 3, 0], [1, 1, 0, 0]))
    assert validation._soft_dice(sample, share, TASK) == 1
    assert validation._soft_dice(sample, labels, TASK) < 1
    assert validation._majority_dice(sample, share, TASK) == validation._majority_dice(sample, labels, TASK) == 1


def test_absent_annotators_and_ignored_pixels_do_not_count():
    sample = sample_of([1, 1, IGNORE, 0], [0, 0, 1, 1], [1, 1, 1, 0], present=(True, False, True))
    assert validation._soft_dice(sample, probabilities([1, 1, 0, 0]), TASK) == 1
    assert validation._majority_dice(sample, probabilities([1, 1, 1, 0]), TASK) == 1


def test_who_learns_the_truth_is_chosen_by_it(tmp_path):
    index = write_discs(tmp_path, (8, 8))
    none = tuple(replace(case, annotations={}) for case in index.cases)  # nothing else to be chosen by
    config = tiny_config("truth")
    save_model(make_method(index.task, config), index, config, tmp_path / "run")
    model = load_model(tmp_path / "run")
    found = validation.validation_score(model, index.model_copy(update={"cases": none}), "truth")
    truths = [read_case(case, index).truth.numpy() == 1 for case in index.select("validation")]
    drawn = [
        predict_case(model, read_case(case, index)).probabilities[0].numpy().argmax(0) == 1
        for case in index.select("validation")
    ]
    assert found == pytest.approx(np.mean([dice(one, true) for one, true in zip(drawn, truths, strict=True)]))


@pytest.mark.parametrize(("against", "expected"), [("truth", 0.5), ("annotations", 0.4)])
def test_the_median_against_a_truth_that_is_not_seen_and_the_mean_against_annotations(
    tmp_path, monkeypatch, against, expected
):
    scores = iter([0.5, 0.7, 0.0])
    used = "_soft_dice" if against == "annotations" else "_majority_dice"
    monkeypatch.setattr(validation, used, lambda *_: next(scores))
    index = write_discs(tmp_path, (8, 8))
    parts = ["validation"] * 3 + ["train"] * (len(index.cases) - 3)
    cases = tuple(replace(case, split=part) for case, part in zip(index.cases, parts, strict=True))
    config = tiny_config("majority")
    save_model(make_method(index.task, config), index, config, tmp_path / "run")
    found = validation.validation_score(
        load_model(tmp_path / "run"), index.model_copy(update={"cases": cases}), against
    )
    assert found == pytest.approx(expected)
