"""The main job, command by command, as a user types it: 2D pictures, and volumes with several classes."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fake_data.arrays import ball
from umanet.__main__ import main
from umanet.data.index import read_index

ANNOTATORS = ("anna", "bert", "carl")
CASES = 10
# Rotated and sheared a little, left-handed, not at the origin: nothing that a wrong axis order would survive.
AFFINE = np.array([[-1.5, 0.1, 0.0, 40.0], [0.1, 1.2, 0.2, -30.0], [0.0, -0.2, 2.0, 7.0], [0.0, 0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Kind:
    """A kind of data and what its files hold."""

    shape: tuple[int, ...]
    suffix: str
    values: tuple[int, ...]
    """In annotation files, background first."""

    def write(self, path: Path, values: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = values.clip(0, 255).astype(np.uint8)
        if self.suffix == ".png":
            Image.fromarray(values).save(path)
        else:
            nib.save(nib.Nifti1Image(values, AFFINE), path)

    def read(self, path: Path) -> np.ndarray:
        if self.suffix == ".png":
            return np.asarray(Image.open(path))
        return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]

    def labels(self, centre: tuple[float, ...], shift: float) -> np.ndarray:
        """File values: a disc or ball, and for two foreground classes its core apart."""
        centre = (centre[0] + shift, *centre[1:])
        labels = np.zeros(self.shape, np.uint8)
        for share, value in zip((0.32, 0.18), self.values[1:], strict=False):
            labels[ball(self.shape, centre, share * min(self.shape)).numpy()] = value
        return labels


KINDS = {
    "pictures": Kind((32, 40), ".png", (0, 255)),
    "volumes": Kind((16, 18, 12), ".nii.gz", (0, 1, 2)),
}


def write_raw(folder: Path, kind: Kind) -> None:
    """Carl draws three voxels off and leaves out every third case."""
    rng = np.random.default_rng(1)
    for number in range(CASES):
        centre = tuple(side / 2 + rng.uniform(-1, 1) for side in kind.shape)
        truth = kind.labels(centre, 0)
        noise = rng.normal(0, 10, kind.shape)
        name = f"case{number}{kind.suffix}"
        kind.write(folder / "images" / name, 50 + 150 * truth / max(kind.values) + noise)
        kind.write(folder / "truth" / name, truth)
        for annotator in ANNOTATORS:
            if annotator != "carl" or number % 3:
                shift = 3.0 if annotator == "carl" else rng.uniform(-0.5, 0.5)
                kind.write(folder / "annotations" / annotator / name, kind.labels(centre, shift))


def umanet(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module", params=KINDS)
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kind]:
    """Everything up to a trained run, whose settings come from a file and from flags."""
    kind, folder = KINDS[request.param], tmp_path_factory.mktemp(request.param)
    write_raw(folder / "raw", kind)
    (folder / "mine.toml").write_text("[backbone]\nchannels = [4, 8]\nfeatures = 4\n[trainer]\nmax_steps = 99\n")
    umanet("import", "folder", folder / "raw", "-o", folder / "dataset.json", "--fractions", 0.6, 0.2, 0.2)
    umanet("check", folder / "dataset.json")
    umanet(
        "train", folder / "dataset.json", "-o", folder / "run", "--config", folder / "mine.toml",
        "--preset", "cpu-small", "--trainer.max-steps", 6,
        "--trainer.validate-every", 3, "--trainer.batch-size", 2, "--device", "cpu",
    )  # fmt: skip
    return folder, kind


def test_a_run_says_what_it_did(work):
    folder, _ = work
    description = json.loads((folder / "run/model.json").read_text())
    settings = description["config"]
    assert settings["trainer"]["max_steps"] == 6 and settings["backbone"]["channels"] == [4, 8]
    assert settings["preset"] == "cpu-small" and settings["method"] == "uma-net"
    metrics = pd.read_csv(folder / "run/metrics.csv")
    assert metrics["step"].tolist() == [3, 6]
    assert metrics["validation/soft_dice"].between(0, 1).all()
    assert (folder / "run/checkpoints/last.ckpt").is_file()
    assert not list(folder.rglob("*.pkl"))


def test_predictions_lie_where_the_images_lie_and_are_evaluated(work, capsys):
    folder, kind = work
    umanet("predict", folder / "run", folder / "dataset.json", "--split", "test", "-o", folder / "pred")
    cases = [case.id for case in read_index(folder / "dataset.json").select("test")]
    assert sorted(path.name for path in (folder / "pred/labels").iterdir()) == [
        f"{case}{kind.suffix}" for case in cases
    ]
    for case in cases:
        labels, total = folder / f"pred/labels/{case}{kind.suffix}", np.zeros(kind.shape)
        assert kind.read(labels).shape == kind.shape
        assert set(np.unique(kind.read(labels))) <= set(kind.values)
        for path in (folder / "pred/probabilities").glob(f"*/{case}.*"):
            total += kind.read(path) / (65535 if kind.suffix == ".png" else 1)
            if kind.suffix == ".nii.gz":
                assert np.allclose(nib.load(path).affine, AFFINE, atol=1e-5)  # type: ignore[attr-defined]
        assert np.allclose(total, 1, atol=1e-4)
        if kind.suffix == ".nii.gz":
            assert np.allclose(nib.load(labels).affine, AFFINE, atol=1e-5)  # type: ignore[attr-defined]

    capsys.readouterr()
    umanet("evaluate", folder / "pred", folder / "dataset.json", "--split", "test", "--json", "-o", folder / "scores")
    scores = json.loads(capsys.readouterr().out)
    assert 0 <= scores["summary"]["dice"]["mean"] <= 1
    assert 0 <= scores["summary"]["soft_dice"]["mean"] <= 1
    assert len(scores["classes"]) == len(kind.values) - 1
    assert {row["case"] for row in scores["cases"]} == set(cases)
    assert json.loads((folder / "scores/evaluation.json").read_text()) == scores
    umanet("evaluate", folder / "pred", folder / "dataset.json", "--split", "test", "--against", "annotations")
    shown = capsys.readouterr().out
    assert "soft_dice" in shown and " iou" not in shown


def test_single_images_are_predicted_as_in_a_data_set(work, tmp_path):
    folder, kind = work
    case = read_index(folder / "dataset.json").select("test")[0]
    umanet("predict", folder / "run", case.image[0], "-o", tmp_path / "one")
    umanet("predict", folder / "run", folder / "dataset.json", "-o", tmp_path / "all")
    name = f"labels/{case.id}{kind.suffix}"
    assert np.array_equal(kind.read(tmp_path / "one" / name), kind.read(tmp_path / "all" / name))


def test_every_annotation_is_graded(work, capsys):
    folder, kind = work
    index = read_index(folder / "dataset.json")
    umanet("grade", folder / "run", folder / "dataset.json", "-o", folder / "grades")
    table = pd.read_csv(folder / "grades/quality.csv")
    assert len(table) == sum(len(case.annotations) for case in index.cases)
    assert table.quality.is_monotonic_increasing and table.quality.between(0, 1).all()
    for row in table.itertuples():
        doubt = kind.read(folder / f"grades/uncertainty/{row.annotator}/{row.case}{kind.suffix}")
        assert doubt.shape == kind.shape
    ranked = json.loads((folder / "grades/quality.json").read_text())["annotators"]
    assert {entry["annotator"] for entry in ranked} == set(ANNOTATORS)
    assert f"{table.case[0]}" in (shown := capsys.readouterr().out) and f"{table.annotator[0]}" in shown
    umanet("grade", folder / "run", folder / "dataset.json", "-o", folder / "quick", "--split", "test", "--no-maps")
    assert sorted(path.name for path in (folder / "quick").iterdir()) == ["quality.csv", "quality.json"]


@pytest.mark.parametrize("how", ["majority", "run"])
def test_a_consensus_is_a_data_set_that_can_be_checked_and_trained_on(work, how, tmp_path, capsys):
    folder, kind = work
    umanet("fuse", folder / "dataset.json", "--with", folder / "run" if how == "run" else how, "-o", tmp_path / "fused")
    index = read_index(tmp_path / "fused/dataset.json")
    assert len(index.cases) == CASES and index.annotators == ("consensus",)
    capsys.readouterr()
    umanet("check", tmp_path / "fused/dataset.json", "--json")
    assert json.loads(capsys.readouterr().out)["counts"]["error"] == 0
    first = index.cases[0]
    assert first.truth is not None
    overlap = (kind.read(first.annotations["consensus"]) > 0) & (kind.read(first.truth) > 0)
    assert overlap.sum() > 0.8 * (kind.read(first.truth) > 0).sum()


def test_annotators_are_simulated_from_images_and_truth(work, tmp_path):
    folder, _ = work
    raw = folder / "raw"
    umanet(
        "simulate", "--images", raw / "images", "--truth", raw / "truth", "--scenario", "mild", "--seed", 7,
        "-o", tmp_path / "simulated",
    )  # fmt: skip
    index = read_index(tmp_path / "simulated/dataset.json")
    assert len(index.annotators) == 4 and len(index.cases) == CASES
    assert index.splits is not None and index.splits.seed == 7
    umanet("check", tmp_path / "simulated/dataset.json")
