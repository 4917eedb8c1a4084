"""The network outside of umanet, and back by ONNX Runtime: the same probabilities, or an error."""

import builtins
import json

import numpy as np
import onnxruntime
import pytest
import torch

from fake_data.arrays import make_index, make_method, make_task, tiny_config
from umanet.config import BackboneOptions, DataOptions
from umanet.errors import ExportError, OutputError
from umanet.inference import exported, onnx_runtime
from umanet.inference.exported import export_model
from umanet.inference.model_file import DESCRIPTION, load_model, save_model
from umanet.inference.onnx_runtime import KEPT, open_onnx

LEVELS = {"unet": (4, 8), "basic-unet": (4, 4, 4, 8, 8), "dynunet": (4, 8, 8)}


def release(folder, spatial_dims=2, method="uma-net", patch=(8, 12), architecture="unet"):
    task, config = make_task(spatial_dims, classes=3, channels=2), tiny_config(method)
    backbone = BackboneOptions(architecture=architecture, channels=LEVELS[architecture], features=4)
    config = config.model_copy(update={"data": DataOptions(patch=patch), "backbone": backbone})
    save_model(make_method(task, config), make_index(task), config, folder)
    return folder


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory):
    run = release(tmp_path_factory.mktemp("run"))
    export_model(run, run / "network.onnx")
    return run


def probabilities(run, image):
    with torch.no_grad():
        return load_model(run).method.predict(image).probabilities.numpy()


@pytest.mark.parametrize("shape", [(1, 2, 8, 12), (3, 2, 4, 20)], ids=str)
def test_a_graph_computes_the_same_for_other_sizes_and_numbers_of_images(exported_run, shape):
    session = onnxruntime.InferenceSession((exported_run / "network.onnx").read_bytes())
    image = torch.randn(shape)
    (found,) = session.run(["probabilities"], {"image": image.numpy()})
    np.testing.assert_allclose(found, probabilities(exported_run, image), atol=1e-4)


def test_a_graph_is_one_file_that_says_how_images_are_prepared_and_whose_weights_it_has(exported_run):
    assert [path.name for path in exported_run.glob("network*")] == ["network.onnx"]
    said = onnxruntime.InferenceSession(exported_run / "network.onnx").get_modelmeta().custom_metadata_map
    description = json.loads((exported_run / DESCRIPTION).read_text())
    assert json.loads(said["umanet.model"]) == description
    assert said["umanet.sha256"] == description["weights"]["sha256"]
    assert said["umanet.multiple"] == "2"


def test_a_program_of_torch_export_computes_the_same_and_has_the_description_in_it(tmp_path):
    run, image = release(tmp_path), torch.randn(2, 2, 4, 6)
    assert export_model(run, tmp_path / "network.pt2", "torch")
    files = {DESCRIPTION: ""}
    program = torch.export.load(tmp_path / "network.pt2", extra_files=files)
    with torch.no_grad():
        np.testing.assert_allclose(program.module()(image).numpy(), probabilities(run, image), atol=1e-6)
    assert files[DESCRIPTION] == (run / DESCRIPTION).read_text()


@pytest.mark.parametrize(("method", "any_size"), [("persona", True), ("stochastic-segmentation", False)])
def test_what_cannot_take_any_size_takes_the_patch(method, any_size, tmp_path):
    run, image = release(tmp_path, method=method), torch.randn(3, 2, 8, 12)
    network = open_onnx(run, load_model(run), threads=1)
    assert (onnx_runtime.graph_metadata((run / KEPT).read_bytes())["umanet.multiple"] != "0") == any_size
    np.testing.assert_allclose(network(image).numpy(), probabilities(run, image), atol=1e-4)


