"""Preset, then run.toml, then flags; and a flag for everything."""

from pathlib import Path
from typing import Any

import pytest
import tyro

from umanet.__main__ import main
from umanet.cli.overrides import ConfigFlags
from umanet.cli.train import Train
from umanet.config import Options, RunConfig, build_config, format_config
from umanet.errors import ConfigError


def train(*flags: str, **fields: Any) -> Train:
    options = tyro.cli(ConfigFlags, args=list(flags))
    return Train(Path("d.json"), fields.pop("output", Path("run")), options=options, **fields)


def flags_of(options: type[Options], above: str = "--") -> list[str]:
    found = []
    for name, field in options.model_fields.items():
        flag, kind = above + name.replace("_", "-"), field.annotation
        found += flags_of(kind, f"{flag}.") if isinstance(kind, type) and issubclass(kind, Options) else [flag]
    return found


def test_only_what_was_set_is_kept():
    assert build_config(train().options) == build_config({})
    options = train("--trainer.max-steps", "7", "--uma-net.no-reliability", "--data.patch", "64", "48").options
    assert options["trainer"] == {"max_steps": 7}
    assert options["uma_net"] == {"reliability": False}
    assert options["data"]["patch"] == (64, 48)


def test_a_default_that_is_given_beats_the_preset():
    default = RunConfig().trainer.max_steps
    assert build_config({"preset": "cpu-small"}).trainer.max_steps != default
    config = train("--preset", "cpu-small", "--trainer.max-steps", str(default)).build_config(2)
    assert config.trainer.max_steps == default


def test_flags_beat_the_file_and_the_file_beats_the_preset(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('preset = "cpu-small"\n[trainer]\nmax_steps = 50\nbatch_size = 3\n')
    config = train("--trainer.batch-size", "5", config=file).build_config(2)
    assert (config.trainer.max_steps, config.trainer.batch_size) == (50, 5)
    assert config.trainer.validate_every == build_config({"preset": "cpu-small"}).trainer.validate_every


def test_a_preset_means_other_sizes_in_3d():
    assert train("--preset", "cpu-small").build_config(2) == build_config({"preset": "cpu-small"}, 2)
    assert train("--preset", "cpu-small").build_config(3) == build_config({"preset": "cpu-small"}, 3)
    assert build_config({"preset": "cpu-small"}, 2) != build_config({"preset": "cpu-small"}, 3)


def test_a_resumed_run_takes_its_own_settings(tmp_path):
    config = build_config({"preset": "cpu-small", "seed": 5})
    (tmp_path / "run.toml").write_text(format_config(config))
    assert train(output=tmp_path, resume="must").build_config(2) == config
    assert train(output=tmp_path).build_config(2).seed == 0


def test_another_preset_than_that_of_a_file_with_all_its_values_is_refused(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(format_config(build_config({"preset": "cpu-small"})))
    with pytest.raises(
        ConfigError, match=r"--preset small found, 'cpu-small' expected, because .*run\.toml sets backbone"
    ):
        train("--preset", "small", config=file).build_config(2)
    assert train("--preset", "cpu-small", config=file).build_config(2).preset == "cpu-small"
    file.write_text('preset = "cpu-small"\nseed = 3\n')
    assert train("--preset", "small", config=file).build_config(2) == build_config({"preset": "small", "seed": 3})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[trainer]\nmax_step = 3\n", ["trainer.max_step", "Did you mean 'max_steps'?", "run.toml"]),
        ("[trainer]\nmax_steps = 0\n", ["trainer.max_steps = 0", "run.toml"]),
        ('preset = "tiny"\n', ["'tiny'", "cpu-small", "run.toml"]),
        ("[trainer\n", ["run.toml", "TOML"]),
    ],
)
def test_a_fault_in_the_file_names_the_file(content, words, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        train("--trainer.max-steps", "9", config=file).build_config(2)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_value_out_of_range_is_said_of_the_flags():
    with pytest.raises(ConfigError, match=r"trainer\.max_steps = -1 found in the flags"):
        train("--trainer.max-steps", "-1").build_config(2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seed": -1}, "seed = -1 found .*greater than or equal to 0"),
        ({"seed": 2**32}, "seed = 4294967296 found .*less than 4294967296"),
        ({"data": {"patch": (0, 0)}}, r"data\.patch\.0 = 0 found .*greater than or equal to 1"),
        ({"data": {"patch": (-5, 4)}}, r"data\.patch\.0 = -5 found"),
        ({"data": {"spacing": (1.0, 0.0)}}, r"data\.spacing\.1 = 0\.0 found .*greater than 0"),
        ({"backbone": {"channels": (16,)}}, r"backbone\.channels = \(16,\) found .*at least 2 items"),
        ({"backbone": {"channels": ()}}, r"backbone\.channels = \(\) found .*at least 2 items"),
        ({"backbone": {"channels": (0, 8)}}, r"backbone\.channels\.0 = 0 found"),
    ],
)
def test_numbers_that_no_run_can_use_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        build_config(values)


def test_every_option_has_a_flag_and_an_explanation(capsys):
    main(["train", "--help"])
    shown = capsys.readouterr().out
    assert [flag for flag in flags_of(RunConfig) if f" {flag} " not in shown.replace(",", " ")] == []
    assert "Votes that the network has in the consensus" in shown
    assert "Largest norm of the gradient. (default: 1.0)" in shown
    assert "(default: the preset's)" in shown
    assert "None" not in shown.replace("None by default", "").replace("(default: None)", "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"patch": (64, 64, 64)}, "2 numbers expected"),
        ({"spacing": (1.0,)}, "2 numbers expected"),
        ({"augment": {"flip": (2,)}}, "from 0 to 1"),
    ],
)
def test_a_wrong_number_of_axes_is_refused(data, words):
    with pytest.raises(ConfigError, match=words):
        build_config({"data": data}, 2)
