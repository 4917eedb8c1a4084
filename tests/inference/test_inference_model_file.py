"""The released model: whole, unchanged and without pickle, or an error that says what to do."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from fake_data.arrays import make_index, make_method, make_task, tiny_config
from umanet.errors import ModelFileError, TaskError
from umanet.inference.model_file import (
    DESCRIPTION,
    GRADING,
    WEIGHTS,
    check_task,
    description_digest,
    load_model,
    save_model,
)

TASK = make_task(classes=3)


def release(folder, method="uma-net", task=TASK):
    config = tiny_config(method)
    save_model(make_method(task, config), make_index(task), config, folder)
    return folder


@pytest.fixture
def run(tmp_path):
    return release(tmp_path)


def change_description(run, **values):
    path = run / DESCRIPTION
    description = json.loads(path.read_text()) | values
    path.write_text(json.dumps(description | {"sha256": description_digest(description)}))


@pytest.mark.parametrize("file", [WEIGHTS, GRADING])
@pytest.mark.parametrize("keep", [0, 8, -1])
def test_a_truncated_file_is_refused(run, file, keep):
    (run / file).write_bytes((run / file).read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=rf"found, .* expected, in .*{file}: truncated or changed.*Copy the run"):
        load_model(run, grading=True)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_changed_byte_is_noticed(run, place):
    content = bytearray((run / WEIGHTS).read_bytes())
    content[place] ^= 1
    (run / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(ModelFileError, match=r"model\.safetensors: truncated or changed since it was written"):
        load_model(run)


@pytest.mark.parametrize("file", [WEIGHTS, GRADING])
def test_a_missing_file_is_named(run, file):
    (run / file).unlink()
    with pytest.raises(ModelFileError, match=f"{file} is missing in .* Copy the whole run folder"):
        load_model(run, grading=True)


def test_grading_files_are_not_needed_to_predict(run):
    (run / GRADING).unlink()
    assert load_model(run).method.predict(torch.zeros(1, 1, 8, 8)).probabilities.shape == (1, 3, 8, 8)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match=r"No model\.json found in .*'umanet train' expected.*--resume"):
        load_model(tmp_path)


@pytest.mark.parametrize("values", [{"version": 2}, {"version": None}, {"format": "other"}])
def test_another_version_is_refused(run, values):
    change_description(run, **values)
    with pytest.raises(ModelFileError, match=r"found in .*model\.json, \('umanet-model', 1\) expected"):
        load_model(run)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"text"', "\ufeff{"])
def test_a_description_that_is_none_is_refused(run, content):
    (run / DESCRIPTION).write_text(content)
    with pytest.raises(ModelFileError, match=r"model\.json"):
        load_model(run)


@pytest.mark.parametrize(
    "values",
    [{"task": {}}, {"task": None}, {"classes": 3}, {"config": {"seed": "x"}}, {"weights": None}, {"weights": {}}],
    ids=str,
)
def test_a_description_that_lacks_something_is_refused(run, values):
    change_description(run, **values)
    with pytest.raises(ModelFileError, match=r"model\.json does not describe a model .*Copy the run anew"):
        load_model(run)


def test_weights_from_outside_the_run_folder_are_refused(run):
    change_description(run, weights={"file": f"../{run.name}/{WEIGHTS}", "sha256": "0"})
    with pytest.raises(ModelFileError, match="a file outside the run folder"):
        load_model(run)


def test_weights_of_another_network_are_refused(run):
    other = tiny_config(channels=(6, 12)).model_dump(mode="json")
    change_description(run, config=other)
    with pytest.raises(ModelFileError, match=r"do not fit the model of this version of umanet: .* Use the version"):
        load_model(run)


@pytest.mark.parametrize("method", ["majority", "staple", "truth"])
def test_a_method_that_cannot_grade_is_refused(tmp_path, method):
    with pytest.raises(TaskError, match=f"{method!r}, which cannot grade annotations. Train with --method uma-net"):
        load_model(release(tmp_path, method), grading=True)


def test_nothing_is_unpickled(run, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("A pickle was read")

    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert load_model(run, grading=True).task == TASK


def test_a_model_says_all_that_it_was_trained_with(run):
    model = load_model(run)
    assert model.task == TASK
    assert model.config == tiny_config()
    assert [definition.values for definition in model.classes] == [(0,), (1,), (2,)]
    assert not model.method.training
    assert model.digest == json.loads((run / DESCRIPTION).read_text())["weights"]["sha256"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_task(3, classes=3), "spatial dimensions 3 found .* 2 expected"),
        (make_task(classes=3, channels=2), "number of channels 2 found .* 1 expected"),
        (make_task(classes=2), r"classes \('background', 'class1'\) found"),
    ],
)
def test_a_data_set_of_another_task_is_refused(run, other, message):
    with pytest.raises(TaskError, match=message):
        check_task(load_model(run), make_index(other), annotations=False)


def test_annotators_matter_only_where_annotations_are_used(run):
    model, anonymous = load_model(run), make_index(replace(TASK, annotators_are_identified=False))
    check_task(model, anonymous, annotations=False)
    check_task(model, make_index(replace(TASK, annotators=("somebody", "else"))), annotations=True)
    with pytest.raises(TaskError, match="annotators_are_identified"):
        check_task(model, anonymous, annotations=True)


def test_a_plausible_change_of_the_description_is_noticed(run):
    path = run / DESCRIPTION
    path.write_text(path.read_text().replace('"kappa": 1.0', '"kappa": 2.0'))
    with pytest.raises(ModelFileError, match="was changed since it was written"):
        load_model(run)


def test_a_network_whose_layers_have_two_names_is_released(tmp_path):
    config = tiny_config(channels=(4, 8, 8))
    backbone = config.backbone.model_copy(update={"architecture": "dynunet"})
    config = config.model_copy(update={"backbone": backbone})
    method = make_method(TASK, config)
    save_model(method, make_index(TASK), config, tmp_path)
    image = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(
            load_model(tmp_path).method.predict(image).probabilities, method.eval().predict(image).probabilities
        )
