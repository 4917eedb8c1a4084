import io
import json
import re
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from umanet.data.index import read_index
from umanet.demo import Size, demo, demonstration
from umanet.demo.findings import BAD_DAY, Findings, annotated
from umanet.demo.overview import View, draw_overview, find_view
from umanet.demo.tables import FILES, OWN_DATA
from umanet.errors import Interrupted, OutputError
from umanet.evaluation import evaluate

TINY = Size(train=6, validation=2, test=3, pixels=48, longest_side=48, steps=4)
FULL_SECONDS = 240


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and what was said."""
    output, said = tmp_path_factory.mktemp("demo") / "out", io.StringIO()
    with redirect_stdout(said):
        demo(output, seed=3, size=TINY)
    return output, said.getvalue()


@pytest.fixture(scope="module")
def findings(done: tuple[Path, str]) -> Findings:
    """Read back from what the demo wrote."""
    output = done[0]
    index = read_index(output / "data" / "dataset.json")
    grades = pd.read_csv(output / "grades" / "quality.csv")
    scores = {
        method: evaluate(output / "predictions" / method, index, split="test", against="truth")
        for method in ("uma-net", "majority")
    }
    ranking = json.loads((output / "grades" / "quality.json").read_text())["annotators"]
    return Findings(scores, {}, annotated(grades, index, output / "data" / "simulation.json"), ranking, seed=3)


def row(said: str, name: str) -> list[str]:
    """The cells of the first table row that starts with ``name``."""
    line = next(line for line in said.splitlines() if re.match(rf"│\s*{re.escape(name)}\s", line))
    return [cell.strip() for cell in line.strip("│").split("│")]


def mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_everything_that_the_demo_speaks_of_is_there(done):
    output, said = done
    assert f"Everything lies in {output}\n" in said
    for name in FILES:
        assert (output / name).exists(), name
        assert f"  {name} " in said
    assert len(Image.open(output / "overview.png").getcolors(2**24) or []) > 1000  # not blank


def test_the_demo_splits_as_its_size_says(done):
    index = read_index(done[0] / "data" / "dataset.json")
    assert [len(index.select(split)) for split in ("train", "validation", "test")] == [6, 2, 3]
    assert set(index.annotators) == {"good", "over", "sloppy1", "sloppy2", "wrong"}


def test_the_table_shows_what_was_measured(done, findings):
    output, said = done
    masks = [mask(path) for path in sorted((output / "predictions/uma-net/labels").iterdir())]
    names = [path.name for path in sorted((output / "predictions/uma-net/labels").iterdir())]
    truths = [mask(output / "phantoms/truth" / name) for name in names]
    mean = np.mean([overlap(*pair) for pair in zip(masks, truths, strict=True)])
    assert row(said, "UMA-Net")[1] == f"{mean:.3f}"
    drawn = [mask(output / "data/annotations/over" / name) for name in names]
    assert row(said, "over")[1] == f"{np.mean([overlap(*pair) for pair in zip(drawn, truths, strict=True)]):.3f}"
    gain = findings.networks["uma-net"].summary["dice"]["mean"] - findings.networks["majority"].summary["dice"]["mean"]
    assert findings.gain("uma-net", "majority")[0] == pytest.approx(gain)
    assert f"image by image: {gain:+.3f}" in said


def test_the_true_dice_and_the_fault_of_an_annotation_are_those_of_its_files(done, findings):
    output = done[0]
    record = json.loads((output / "data" / "simulation.json").read_text())
    for entry in findings.annotations.to_dict("records"):
        name = f"{entry['case']}.png"
        truth, drawn = (
            mask(output / "phantoms/truth" / name),
            mask(output / "data/annotations" / entry["annotator"] / name),
        )
        assert entry["dice"] == pytest.approx(overlap(drawn, truth))
        assert (entry["fault"] == BAD_DAY) == (entry["case"] in record["bad_day_cases"])


def test_the_most_doubtful_annotations_come_first(done, findings):
    shown = re.findall(r"│ (phantom_\d+) +│ (\w+) ", done[1])
    worst = findings.annotations.sort_values("quality", kind="stable").head(10)
    assert shown == list(zip(worst["case"], worst["annotator"], strict=True))


def test_the_picture_shows_the_test_image_with_the_most_doubtful_annotation(done, findings):
    index = read_index(done[0] / "data" / "dataset.json")
    table = findings.annotations.assign(empty=False)
    tested = table[table.split == "test"].reset_index(drop=True)
    first, others = tested.case[0], [case for case in tested.case.unique() if case != tested.case[0]]
    assert find_view(replace(findings, annotations=table), index, done[0]).case == first
    table.loc[table.case == first, "empty"] = True
    chosen = find_view(replace(findings, annotations=table), index, done[0])
    assert chosen.case == next(case for case in tested.case if case in others)
    table["empty"] = True
    assert find_view(replace(findings, annotations=table), index, done[0]).case == first


def test_the_picture_copes_with_annotations_that_hold_nothing_or_everything(tmp_path):
    full, nothing = np.ones((20, 24), np.uint8), np.zeros((20, 24), np.uint8)
    view = View(
        "a", np.zeros((20, 24)), {"ann": full, "bob": nothing}, "bob", 0.1, full * 0.5, nothing,
        {"one": full, "two": nothing}, {"one": 0.5, "two": 0.25}, tested=2,
    )  # fmt: skip
    draw_overview(view, tmp_path / "overview.png")
    assert (tmp_path / "overview.png").stat().st_size > 10_000


def test_the_demo_writes_to_a_new_folder_only(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="a new or empty folder expected"):
        demo(tmp_path, size=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_demo_says_what_is_left(tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstration, "train", interrupt)
    with pytest.raises(Interrupted, match=r"the demo in .* is incomplete\. Remove it and start again"):
        demo(tmp_path / "out", size=TINY)


def test_the_commands_for_own_data_can_be_copied(done):
    assert OWN_DATA in done[1]


@pytest.mark.slow
def test_the_whole_demo_shows_in_minutes_what_umanet_is_for(tmp_path, monkeypatch):
    seen: list[Findings] = []
    monkeypatch.setattr(demonstration, "tables", lambda findings: seen.append(findings) or [])
    start = time.monotonic()
    demo(tmp_path / "out")
    assert time.monotonic() - start < FULL_SECONDS
    found = seen[0]
    assert found.networks["uma-net"].summary["dice"]["mean"] > 0.95
    assert found.gain("uma-net", "majority")[1] > 0
    ours, theirs = (found.consensus[name].summary["dice"]["mean"] for name in ("uma-net", "majority"))
    assert ours > theirs + 0.05
    assert found.ranking[0]["annotator"] == "good"
    assert found.finds_gross_errors() > 0.85
    assert (found.annotations.head(10)["dice"] < 0.6).mean() >= 0.8
