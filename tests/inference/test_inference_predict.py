"""From image files to files of predictions on the images' own grid."""

import json
import pickle
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fake_data.arrays import make_method, tiny_config
from fake_data.discs import write_discs
from umanet.config import DataOptions
from umanet.data.images import read_case, read_labels, read_map
from umanet.data.index import ClassDefinition
from umanet.data.transforms import prepare_image
from umanet.errors import DatasetError, OutputError, TaskError
from umanet.inference.model_file import load_model, save_model
from umanet.inference.onnx_runtime import Onnx
from umanet.inference.predict import Wanted, predict, predict_case
from umanet.inference.prediction_files import write_case
from umanet.inference.unread import samples_of_images, samples_of_index
from umanet.types import Geometry

SHAPES = {2: (20, 26), 3: (10, 12, 8)}


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def discs(request, tmp_path_factory):
    """A data set and an untrained model for it."""
    folder = tmp_path_factory.mktemp("discs")
    index = write_discs(folder, SHAPES[request.param], train=1, validation=2)
    save_model(make_method(index.task, tiny_config()), index, tiny_config(), folder / "run")
    return index, load_model(folder / "run")


def with_data(model, **options):
    return replace(model, config=model.config.model_copy(update={"data": DataOptions(**options)}))


def test_an_image_is_predicted_as_by_the_method(discs):
    index, model = discs
    sample = read_case(index.cases[0], index)
    image = prepare_image(sample, model.config.data)[None]
    with torch.no_grad():
        expected = model.method.predict(image).probabilities
    assert torch.equal(predict_case(model, sample).probabilities, expected)


@pytest.mark.parametrize("options", [{"longest_side": 9}, {"patch": "half"}], ids=["shrunk", "in tiles"])
def test_probabilities_lie_on_the_grid_of_the_image(discs, options):
    index, model = discs
    sample = read_case(index.cases[0], index)
    if "patch" in options:
        options = {"patch": (8,) * index.spatial_dims}
    found = predict_case(with_data(model, **options), sample).probabilities
    assert found.shape == (1, 2, *sample.geometry.shape)
    torch.testing.assert_close(found.sum(1), torch.ones(1, *sample.geometry.shape), rtol=1e-4, atol=1e-4)


def test_written_files_hold_what_was_predicted(discs, tmp_path):
    index, model = discs
    done = []
    cases, samples = samples_of_index(model, index, "validation")
    manifest = predict(
        model, samples, tmp_path / "out", total=len(cases), progress=lambda number, total: done.append((number, total))
    )
    assert done == [(1, 2), (2, 2)]
    written = json.loads(manifest.read_text())
    assert (written["format"], written["version"]) == ("umanet-predictions", 1)
    assert [entry["name"] for entry in written["classes"]] == ["background", "disc"]
    assert written["model"] == {"method": "uma-net", "sha256": model.digest}
    assert list(written["cases"]) == [case.id for case in cases]
    for case in cases:
        files = written["cases"][case.id]
        expected = predict_case(model, read_case(case, index)).probabilities[0]
        for k, name in enumerate(entry["name"] for entry in written["classes"]):
            found = read_map(manifest.parent / files["probabilities"][name], index.spatial_dims)
            np.testing.assert_allclose(found, expected[k].numpy(), atol=1 / 65535)
        doubt = read_map(manifest.parent / files["entropy"], index.spatial_dims)
        by_definition = torch.special.entr(expected).sum(0) / np.log(len(expected))
        np.testing.assert_allclose(doubt, by_definition.numpy(), atol=1 / 65535)
        labels = read_labels(manifest.parent / files["labels"], index)
        assert np.array_equal(labels, expected.argmax(0).numpy())


def test_images_that_belong_to_no_data_set_are_predicted(discs):
    index, model = discs
    _, (sample,) = samples_of_images(model, [index.cases[0].image[0]])
    assert sample.case == "disc0"
    known = predict_case(model, read_case(index.cases[0], index)).probabilities
    assert torch.equal(predict_case(model, sample).probabilities, known)


def test_a_folder_stands_for_the_images_in_it(discs, tmp_path):
    _, model = discs
    files = [save(tmp_path / "new" / f"{name}.png", 7) for name in "ba"]
    (tmp_path / "new" / ".hidden").touch()
    assert [case.image for case in samples_of_images(model, [tmp_path / "new"])[0]] == [(files[1],), (files[0],)]
    with pytest.raises(DatasetError, match="No image found"):
        samples_of_images(model, [])


def test_images_of_one_name_are_told_apart_by_their_folders(discs, tmp_path):
    _, model = discs
    files = [save(tmp_path / name / "ct.png", 7) for name in ("patA", "patB")]
    cases, _ = samples_of_images(model, [*files, save(tmp_path / "patA" / "mr.png", 7)])
    assert [case.id for case in cases] == ["patA_ct", "patB_ct", "mr"]
    save(tmp_path / "patA" / "ct.tif", 7)
    with pytest.raises(DatasetError, match=r"Two images named 'patA_ct' found, .*: .*ct\.png and .*ct\.tif\. Rename"):
        samples_of_images(model, [tmp_path / "patA"])