@pytest.mark.parametrize("architecture", ["unet", "basic-unet", "dynunet"])
def test_every_backbone_is_exported_in_3d_and_a_patch_that_is_padded_as_it_is(architecture, tmp_path):
    run, image = release(tmp_path, 3, patch=(9, 6, 8), architecture=architecture), torch.randn(1, 2, 9, 6, 8)
    assert not export_model(run, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (found,) = session.run(None, {"image": image.numpy()})
    np.testing.assert_allclose(found, probabilities(run, image), atol=1e-4)


def test_an_export_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "open_graph", lambda content, threads: lambda image: torch.rand(len(image), 3, 8, 12))
    monkeypatch.setattr(exported, "_multiples", lambda model: [0])
    with pytest.raises(ExportError, match=r"a difference of \S+ found, probabilities within 0.0001 .* expected"):
        export_model(release(tmp_path), tmp_path / "network.onnx")
    assert not (tmp_path / "network.onnx").exists()


def test_a_file_that_is_there_or_has_another_type_is_refused(tmp_path):
    (tmp_path / "network.onnx").touch()
    with pytest.raises(OutputError, match="is there already, a new file expected"):
        export_model(tmp_path, tmp_path / "network.onnx")
    with pytest.raises(OutputError, match=r"network\.onnx found, a name that ends with \.pt2 expected"):
        export_model(tmp_path, tmp_path / "network.onnx", "torch")


def test_a_graph_is_exported_once_and_made_anew_for_other_weights_or_where_it_is_broken(tmp_path, monkeypatch):
    run = release(tmp_path)
    open_onnx(run, load_model(run), threads=1)
    good = (run / KEPT).read_bytes()
    made = []
    monkeypatch.setattr(onnx_runtime, "onnx_bytes", lambda model, description: (made.append(model), (good, 2))[1])
    open_onnx(run, load_model(run), threads=1)
    assert not made
    for content in (b"", good[: len(good) // 2], good.replace(load_model(run).digest.encode(), b"0" * 64)):
        (run / KEPT).write_bytes(content)
        open_onnx(run, load_model(run), threads=1)
        assert (run / KEPT).read_bytes() == good
    assert len(made) == 3


def test_a_graph_with_the_digest_but_not_the_weights_is_made_anew(tmp_path):
    run = release(tmp_path)
    open_onnx(run, load_model(run), threads=1)
    model = load_model(run)
    with torch.no_grad():
        for parameter in model.method.parameters():
            parameter.add_(0.5)
    assert onnx_runtime._if_of(model, (run / KEPT).read_bytes(), 1) is None
    assert onnx_runtime._if_of(load_model(run), (run / KEPT).read_bytes(), 1) is not None


def test_a_run_folder_that_cannot_be_written_to_is_left_alone(tmp_path, monkeypatch):
    run = release(tmp_path)

    def read_only(path, content):
        raise OutputError("read only")

    monkeypatch.setattr(onnx_runtime, "replace_file", read_only)
    image = torch.randn(1, 2, 8, 12)
    found = open_onnx(run, load_model(run), threads=1)(image)
    assert not (run / KEPT).exists()
    np.testing.assert_allclose(found.numpy(), probabilities(run, image), atol=1e-4)


def test_without_the_package_it_is_said_what_to_install(tmp_path, monkeypatch):
    run, real = release(tmp_path), builtins.__import__
    monkeypatch.setattr(exported, "import_module", lambda name: real("no_such_package"))
    with pytest.raises(
        ExportError, match=r"No package onnxruntime found .* expected for --runtime onnx\. .*pip install"
    ):
        open_onnx(run, load_model(run), threads=1)
    with pytest.raises(ExportError, match=r"No package onnx found .*pip install 'umanet\[export\]'"):
        export_model(run, tmp_path / "network.onnx")


def test_exporting_changes_neither_the_checks_of_distributions_nor_the_model(tmp_path):
    run = release(tmp_path, method="prob-unet")
    before = torch.distributions.Distribution._validate_args
    export_model(run, tmp_path / "network.onnx")
    assert torch.distributions.Distribution._validate_args == before
