"""Where prepared cases are kept changes nothing that is learned."""

import json

import pytest
import torch
from safetensors.torch import load_file

from fake_data.arrays import tiny_config
from fake_data.discs import write_discs
from umanet.config import DataOptions, TrainerOptions
from umanet.data import case_cache
from umanet.errors import Interrupted, OutputError
from umanet.inference.model_file import DESCRIPTION, WEIGHTS, load_model
from umanet.training import train
from umanet.training.progress import StepReports

SHORT = TrainerOptions(max_steps=6, batch_size=2, validate_every=3)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs"))


def config_of(method="staple", **data):
    config = tiny_config(method)
    options = DataOptions(**{**config.data.model_dump(), "patch": (16, 16), **data})
    return config.model_copy(update={"trainer": SHORT, "device": "cpu", "data": options})


@pytest.fixture(scope="module")
def in_memory(index, tmp_path_factory):
    return train(config_of(), index, tmp_path_factory.mktemp("memory") / "run")


def assert_same_weights(run, other):
    torch.testing.assert_close(load_file(run / WEIGHTS), load_file(other / WEIGHTS), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"cache_gib": 0.0}, {"workers": 1}], ids=["no room in memory", "worker"])
def test_what_does_not_stay_in_memory_is_kept_until_the_run_is_finished(index, in_memory, tmp_path, options):
    seen = []

    def report(step, steps, note):
        seen.append(len(list((tmp_path / "run" / "cache").rglob("*.safetensors"))))

    run = train(config_of(**options), index, tmp_path / "run", callbacks=[StepReports(report)])
    assert_same_weights(run, in_memory)
    assert seen[-1] >= 4
    assert not (run / "cache").exists()


def test_in_memory_nothing_is_written(index, tmp_path):
    seen = []
    report = StepReports(lambda *_: seen.append((tmp_path / "run" / "cache").exists()))
    train(config_of(), index, tmp_path / "run", callbacks=[report])
    assert seen
    assert not any(seen)


def test_a_folder_that_is_named_is_kept_for_other_runs_and_methods(index, in_memory, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = train(config_of(cache=cache), index, tmp_path / "first")
    assert_same_weights(first, in_memory)
    count = len(list(cache.rglob("*.safetensors")))
    assert count == 6 + 4  # all cases, and the targets of those that are learned from
    assert str(cache) not in (first / DESCRIPTION).read_text()
    assert load_model(first).config.data.cache is None
    train(config_of("uma-net", cache=cache), index, tmp_path / "second")
    train(config_of("majority", cache=cache), index, tmp_path / "third")
    assert len(list(cache.rglob("*.safetensors"))) == count + 4
    monkeypatch.setattr("umanet.data.dataset.read_case", lambda *_: pytest.fail("read again"))
    assert_same_weights(train(config_of(cache=cache), index, tmp_path / "fourth"), in_memory)


def test_a_run_that_was_stopped_goes_on_from_another_place(index, in_memory, tmp_path):
    def stop(step, steps, note):
        if step >= 3:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config_of(cache_gib=0.0), index, run, callbacks=[StepReports(stop)])
    assert list((run / "cache").rglob("*.safetensors"))
    train(config_of(cache=tmp_path / "elsewhere"), index, run, resume="must")
    assert_same_weights(run, in_memory)


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"cache_gib": 0.0}], ids=["memory", "worker", "no room"])
def test_a_full_disk_costs_time_only(index, in_memory, tmp_path, monkeypatch, caplog, options):
    def full(path, content):
        raise OutputError(f"{path} could not be written: No space left on device. Free some space.")

    monkeypatch.setattr(case_cache, "replace_file", full)
    run = train(config_of(cache=tmp_path / "cache", **options), index, tmp_path / "run")
    assert_same_weights(run, in_memory)
    assert caplog.text.count("No space left on device") == 1
    assert "memory has to do" in caplog.text


def test_the_patch_is_what_the_run_says(in_memory):
    """Else the tests above would cut nothing."""
    assert json.loads((in_memory / DESCRIPTION).read_text())["config"]["data"]["patch"] == [16, 16]