def test_a_case_that_comes_twice_is_refused(discs, tmp_path):
    index, model = discs
    sample = read_case(index.cases[0], index)
    with pytest.raises(DatasetError, match="Two images named 'disc0' found"):
        predict(model, [sample, sample], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_image_is_left_out_and_said_and_a_folder_without_images_refused(discs, tmp_path, caplog):
    _, model = discs
    file = save(tmp_path / "new" / "a.png", 7)
    (tmp_path / "new" / "Thumbs.db").touch()
    save(tmp_path / "new" / "drawn" / "a.png", 1)  # an annotation, perhaps
    assert [case.image for case in samples_of_images(model, [tmp_path / "new"])[0]] == [(file,)]
    assert "2 other files (Thumbs.db, drawn/a.png) left out" in caplog.text
    file.unlink()
    with pytest.raises(DatasetError, match=r"No image found in .*new, 2 other files \(Thumbs.db, drawn/a.png\)"):
        samples_of_images(model, [tmp_path / "new"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"No image found in .*empty, 0 other files"):
        samples_of_images(model, [tmp_path / "empty"])


def save(path, *channels):
    values = np.stack([np.full((8, 8), value, np.uint8) for value in channels], 2)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values.squeeze()).save(path)
    return path


def of_channels(discs, count):
    _, model = discs
    return replace(model, task=replace(model.task, spatial_dims=2, channels=tuple("abc"[:count])))


def test_files_of_one_channel_are_grouped_into_cases(discs, tmp_path):
    files = [save(tmp_path / f"p{case}_{channel:04}.png", channel) for channel in (1, 0) for case in (2, 1)]
    cases, samples = samples_of_images(of_channels(discs, 2), files)
    assert [case.id for case in cases] == ["p1", "p2"]
    assert [sample.image[:, 0, 0].tolist() for sample in samples] == [[0, 1], [0, 1]]
    with pytest.raises(TaskError, match=r"1 file found for case 'p2' \(p2_0001\.png\), 2 expected, one per channel"):
        samples_of_images(of_channels(discs, 2), [files[0], files[1], files[3]])


def test_numbered_files_with_all_channels_are_cases_of_their_own(discs, tmp_path):
    files = [save(tmp_path / f"photo_{number:04}.png", 1, 2, 3) for number in range(3)]
    assert [case.id for case in samples_of_images(of_channels(discs, 3), files)[0]] == [path.stem for path in files]
    grey = [save(tmp_path / f"grey_{number:04}.png", 1) for number in range(3)]
    assert [case.id for case in samples_of_images(of_channels(discs, 1), grey)[0]] == [path.stem for path in grey]


def test_no_annotation_is_held_in_memory_to_predict(discs):
    index, model = discs
    _, samples = samples_of_index(model, index, "validation")
    assert [len(sample.annotations) for sample in samples] == [0, 0]


def test_a_folder_in_use_is_not_overwritten(discs, tmp_path):
    index, model = discs
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="a new or empty folder expected"):
        predict(model, [read_case(index.cases[0], index)], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_halfway_leaves_nothing_that_looks_complete(discs, tmp_path):
    index, model = discs
    good = read_case(index.cases[0], index)
    bad = replace(good, case="two", image=torch.cat([good.image, good.image]))
    with pytest.raises(TaskError, match="2 channels found, 1 expected, in case 'two'"):
        predict(model, [good, bad], tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.json").exists()


def test_an_empty_split_is_refused(discs):
    index, model = discs
    with pytest.raises(DatasetError, match="No case found in split 'test'"):
        samples_of_index(model, index, "test")


def test_the_entropy_is_1_where_all_classes_are_alike_and_maps_are_not_kept(tmp_path):
    rows = [[0.5, 1.0, 0.25, 0.25], [0.5, 0.0, 0.75, 0.25], [0.0, 0.0, 0.0, 0.25], [0.0, 0.0, 0.0, 0.25]]
    alive: list[weakref.ref[torch.Tensor]] = []

    def maps() -> Iterator[torch.Tensor]:
        for row in rows:
            assert all(earlier() is None for earlier in alive[:-2])
            one = torch.tensor([row])
            alive.append(weakref.ref(one))
            yield one

    classes = [ClassDefinition(name=name, values=(k,)) for k, name in enumerate("abcd")]
    files = write_case("one", maps(), Geometry((1, 4), (1.0, 1.0), suffix=".png"), classes, tmp_path)
    by_hand = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    expected = np.array([[np.log(2), 0, by_hand, np.log(4)]]) / np.log(4)
    np.testing.assert_allclose(read_map(tmp_path / files["entropy"], 2), expected, atol=1 / 65535)
    assert np.asarray(Image.open(tmp_path / files["labels"])).tolist() == [[0, 0, 1, 0]]


def test_images_are_found_from_any_folder(discs, tmp_path, monkeypatch):
    """Workers of a cluster may run in another one."""
    index, model = discs
    monkeypatch.chdir(index.cases[0].image[0].parent)
    cases, samples = samples_of_images(model, [Path(index.cases[0].image[0].name)])
    monkeypatch.chdir(tmp_path)
    assert cases[0].image[0].is_absolute()
    assert len(list(samples)) == 1


def test_what_is_wanted_is_the_same_in_another_process():
    """Else a worker would load the model and open the graph anew for every case."""
    wanted = Wanted(mirror=(0,), network=Onnx(Path("run"), 1))
    there = pickle.loads(pickle.dumps(wanted))  # noqa: S301  # our own
    assert there == wanted
    assert hash(there) == hash(wanted)
