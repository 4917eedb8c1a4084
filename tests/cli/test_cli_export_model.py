"""``umanet export-model`` and ``umanet predict --runtime onnx`` from the command line."""

import builtins

import numpy as np
import pytest
from PIL import Image

from fake_data.arrays import make_method, tiny_config
from fake_data.commands import tree
from fake_data.discs import write_discs
from umanet.__main__ import main
from umanet.config import DataOptions
from umanet.data.index import write_index
from umanet.inference import exported
from umanet.inference.model_file import save_model


def release(folder, method="uma-net"):
    index, config = write_discs(folder, (16, 20), validation=2), tiny_config(method)
    config = config.model_copy(update={"data": DataOptions(patch=(8, 12))})
    write_index(index, folder / "dataset.json")
    (folder / "run").mkdir()
    save_model(make_method(index.task, config), index, config, folder / "run")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return release(tmp_path_factory.mktemp("released"))


def predict(folder, name, *flags):
    return main(["predict", str(folder / "run"), str(folder / "dataset.json"), "-o", str(folder / name), *flags])


def pictures(folder):
    return {path.relative_to(folder): np.asarray(Image.open(path)) for path in folder.rglob("*.png")}


def test_both_runtimes_give_the_same_labels_and_probabilities(folder):
    assert [predict(folder, name, "--runtime", name) for name in ("torch", "onnx")] == [0, 0]
    expected, found = pictures(folder / "torch"), pictures(folder / "onnx")
    assert (folder / "run" / "model.onnx").is_file()
    assert expected.keys() == found.keys()
    for name in expected:
        if name.parts[0] == "labels":
            assert np.array_equal(found[name], expected[name])
        elif name.parts[0] == "probabilities":
            assert np.abs(found[name].astype(int) - expected[name]).max() <= 1e-4 * 65535
    assert (folder / "onnx" / "predictions.json").read_text() == (folder / "torch" / "predictions.json").read_text()


def test_two_workers_write_what_one_writes_by_onnx_too(folder):
    assert predict(folder, "alone", "--runtime", "onnx") == 0
    assert predict(folder, "two", "--runtime", "onnx", "--workers", "2", "--also", "coco", "--mirror", "0") == 0
    assert predict(folder, "one", "--runtime", "onnx", "--also", "coco", "--mirror", "0") == 0
    assert tree(folder / "two") == tree(folder / "one") != tree(folder / "alone")


def test_bfloat16_changes_probabilities_little(folder):
    assert [predict(folder, f"as {name}", "--precision", name) for name in ("32", "bf16")] == [0, 0]
    expected, found = pictures(folder / "as 32"), pictures(folder / "as bf16")
    differences = [np.abs(found[name].astype(int) - expected[name]).max() for name in expected if "prob" in str(name)]
    assert 0 < max(differences) < 0.05 * 65535


@pytest.mark.parametrize(("flags", "said"), [
    (["--runtime", "onnx", "--device", "cuda"], "--device cuda with --runtime onnx found, cpu expected"),
    (["--runtime", "onnx", "--precision", "bf16"], "--precision bf16 with --runtime onnx found, --runtime torch"),
    (["--mirror", "0", "2"], "--mirror 0 2 found, different axes from 0 to 1 expected: the images are 2D"),
    (["--mirror", "1", "1"], "--mirror 1 1 found, different axes"),
])  # fmt: skip
def test_what_does_not_fit_together_is_refused(folder, flags, said, capsys):
    assert predict(folder, "refused", *flags) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(("flags", "said"), [
    (["--annotators", "--samples", "--runtime", "onnx"],
     "--annotators and --samples with --runtime onnx found, --runtime torch expected"),
    (["--samples", "--mirror", "0"], "--samples with --mirror found, one of them expected"),
])  # fmt: skip
def test_samples_and_annotators_are_of_the_network_as_it_is(tmp_path, flags, said, capsys):
    assert predict(release(tmp_path, "persona"), "refused", *flags) == 2
    assert said in capsys.readouterr().err


def test_without_onnx_runtime_it_is_said_what_to_install(folder, monkeypatch, capsys):
    real = builtins.__import__
    monkeypatch.setattr(exported, "import_module", lambda name: real("no_such_package"))
    assert predict(folder, "refused", "--runtime", "onnx") == 2
    assert "pip install 'umanet[export]'" in capsys.readouterr().err


def test_a_network_is_exported(folder, capsys):
    assert main(["export-model", str(folder / "run"), "-o", str(folder / "network.onnx")]) == 0
    assert "images of any size" in capsys.readouterr().err
    assert main(["export-model", str(folder / "run"), "-o", str(folder / "network.onnx")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["export-model", str(folder / "run"), "-o", str(folder / "network.pt2"), "--to", "torch"]) == 0
