"""Commands write with two workers, byte for byte, what they write with one; where workers are gone, nothing."""

import re

import pytest

from fake_data.commands import commands, make, release, tree
from umanet.cli import main
from umanet.data.index import read_index
from umanet.errors import ConfigError, ModelFileError
from umanet.executor import INLINE, Executor
from umanet.grading import for_annotators, grade, grader_for
from umanet.inference.model_file import load_model

PROGRESS = re.compile(r"\w+ \d+/\d+$")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("name", ["check", "predict", "evaluate", "grade", "fuse", "fuse --with run"])
def test_two_workers_write_what_one_writes(made, tmp_path, capsys, name):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    shown = {}
    for workers in ("1", "2"):
        # dataset.json has paths relative to its folder, so the outputs must lie equally deep.
        words = [*commands(made)[name], "-o", str(tmp_path / workers / "out"), "--workers", workers]
        assert main(words) == 0
        printed, said = (text.replace(f"/{workers}/out", "/N/out") for text in capsys.readouterr())
        shown[workers] = printed, [line for line in said.splitlines() if not PROGRESS.match(line)]
    assert shown["1"] == shown["2"]
    assert tree(tmp_path / "1/out") == tree(tmp_path / "2/out") != {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    assert not [path for path in tmp_path.rglob(".*")]


def test_two_workers_find_the_agreement_that_one_finds(made, capsys):
    printed = []
    for workers in ("1", "2"):
        assert main(["agreement", str(made / "dataset.json"), "--json", "--workers", workers]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""
    assert main(["agreement", str(made / "dataset.json"), "--workers", "0"]) == 2
    assert "--workers 0 found, at least 1 expected" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["check", "predict", "evaluate", "grade", "fuse", "fuse --with run"])
def test_a_scheduler_that_is_gone_is_one_line_and_leaves_nothing(made, tmp_path, capsys, name, monkeypatch):
    pytest.importorskip("distributed", reason="Dask is not installed.")
    monkeypatch.setattr("umanet.executor.cluster.PATIENCE", 0.5)
    words = [*commands(made)[name], "-o", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("umanet: No scheduler found at tcp://127.0.0.1:9 (")
    assert said.endswith("expected, in the form tcp://HOST:8786. Start it, or mend --scheduler.")
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_kind_is_one_line(made, capsys):
    pytest.importorskip("distributed", reason="Dask is not installed.")
    assert main(["check", str(made / "dataset.json"), "--scheduler", "slurm://here"]) == 2
    assert "No scheduler found at slurm://here (" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--workers", "0"], ["--workers", "2", "--scheduler", "tcp://x:1"]])
def test_flags_that_make_no_sense_are_refused_before_anything_is_made(made, tmp_path, flags, capsys):
    for words in commands(made).values():
        assert main([*words, "-o", str(tmp_path / "out"), *flags]) == 2
        assert "--workers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_workers_need_the_folder_of_the_model_and_refuse_another_one(made, tmp_path):
    index = read_index(made / "dataset.json")
    model = load_model(made / "run", grading=True)
    with pytest.raises(ConfigError, match="the folder that each loads the model from"):
        grade(model, index, tmp_path / "grades", executor=Executor(workers=2))
    assert list(tmp_path.iterdir()) == []
    ready = for_annotators(model, index)
    assert grader_for(ready, index, INLINE, None)() is ready
    release(index, tmp_path / "other", other=True)
    with pytest.raises(ModelFileError, match="another run took its place"):
        grader_for(ready, index, Executor(workers=2), tmp_path / "other")()


@pytest.mark.parametrize("flag", ["--workers", "--processes"])
def test_benchmark_takes_both_words_for_rows_at_a_time(tmp_path, flag, capsys):
    assert main(["benchmark", str(tmp_path / "suite.toml"), "-o", str(tmp_path / "out"), flag, "0"]) == 2
    assert "--processes 0 found, at least 1 expected" in capsys.readouterr().err
