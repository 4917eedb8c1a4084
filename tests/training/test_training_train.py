"""A run from a data set to a released model, and the same after a resume."""

import csv
import json
import logging
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file

from fake_data.arrays import tiny_config
from fake_data.discs import write_discs
from umanet.config import DataOptions, EnsembleOptions, TrainerOptions, read_config
from umanet.data.index import read_index
from umanet.errors import DatasetError, Interrupted, RunError
from umanet.inference.model_file import GRADING, WEIGHTS, load_model
from umanet.methods import METHODS
from umanet.training import plan, train


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs"))


def short_config(method="uma-net", **trainer):
    options = TrainerOptions(**{"max_steps": 6, "batch_size": 2, "validate_every": 2, **trainer})
    return tiny_config(method).model_copy(update={"trainer": options, "device": "cpu"})


class StopAt(pl.Callback):
    """Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *arguments):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def weights(run):
    files = [run / name for name in (WEIGHTS, GRADING) if (run / name).exists()]
    return {name: value for file in files for name, value in load_file(file).items()}


def metrics_of(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(index, tmp_path_factory):
    return train(short_config(), index, tmp_path_factory.mktemp("runs") / "run")


def test_a_run_keeps_what_it_was_trained_on(run, index):
    assert read_index(run / "dataset.json") == index


def test_a_run_holds_all_that_was_decided_and_a_model(run, index):
    config = read_config(run / "run.toml")
    assert config.data.patch == (20, 26)
    assert config == plan(short_config(), index, index.select("train"))
    assert load_model(run, grading=True).config == config
    assert json.loads((run / "model.json").read_text())["task"]["annotators"] == ["anna", "bert", "carl"]


def test_a_run_logs_every_term_and_the_validation_in_a_row_per_epoch(run):
    rows = metrics_of(run)
    assert list(rows[0])[:2] == ["step", "epoch"]
    assert [(row["step"], row["epoch"]) for row in rows] == [("2", "0"), ("4", "1"), ("6", "2")]
    terms = {"loss/segmentation", "loss/auxiliary", "loss/uncertainty", "loss/total"}
    assert terms | {"validation/soft_dice", "reliability/anna"} <= set(rows[0])
    assert all(value for row in rows for value in row.values())
    assert all(0 <= float(row["validation/soft_dice"]) <= 1 for row in rows)


def test_an_epoch_that_is_cut_short_is_validated_and_may_be_the_best(index, tmp_path, monkeypatch):
    scores = iter([0.1] * 4 + [0.9] * 2)
    monkeypatch.setattr("umanet.training.module.soft_dice", lambda *arguments: next(scores))
    run = train(short_config("majority", max_steps=5), index, tmp_path / "run")
    assert [row["step"] for row in metrics_of(run)] == ["2", "4", "5"]
    assert [round(float(row["validation/soft_dice"]), 3) for row in metrics_of(run)] == [0.1, 0.1, 0.9]
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 5
    assert next(scores, None) is None


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(index, tmp_path, monkeypatch):
    from umanet.methods.fused_target import FusedTarget

    loss = FusedTarget.loss

    def breaks(self, batch, progress):
        terms = loss(self, batch, progress)
        return {name: term * float("nan") for name, term in terms.items()} if progress > 0.4 else terms

    monkeypatch.setattr(FusedTarget, "loss", breaks)
    with pytest.raises(
        RunError, match=r"A loss of nan found \(segmentation\), .* at step 4 of 6\. Train with a smaller"
    ):
        train(short_config("majority"), index, tmp_path / "run")
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert not (tmp_path / "run" / "model.json").exists()


def test_the_same_seed_gives_the_same_weights(run, index, tmp_path):
    again = train(short_config(), index, tmp_path / "again")
    torch.testing.assert_close(weights(again), weights(run), rtol=0, atol=0, equal_nan=True)
    other = train(short_config().model_copy(update={"seed": 1}), index, tmp_path / "other")
    assert any(not torch.equal(value, weights(run)[name]) for name, value in weights(other).items())


@pytest.mark.parametrize("step", [2, 3])
def test_an_interrupted_run_goes_on_to_the_same_weights(run, index, tmp_path, step):
    half = tmp_path / "half"
    with pytest.raises(Interrupted, match=rf"Interrupted at step {step} of 6: .*Go on with --resume auto"):
        train(short_config(), index, half, callbacks=[StopAt(step)])
    assert not (half / "model.json").exists()
    train(short_config(), index, half, resume="auto")
    assert metrics_of(half) == metrics_of(run)
    torch.testing.assert_close(weights(half), weights(run), rtol=0, atol=0, equal_nan=True)


def test_a_method_that_draws_goes_on_to_the_same_weights_too(index, tmp_path):
    whole = train(short_config("prob-unet"), index, tmp_path / "whole")
    half = tmp_path / "half"
    with pytest.raises(Interrupted):
        train(short_config("prob-unet"), index, half, callbacks=[StopAt(4)])
    train(short_config("prob-unet"), index, half, resume="auto")
    torch.testing.assert_close(weights(half), weights(whole), rtol=0, atol=0, equal_nan=True)


def test_a_finished_run_is_left_alone_by_resume(run, index):
    before = (run / WEIGHTS).stat().st_mtime_ns
    assert train(short_config(), index, run, resume="must") == run
    assert (run / WEIGHTS).stat().st_mtime_ns == before


def test_a_run_that_exists_is_not_overwritten(run, index):
    with pytest.raises(RunError, match="exists already, a new one expected"):
        train(short_config(), index, run)


def test_resume_must_have_something_to_resume(index, tmp_path):
    with pytest.raises(RunError, match=r"No checkpoints/last\.ckpt found in .*Check the path, or start afresh"):
        train(short_config(), index, tmp_path / "nothing", resume="must")


def test_a_checkpoint_of_another_version_is_named(index, tmp_path):
    with pytest.raises(Interrupted):
        train(short_config(), index, tmp_path / "run", callbacks=[StopAt(3)])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["state_dict"]["method.uncertainty.elsewhere"] = content["state_dict"].pop("method.uncertainty.habit")
    torch.save(content, last)
    before = last.read_bytes()
    with pytest.raises(RunError, match=r"checkpoint of another version of umanet found in .*last\.ckpt"):
        train(short_config(), index, tmp_path / "run", resume="must")
    assert last.read_bytes() == before


def test_a_run_is_resumed_with_its_own_settings_only(run, index):
    with pytest.raises(RunError, match=r"^trainer\.max_steps = 8 \(6 in the run\) found, the settings in .*run\.toml"):
        train(short_config(max_steps=8), index, run, resume="auto")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "uma-net"])
def test_every_baseline_trains(index, tmp_path, method):
    run = train(short_config(method, max_steps=2), index, tmp_path / "run")
    assert load_model(run).config.method == method


def test_the_best_weights_are_released_when_asked(index, tmp_path):
    run = train(short_config("majority", release="best"), index, tmp_path / "run")
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in load_file(run / WEIGHTS).items():
        assert torch.equal(value, best[f"method.{name}"])


def test_the_patch_is_the_median_image_up_to_the_largest(index):
    training = index.select("train")
    assert plan(short_config(), index, training).data.patch == (20, 26)
    small = short_config().model_copy(update={"data": DataOptions(largest_patch=17)})
    assert plan(small, index, training).data.patch == (16, 16)
    given = short_config().model_copy(update={"data": DataOptions(patch=(8, 12))})
    assert plan(given, index, training).data.patch == (8, 12)


@pytest.mark.parametrize(("patch", "grade"), [(None, "image"), ((20, 13), "image"), ((20, 12), "none")])
def test_a_patch_that_shows_less_than_half_an_image_is_not_graded(index, patch, grade):
    config = short_config().model_copy(update={"data": DataOptions(patch=patch)})
    assert plan(config, index, index.select("train")).uma_net.grade == grade
    asked = config.model_copy(update={"uma_net": config.uma_net.model_copy(update={"grade": "annotation"})})
    assert plan(asked, index, index.select("train")).uma_net.grade == "annotation"
    several = config.model_copy(update={"method": "ensemble", "ensemble": EnsembleOptions(of="uma-net")})
    assert plan(several, index, index.select("train")).uma_net.grade == grade
    single = several.model_copy(update={"ensemble": EnsembleOptions(of="single")})
    assert plan(single, index, index.select("train")).fusion.annotator == "anna"


def test_single_takes_the_annotator_with_the_most_cases(index):
    reordered = index.model_copy(update={"annotators": ("carl", "bert", "anna")})
    found = plan(short_config("single"), reordered, reordered.select("train"))
    assert found.fusion.annotator == "bert"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_cases_is_refused(index, tmp_path, split):
    cases = tuple(replace(case, split="test") if case.split == split else case for case in index.cases)
    with pytest.raises(DatasetError, match=f"No case in split '{split}'"):
        train(short_config(), index.model_copy(update={"cases": cases}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_with_the_truth_needs_the_truth(index, tmp_path):
    cases = tuple(replace(case, truth=None) for case in index.cases)
    with pytest.raises(DatasetError, match="No training case of 'discs' has what 'truth' learns from"):
        train(short_config("truth"), index.model_copy(update={"cases": cases}), tmp_path / "run")


def test_a_dead_uncertainty_module_is_reported(index, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("umanet.methods.uma_net.UMANet.monitor", lambda self: {"reliability_where_disputed": 0.99})
    with caplog.at_level(logging.WARNING, "umanet"):
        train(short_config(max_steps=2), index, tmp_path / "run")
    assert "reliable (0.990) even where they disagree" in caplog.text


def test_annotations_that_never_differ_are_reported(index, tmp_path, caplog):
    cases = tuple(replace(case, annotations=dict([next(iter(case.annotations.items()))])) for case in index.cases)
    with caplog.at_level(logging.WARNING, "umanet"):
        train(short_config(max_steps=2), index.model_copy(update={"cases": cases}), tmp_path / "run")
    assert "No two annotations of a training case ever differ" in caplog.text


def test_loader_processes_do_not_change_the_weights(run, index, tmp_path):
    config = short_config().model_copy(update={"data": DataOptions(workers=2)})
    torch.testing.assert_close(
        weights(train(config, index, tmp_path / "run")), weights(run), rtol=0, atol=0, equal_nan=True
    )


def test_a_run_is_resumed_with_its_own_data_only(run, index):
    first, *others = index.cases
    moved = index.model_copy(update={"cases": (replace(first, split="test"), *others)})
    with pytest.raises(RunError, match="Another data set found"):
        train(short_config(), moved, run, resume="must")


def test_a_patient_in_training_and_test_is_refused(index, tmp_path):
    first, second, *others = index.cases
    leaking = (replace(first, patient="p", split="train"), replace(second, patient="p", split="test"), *others)
    with pytest.raises(DatasetError, match="Patient 'p' found in the splits test and train"):
        train(short_config(), index.model_copy(update={"cases": leaking}), tmp_path / "run")


def test_a_file_in_the_place_of_the_run_folder_is_refused(index, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        train(short_config(), index, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"
