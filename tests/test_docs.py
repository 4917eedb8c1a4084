"""What README and docs tell a newcomer to type works."""

import ast
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from umanet.benchmark import read_suite
from umanet.cli import main
from umanet.cli.parsing import parse
from umanet.cli.program import Commands
from umanet.config import build_config
from umanet.data.index import read_index
from umanet.demo.tables import OWN_DATA
from umanet.errors import ConfigError
from umanet.evaluation import METRICS, PROTOCOLS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUICK = {"preset": "cpu-small", "trainer": {"max_steps": 2}, "data": {"longest_side": 32}}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The arguments of every line that calls umanet."""
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("umanet ")]
    return [words[1:] for words in lines]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors_and_files(page: Path) -> list[str]:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return [link for link in links if not link.startswith("http")]


COMMANDS = [pytest.param(words, id=f"{name_of(page)}: {shlex.join(words)}")
            for page in PAGES for block in blocks(page, "sh") for words in commands(block)]  # fmt: skip
SNIPPETS = [pytest.param(code, id=f"{name_of(page)} {number}")
            for page in PAGES for number, code in enumerate(blocks(page, "python"))]  # fmt: skip


@pytest.mark.parametrize("words", [*COMMANDS, *(pytest.param(w, id=f"demo: {w[0]}") for w in commands(OWN_DATA))])
def test_a_command_that_is_shown_is_one(words: list[str]):
    parse(Commands, words, "umanet", "")


def test_a_command_with_a_wrong_flag_would_be_found():
    with pytest.raises(ConfigError):
        parse(Commands, ["train", "dataset.json", "-o", "run", "--no-such-flag", "1"], "umanet", "")


def test_there_are_commands_and_snippets_to_test():
    assert len(COMMANDS) > 20
    assert len(SNIPPETS) > 4


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_compiles_and_what_it_imports_is_there(code: str):
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec("\n".join(ast.unparse(node) for node in imports), {})


@pytest.mark.parametrize("code", [code for code in SNIPPETS if "my-data" not in str(code.values[0])])
def test_a_snippet_that_needs_no_data_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {})


def test_the_main_path_of_readme_and_tutorial_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    tutorial = ROOT / "docs" / "tutorials" / "first-run.md"
    making = blocks(tutorial, "python")[0]
    assert "cases=60, size=128" in making
    exec(making.replace("cases=60, size=128", "cases=15, size=48"), {})
    for words in (words for block in blocks(tutorial, "sh") for words in commands(block)):
        if words[0] == "train":
            words = [*words, "--trainer.max-steps", "2", "--data.longest-side", "32"]
        assert main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "one-image" / "labels" / "phantom_000.png").exists()
    for row in re.findall(r"^\| (`.+`) \|", readme_section("What comes out"), re.MULTILINE):
        first = row.split("`")[1].replace("ANNOTATOR", "good")
        assert (tmp_path / first).exists(), first
    check_examples(tmp_path)
    check_readme_snippet(tmp_path / "again", monkeypatch)


def check_examples(folder: Path) -> None:
    """On what the tutorial made."""
    index = read_index(folder / "dataset.json")
    predictions = folder / "predictions"
    gain = load(ROOT / "examples" / "compare_two_runs.py").dice_gain
    assert gain(predictions, predictions, index) == (0, 0, 0)
    found = load(ROOT / "examples" / "list_doubtful_annotations.py").doubtful(folder / "run", index)
    _, *rows = (folder / "grades" / "quality.csv").read_text().splitlines()
    assert [(case, who) for _, case, who, _ in found] == [tuple(row.split(",")[:2]) for row in rows]


def check_readme_snippet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, beside the data that the tutorial made."""
    folder.mkdir()
    (folder / "my-data").symlink_to(folder.parent / "my-data")
    monkeypatch.chdir(folder)
    code = readme_python()
    assert '{"preset": "cpu-small"}' in code
    named: dict[str, Any] = {}
    exec(code.replace('{"preset": "cpu-small"}', repr(QUICK)), named)
    assert named["probabilities"].shape == (1, 2, 48, 48)


def readme_python() -> str:
    return blocks(ROOT / "README.md", "python")[0]


def readme_section(title: str) -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_readme_shows_the_commands_that_the_demo_shows():
    shown = [words for block in blocks(ROOT / "README.md", "sh") for words in commands(block)]
    assert shown == commands(OWN_DATA)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path):
    assert [link for link in anchors_and_files(page) if not (page.parent / link).exists()] == []


def test_the_page_of_settings_is_what_the_code_says():
    script = load(ROOT / "docs" / "write_configuration.py")
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "Run python docs/write_configuration.py."


def test_the_example_of_a_data_set_file_is_valid(tmp_path: Path):
    (tmp_path / "dataset.json").write_text(blocks(ROOT / "docs/reference/dataset-json.md", "json")[0])
    index = read_index(tmp_path / "dataset.json")
    assert index.cases[0].annotations["anna"] == tmp_path.resolve() / "annotations/anna/P01_left.png"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_an_example_of_a_configuration_file_is_valid(page: Path, tmp_path: Path):
    for text in blocks(page, "toml"):
        if "[[data]]" in text:
            (tmp_path / "suite.toml").write_text(text)
            read_suite(tmp_path / "suite.toml")
        else:
            build_config(tomllib.loads(text))


def test_the_layers_in_the_docs_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [line.replace("umanet.", "") for line in contracts[0]["layers"]]
    page = (ROOT / "docs" / "concepts" / "architecture.md").read_text(encoding="utf-8")
    assert "\n" + "\n".join(f"    {line}" for line in layers) + "\n" in page


def test_the_page_of_scores_has_every_metric_and_protocol():
    page = (ROOT / "docs" / "reference" / "evaluation.md").read_text(encoding="utf-8")
    header = next(line for line in page.splitlines() if line.startswith("| | `default`"))
    assert re.findall(r"`(\w+)`", header) == list(PROTOCOLS)
    defined = re.findall(r"^\| (`.+?) \| (truth|annotations) \|", page, re.MULTILINE)
    listed = {name: against for cell, against in defined for name in re.findall(r"`(\w+)`", cell)}
    assert listed == {name: metric.against for name, metric in METRICS.items()}


def test_own_annotator_shows_that_a_careful_one_is_better_than_a_hasty_one():
    scores = load(ROOT / "examples" / "own_annotator.py").fused_dice()
    assert scores["careful"] > max(scores["hasty 1"], scores["hasty 2"])
    assert {"majority", "staple", "mean"} <= set(scores)


def test_the_examples_are_short():
    assert {path.name for path in (ROOT / "examples").glob("*.py") if len(path.read_text().splitlines()) >= 60} == set()
