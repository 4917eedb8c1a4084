"""What each annotator would draw, and samples: written where they are asked for, and read by the evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.arrays import make_method, tiny_config
from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.config import EnsembleOptions
from umanet.data.images import read_labels
from umanet.data.index import write_index
from umanet.data.transforms import prepare_image
from umanet.errors import TaskError
from umanet.inference.model_file import load_model, save_model
from umanet.inference.predict import Wanted, predict
from umanet.inference.unread import samples_of_index


@pytest.fixture(params=[(16, 18), (9, 10, 8)], ids=["2D", "3D"])
def index(request, tmp_path):
    return write_discs(tmp_path / "raw", request.param)


def released(index, method, run, of="majority"):
    config = tiny_config(method).model_copy(update={"ensemble": EnsembleOptions(of=of, members=2)})
    config = config.model_copy(update={"data": config.data.model_copy(update={"patch": (8,) * index.spatial_dims})})
    save_model(make_method(index.task, config), index, config, run)
    return load_model(run)


def test_annotators_and_samples_are_what_the_method_says(index, tmp_path):
    model = released(index, "pionono", tmp_path)
    whole = tuple(index_shape(index))
    data = model.config.data.model_copy(update={"patch": whole})
    model = replace(model, config=model.config.model_copy(update={"data": data}))
    cases, samples = samples_of_index(model, index, None)
    samples = list(samples)
    predict(model, samples, tmp_path / "out", wanted=Wanted(annotators=True, samples=True))
    entry = json.loads((tmp_path / "out/predictions.json").read_text())["cases"][cases[0].id]
    assert list(entry["annotators"]) == list(index.annotators) and len(entry["samples"]) == 16
    with torch.no_grad():
        found = model.method.predict(prepare_image(samples[0], model.config.data)[None])
    for r, name in enumerate(index.annotators):
        written = read_labels(tmp_path / "out" / entry["annotators"][name], index)
        np.testing.assert_array_equal(written, found.annotator_probabilities[0, r].argmax(0).numpy())
    for m, path in enumerate(entry["samples"]):
        written = read_labels(tmp_path / "out" / path, index)
        np.testing.assert_array_equal(written, found.samples[0, m].argmax(0).numpy())


def index_shape(index):
    return read_labels(index.cases[0].annotations["anna"], index).shape


def test_in_tiles_and_through_the_command_line_samples_are_scored(index, tmp_path, capsys):
    write_index(index, tmp_path / "dataset.json")
    released(index, "ensemble", tmp_path / "run")
    words = ["predict", tmp_path / "run", tmp_path / "dataset.json", "-o", tmp_path / "out", "--samples"]
    assert main([*map(str, words)]) == 0
    assert len(list((tmp_path / "out/samples").iterdir())) == 2
    assert main(["evaluate", str(tmp_path / "out"), str(tmp_path / "dataset.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"]["samples"]["number"] == 2


def test_an_ensemble_says_what_each_annotator_would_draw_where_its_members_do(index, tmp_path):
    write_index(index, tmp_path / "dataset.json")
    released(index, "ensemble", tmp_path / "run", of="padl")
    words = ["predict", tmp_path / "run", tmp_path / "dataset.json", "-o", tmp_path / "out", "--annotators"]
    assert main([*map(str, words)]) == 0
    assert {path.name for path in (tmp_path / "out/annotators").iterdir()} == set(index.annotators)


def test_what_the_method_cannot_say_is_refused(index, tmp_path):
    model = released(index, "majority", tmp_path)
    for flag, asked in (("--annotators", {"annotators": True}), ("--samples", {"samples": True})):
        with pytest.raises(TaskError, match=f"{flag} found, a method that can do that expected: 'majority' cannot"):
            predict(model, [], tmp_path / "out", wanted=Wanted(**asked))
    assert not (tmp_path / "out").exists()
