"""`umanet export-dataset`: every flag, and what is said where it cannot be done."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.data.index import write_index

QUICK = [
    "--preset", "cpu-small", "--trainer.max-steps", "2", "--trainer.validate-every", "2", "--trainer.batch-size", "2",
    "--backbone.channels", "4", "8", "--backbone.features", "4", "--device", "cpu",
]  # fmt: skip
PARTS = ("train", "train", "train", "validation", "test", "test")
NNUNET = "nnUNetv2_plan_and_preprocess"


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    """A data set with a trained run in ``run``; names that need care, with letters of their own."""
    folder = tmp_path_factory.mktemp("discs")
    index = write_discs(folder, (16, 16), train=4, validation=2)
    cases = [replace(case, id=f"{case.id} +ü.1", split=part) for case, part in zip(index.cases, PARTS, strict=True)]
    write_index(index.model_copy(update={"cases": tuple(cases)}), folder / "dataset.json")
    assert main(["train", str(folder / "dataset.json"), "-o", str(folder / "run"), *QUICK]) == 0
    return folder


def export(discs: Path, to: str, output: Path, *words: object) -> int:
    given = [discs / "dataset.json", "--to", to, "-o", output, *words]
    return main(["export-dataset", *map(str, given)])


@pytest.mark.parametrize("to", ["nnunet", "monai", "bids"])
def test_a_run_gives_its_image_aware_consensus(discs, tmp_path, capsys, to):
    assert export(discs, to, tmp_path / "out", "--with", discs / "run", "--device", "cpu", "--threads", 1) == 0
    fuse = ["fuse", discs / "dataset.json", "--with", discs / "run", "-o", tmp_path / "fused", "--device", "cpu"]
    assert main([str(word) for word in fuse]) == 0
    assert f"discs for {to} in" in capsys.readouterr().err
    if to == "nnunet":
        written = tmp_path / "out" / "Dataset501_discs" / "labelsTr" / "disc0 +ü.1.png"
        fused = tmp_path / "fused" / "labels" / "disc0 +ü.1.png"
        np.testing.assert_array_equal(np.asarray(Image.open(written)), np.asarray(Image.open(fused)))


@pytest.mark.parametrize("fusion", ["majority", "staple", "mean", "union", "intersection", "random", "truth"])
def test_one_label_map_per_case(discs, tmp_path, fusion):
    assert export(discs, "monai", tmp_path / "out", "--with", fusion) == 0
    said = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert [len(said[key]) for key in ("training", "validation", "test")] == [3, 1, 2]
    assert not any("annotator" in entry for entry in said["training"])


def test_one_annotator_one_split_and_the_number(discs, tmp_path):
    words = ("--with", "single", "--annotator", "carl", "--split", "train", "--id", 7)
    assert export(discs, "nnunet", tmp_path / "out", *words) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "Dataset007_discs" / "labelsTr").iterdir()) == [
        "disc0 +ü.1.png", "disc2 +ü.1.png",
    ]  # fmt: skip


def test_every_annotation_and_what_to_do_for_nnunet(discs, tmp_path, capsys):
    assert export(discs, "nnunet", tmp_path / "out") == 0
    assert "nnU-Net trains on labelsTr: export --with a fusion" in capsys.readouterr().err


BAD = {
    "no such layout": ("nnunetv2", (), "nnunetv2"),
    "no such number": ("nnunet", ("--id", 0), "--id 0 found, a number from 1 to 999 expected"),
    "no such fusion": ("nnunet", ("--with", "staples"), "'staple'"),
    "no such run": ("monai", ("--with", "nowhere"), "--with nowhere found"),
    "a folder that is no run": ("monai", ("--with", "."), "found"),
    "no annotator": ("monai", ("--with", "single"), "no --annotator found, both or neither"),
    "an annotator too many": ("monai", ("--annotator", "anna"), "--annotator anna found, both or neither"),
    "no such annotator": ("bids", ("--with", "single", "--annotator", "ana"), "Did you mean 'anna'?"),
    "no such split": ("bids", ("--split", "training"), "'training' found"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_requests_are_one_line_and_leave_nothing(discs, tmp_path, capsys, fault):
    to, words, said = BAD[fault]
    assert export(discs, to, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and not list(tmp_path.iterdir())


def test_an_output_in_use_is_left_as_it_is(discs, tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    assert export(discs, "bids", tmp_path) == 2
    assert "a new or empty folder expected" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_image_that_is_gone_is_named_and_nothing_is_left(discs, tmp_path, capsys):
    copy = Path(shutil.copytree(discs, tmp_path / "copy"))
    (copy / "images" / "disc3.png").unlink()
    assert export(copy, "nnunet", tmp_path / "out", "--with", "majority") == 2
    assert "disc3.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", [("majority",), ("truth",), ("single", "--annotator", "anna")], ids=lambda w: w[0])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_nnunet_itself_plans_and_preprocesses_what_it_is_given(tmp_path, spatial_dims, words):
    """nnU-Net lives in an environment of its own: put its console scripts on PATH to run this."""
    if shutil.which(NNUNET) is None:
        pytest.skip(f"{NNUNET} is not on PATH.")
    shape = (32, 32) if spatial_dims == 2 else (24, 20, 16)
    index = write_discs(tmp_path / "raw", shape)
    cases = [replace(case, id=f"{case.id} +ü.1") for case in index.cases]
    write_index(index.model_copy(update={"cases": tuple(cases)}), tmp_path / "raw" / "dataset.json")
    assert export(tmp_path / "raw", "nnunet", tmp_path / "nnUNet_raw", "--with", *words) == 0
    places = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    command = [NNUNET, "-d", "501", "--verify_dataset_integrity", "-c", "2d", "-npfp", "1", "-np", "1"]
    done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {path.stem for path in (tmp_path / "nnUNet_preprocessed").rglob("*.pkl")}
    assert found == {case.id for case in cases}
