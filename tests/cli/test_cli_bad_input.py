"""Every kind of bad input: one clear line, exit code 2, nothing half-written."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.data.index import write_index

SHAPE = (16, 16)
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a trained run in ``run``."""
    folder = tmp_path_factory.mktemp("discs")
    write_index(write_discs(folder, SHAPE), folder / "dataset.json")
    assert main(["train", str(folder / "dataset.json"), "-o", str(folder / "run"), *QUICK]) == 0
    return folder


@pytest.fixture
def copy(discs: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(discs, tmp_path / "copy"))


QUICK = [
    "--preset", "cpu-small", "--trainer.max-steps", "2", "--trainer.validate-every", "2", "--trainer.batch-size", "2",
    "--backbone.channels", "4", "8", "--backbone.features", "4", "--device", "cpu",
]  # fmt: skip


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    """Change what dataset.json holds."""
    path = folder / "dataset.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def replaced_image(values: np.ndarray, suffix: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / f"images/disc1{suffix}"
        if suffix == ".nii.gz":
            nib.save(nib.Nifti1Image(values, np.eye(4)), path)
        else:
            tifffile.imwrite(path, values)
        edit(folder, lambda v: v["cases"][1].update(image=[f"images/disc1{suffix}"]))

    return damage


def shifted_affine(folder: Path) -> None:
    """Image and annotations as volumes; one annotation lies elsewhere."""
    shutil.rmtree(folder)
    index = write_discs(folder, (8, 8, 8))
    path = index.cases[1].annotations["bert"]
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.diag([1, 1, 2, 1.0])), path)
    write_index(index, folder / "dataset.json")


def annotator_twice(folder: Path) -> None:
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace('"annotations": {', '"annotations": {"anna": "a.png", ', 1))


NAN = np.full(SHAPE, 1, np.float32)
NAN[3, 4] = np.nan

BAD_DATA: dict[str, tuple[Damage, list[str]]] = {
    "no data set": (lambda f: (f / "dataset.json").unlink(), ["dataset.json", "No such file"]),
    "broken JSON": (lambda f: (f / "dataset.json").write_text("{"), ["dataset.json", "not valid JSON"]),
    "missing file": (lambda f: (f / "annotations/bert/disc1.png").unlink(), ["bert/disc1.png", "No file found"]),
    "unreadable file": (
        lambda f: (f / "images/disc1.png").write_bytes((f / "images/disc1.png").read_bytes()[:60]),
        ["images/disc1.png", "cannot be read", "truncated"],
    ),
    "another shape": (
        lambda f: Image.fromarray(np.zeros((16, 15), np.uint8)).save(f / "annotations/bert/disc1.png"),
        ["disc1/bert", "(16, 16)", "(16, 15)", "same grid expected"],
    ),
    "another affine": (shifted_affine, ["disc1/bert", "mm apart", "same grid expected"]),
    "unknown value": (
        lambda f: Image.fromarray(np.full(SHAPE, 7, np.uint8)).save(f / "annotations/bert/disc1.png"),
        ["disc1/bert", "7", "class"],
    ),
    "NaN": (replaced_image(NAN, ".tif"), ["images/disc1.tif", "NaN", "finite"]),
    "no annotation": (
        lambda f: edit(f, lambda v: v["cases"][1].update(annotations={})),
        ["disc1", "No annotation found", "at least one expected"],
    ),
    "annotator twice": (annotator_twice, ["'anna'", "twice", "dataset.json"]),
    "annotator listed twice": (
        lambda f: edit(f, lambda v: v["annotators"].append("anna")),
        ["'anna'", "2 times", "once expected"],
    ),
    "empty split": (
        lambda f: edit(f, lambda v: [case.update(split="train") for case in v["cases"]]),
        ["'validation'", "at least one expected"],
    ),
    "2D and 3D": (replaced_image(np.ones((16, 16, 4), np.uint8), ".nii.gz"), ["images/disc1.nii.gz", "(16, 16, 4)"]),
    "channels": (
        replaced_image(np.ones((*SHAPE, 3), np.uint8), ".tif"),
        ["3 channels found", "1 (grey) expected", "images/disc1.tif"],
    ),
}


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command ends with; before it there may be a warning, and nothing else."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    *before, line = shown.err.splitlines()
    assert line.startswith("umanet: ") and all(other.startswith("umanet: warning: ") for other in before)
    return line


@pytest.mark.parametrize("kind", BAD_DATA)
def test_training_refuses_bad_data(kind, copy, capsys):
    damage, words = BAD_DATA[kind]
    damage(copy)
    before = sorted(copy.rglob("*"))
    line = refused(capsys, "train", copy / "dataset.json", "-o", copy / "new", *QUICK)
    assert [word for word in words if word not in line] == []
    assert sorted(copy.rglob("*")) == before


def test_several_errors_are_counted_and_the_way_to_all_of_them_is_shown(copy, capsys):
    for name in ("disc1", "disc2"):
        (copy / f"annotations/bert/{name}.png").unlink()
    line = refused(capsys, "train", copy / "dataset.json", "-o", copy / "new", *QUICK)
    assert "(2 errors in all; 'umanet check" in line
    assert main(["check", str(copy / "dataset.json")]) == 1
    shown = capsys.readouterr().out
    assert "2 errors" in shown and "disc1/bert" in shown and "disc2/bert" in shown


def test_a_check_tells_a_machine_the_same(copy, capsys):
    (copy / "annotations/bert/disc1.png").unlink()
    capsys.readouterr()
    assert main(["check", str(copy / "dataset.json"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and report["counts"]["error"] == 1
    assert report["problems"][0]["code"] == "missing-file"


@pytest.mark.parametrize("command", ["predict", "grade", "fuse"])
@pytest.mark.parametrize("kind", ["NaN", "unreadable file", "2D and 3D", "channels"])
def test_what_fails_halfway_leaves_nothing(command, kind, copy, capsys):
    damage, words = BAD_DATA[kind]
    damage(copy)
    before = sorted(copy.rglob("*"))
    line = refused(capsys, *call(command, copy), "-o", copy / "new")
    assert "disc1" in line and any(word in line for word in words)
    assert sorted(copy.rglob("*")) == before


def call(command: str, folder: Path) -> list[object]:
    data, run = folder / "dataset.json", folder / "run"
    return ["fuse", data, "--with", "majority"] if command == "fuse" else [command, run, data]


@pytest.mark.parametrize("command", ["train", "predict", "grade", "fuse"])
def test_a_folder_in_use_is_not_touched(command, copy, capsys):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    words = ["train", copy / "dataset.json", *QUICK] if command == "train" else call(command, copy)
    line = refused(capsys, *words, "-o", copy / "run")
    assert str(copy / "run") in line and "new" in line
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_run_folder_is_looked_at_before_the_files(copy, capsys, monkeypatch):
    def check(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr("umanet.data.check.check", check)
    data = copy / "dataset.json"
    assert "exists already" in refused(capsys, "train", data, "-o", copy / "run", *QUICK)
    assert "last.ckpt" in refused(capsys, "train", data, "-o", copy / "new", "--resume", "must", *QUICK)
    assert main(["train", str(data), "-o", str(copy / "run"), "--resume", "must"]) == 0
    assert "finished before: nothing was trained" in capsys.readouterr().err


def test_a_data_set_is_not_overwritten_by_import(copy, capsys):
    before = (copy / "dataset.json").read_bytes()
    line = refused(capsys, "import", "folder", copy, "-o", copy / "dataset.json")
    assert "exists already" in line
    assert (copy / "dataset.json").read_bytes() == before


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


BAD_MODELS: dict[str, tuple[Damage, list[str]]] = {
    "tampered": (lambda run: flip_a_byte(run / "model.safetensors"), ["model.safetensors", "SHA-256", "changed"]),
    "truncated": (
        lambda run: (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:100]),
        ["model.safetensors", "truncated"],
    ),
    "no weights": (lambda run: (run / "model.safetensors").unlink(), ["model.safetensors", "missing"]),
    "half a description": (
        lambda run: (run / "model.json").write_text((run / "model.json").read_text()[:200]),
        ["model.json", "not valid JSON"],
    ),
    "no description": (lambda run: (run / "model.json").unlink(), ["No model.json found", "umanet train"]),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
@pytest.mark.parametrize("command", ["predict", "grade"])
def test_a_bad_model_file_is_refused(kind, command, copy, capsys):
    damage, words = BAD_MODELS[kind]
    damage(copy / "run")
    line = refused(capsys, command, copy / "run", copy / "dataset.json", "-o", copy / "new")
    assert [word for word in words if word not in line] == []
    assert not (copy / "new").exists()


def test_a_tampered_grading_file_is_refused(copy, capsys):
    flip_a_byte(copy / "run" / "grading.safetensors")
    line = refused(capsys, "fuse", copy / "dataset.json", "--with", copy / "run", "-o", copy / "new")
    assert "grading.safetensors" in line and "SHA-256" in line
    assert not (copy / "new").exists()


@pytest.mark.parametrize("command", ["predict", "grade"])
def test_a_model_of_another_task_is_refused(command, copy, capsys):
    index = write_discs(copy / "volumes", (8, 8, 8))
    write_index(index, copy / "volumes.json")
    line = refused(capsys, command, copy / "run", copy / "volumes.json", "-o", copy / "new")
    assert "spatial dimensions 3 found" in line and "2 expected" in line
    assert not (copy / "new").exists()


def test_a_volume_for_a_2d_model_is_refused(copy, capsys):
    write_discs(copy / "volumes", (8, 8, 8))
    volume = copy / "volumes/images/disc0.nii.gz"
    line = refused(capsys, "predict", copy / "run", volume, "-o", copy / "new")
    assert "disc0.nii.gz" in line and "(8, 8, 8)" in line
    assert not (copy / "new").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["predict", "run", "-o", "new"], "No image found"),
        (["predict", "run", "empty", "-o", "new"], "No image found"),
        (["predict", "run", "grades", "-o", "new"], "No image found in grades, 1 other file (quality.csv)"),
        (["predict", "run", "images/disc0.png", "./images/disc0.png", "-o", "new"], "Two images named 'images_disc0'"),
        (["predict", "run", "images/disc0.png", "--split", "test", "-o", "new"], "--split test found with images"),
        (["predict", "run", "dataset.json", "--split", "test", "-o", "new"], "No case found in split 'test'"),
        (["predict", "run", "dataset.json", "--split", "trian", "-o", "new"], "Did you mean 'train'?"),
        (["predict", "nowhere", "dataset.json", "-o", "new"], "No model.json found in nowhere"),
        (["predict", "run", ".", "-o", "new"], "A folder found at ., a dataset.json expected. Name dataset.json."),
        (["check", "images/disc0.png"], "'disc0.png' found, a dataset.json expected"),
        (["train", "run", "-o", "new"], "A folder found at run, a dataset.json expected. Name run"),
        (["fuse", "dataset.json", "--with", "nobody", "-o", "new"], "majority, staple"),
        (["fuse", "dataset.json", "--with", "mean", "--ties", "split", "-o", "new"], "'ties'"),
        (["fuse", "dataset.json", "--with", "majorty", "-o", "new"], "Did you mean 'majority'?"),
        (["fuse", "dataset.json", "--with", "single", "-o", "new"], "No annotator given, one of anna, bert, carl"),
        (["predict", "run", "dataset.json", "--threads", "0", "-o", "new"], "--threads 0 found, at least 1 expected"),
        (["evaluate", "nowhere", "dataset.json"], "No predictions could be read from nowhere"),
        (["import", "folder", "images", "-o", "new"], "images"),
        (["import", "folder", "nowhere", "-o", "new"], "nowhere, a folder with images/CASE.png and annotations"),
        (["import", "folder", ".", "-o", "new", "--classes", "lesion"], "NAME=VALUE"),
        (["simulate", "--images", "images", "--truth", "truth", "--scenario", "hart", "-o", "new"], "'hard'"),
        (["train", "dataset.json", "-o", "new", "--config", "none.toml"], "none.toml"),
        (["train", "dataset.json", "-o", "new", "--resume", "must"], "last.ckpt"),
    ],
)
def test_what_was_asked_for_is_not_there(words, expected, copy, capsys, monkeypatch):
    monkeypatch.chdir(copy)
    (copy / "empty").mkdir()
    (copy / "grades").mkdir()
    (copy / "grades" / "quality.csv").touch()
    assert expected in refused(capsys, *words)
    assert not (copy / "new").exists()


@pytest.mark.parametrize("command", ["import", "train", "predict", "grade", "fuse"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(command, copy, capsys, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("umanet.data.files.os.fsync", full)
    before = sorted(copy.rglob("*"))
    calls = {"import": ["import", "folder", copy], "train": ["train", copy / "dataset.json", *QUICK]}
    line = refused(capsys, *(calls.get(command) or call(command, copy)), "-o", copy / "new")
    assert "No space left on device" in line
    assert sorted(copy.rglob("*")) == before


def test_a_device_that_is_not_there_is_refused(copy, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = refused(capsys, "predict", copy / "run", copy / "dataset.json", "-o", copy / "new", "--device", "cuda")
    assert "--device cuda found" in line and "cpu expected" in line


def test_training_says_that_there_are_warnings(copy, capsys):
    shutil.copyfile(copy / "annotations/anna/disc0.png", copy / "annotations/bert/disc0.png")
    assert main(["train", str(copy / "dataset.json"), "-o", str(copy / "new"), *QUICK]) == 0
    said = capsys.readouterr().err
    assert re.search(
        rf"^umanet: warning: \d+ warnings found .* cases; 'umanet check {copy}/dataset.json' lists", said, re.M
    )
