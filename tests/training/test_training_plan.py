"""What a run decides from its images before it begins, and that a prediction undoes it."""

import logging

import nibabel as nib
import numpy as np
import pytest

from fake_data.arrays import tiny_config
from fake_data.discs import write_array, write_discs
from umanet.config import DataOptions, RunConfig, TrainerOptions, build_config, format_config, read_config
from umanet.data.images import read_image
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.errors import ConfigError
from umanet.inference.model_file import load_model
from umanet.inference.predict import predict
from umanet.inference.unread import samples_of_images, samples_of_index
from umanet.training import plan, train
from umanet.training.plan import spacing_for
from umanet.types import Case, Geometry

CLASSES = (ClassDefinition(name="background", values=(0,)), ClassDefinition(name="ball", values=(1,)))


def images(*spacings, shape=(40, 40, 20), known=True):
    return [Geometry(shape, spacing, spacing_is_known=known) for spacing in spacings]


@pytest.mark.parametrize(
    ("geometries", "expected"),
    [
        (images((1.0, 1.0, 2.0), (1.0, 1.0, 2.0)), "native"),
        (images((1.0, 1.0, 2.0), (1.009, 1.0, 2.0)), "native"),
        (images((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), known=False), "native"),
        (images((1.0, 1.0, 2.0), (1.2, 1.2, 2.0), (2.0, 2.0, 2.0)), (1.2, 1.2, 2.0)),
        # Thick slices: their tenth percentile, not their median.
        (images(*((1.0, 1.0, float(z)) for z in range(2, 13))), (1.0, 1.0, 3.0)),
        # Never thinner than voxels are wide.
        (images((1.0, 1.0, 0.5), (1.0, 1.0, 5.0), (1.0, 1.0, 5.0)), (1.0, 1.0, 1.4)),
        (images((1.0, 1.0, 0.2), (1.0, 1.0, 0.2), (1.0, 1.0, 5.0), (1.0, 1.0, 5.0), (1.0, 1.0, 5.0)), (1.0, 1.0, 1.0)),
        # As many slices as voxels: no axis of its own kind.
        (images(*((1.0, 1.0, float(z)) for z in range(2, 13)), shape=(40, 40, 40)), (1.0, 1.0, 7.0)),
    ],
)
def test_the_spacing_is_the_median_but_for_thick_slices(geometries, expected):
    found = spacing_for(geometries)
    assert found == (expected if expected == "native" else pytest.approx(expected))


TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, -1.0]])
"""Of the volumes: oblique, and from the head down."""


@pytest.fixture
def index(tmp_path):
    """Balls of 6 mm in volumes of two spacings."""
    cases = []
    for number, step in enumerate((1.0, 1.0, 2.0, 1.0, 2.0, 1.0)):
        shape = tuple(round(24 / s) for s in (1.0, 1.0, step))
        grid = np.indices(shape) * np.reshape((1.0, 1.0, step), (3, 1, 1, 1))
        ball = np.sqrt(((grid - 12) ** 2).sum(0)) < 6
        paths = []
        for name, values in (("image", ball * 100.0), ("ball", ball)):
            paths.append(tmp_path / f"{name}{number}.nii.gz")
            affine = np.eye(4)
            affine[:3] = np.column_stack([TURN * (1.0, 1.0, step), (-40, 7, 21)])
            image = nib.Nifti1Image(values.astype(np.uint8), affine)
            image.header.set_xyzt_units("mm")
            nib.save(image, paths[-1])
        split = ("train", "train", "train", "train", "validation", "test")[number]
        cases.append(Case(f"c{number}", (paths[0],), {"anna": paths[1]}, patient=f"p{number}", split=split))
    return DatasetIndex(spatial_dims=3, channels=("grey",), classes=CLASSES, annotators=("anna",), cases=tuple(cases))


def short(**data):
    options = DataOptions(largest_patch=16, **data)
    return tiny_config().model_copy(
        update={
            "data": options,
            "trainer": TrainerOptions(max_steps=2, batch_size=2, validate_every=2),
            "device": "cpu",
        }
    )


def test_a_run_says_and_writes_what_it_chose_and_predictions_are_on_the_files_grid(index, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "umanet"):
        run = train(short(), index, tmp_path / "run")
    assert "Working grid: spacing 1 x 1 x 1 mm; patch 16 x 16 x 16; normalisation zscore." in caplog.text
    assert read_config(run / "run.toml", 3).data.spacing == (1.0, 1.0, 1.0)
    model = load_model(run)
    assert model.config.data.spacing == (1.0, 1.0, 1.0)
    predict(model, samples_of_index(model, index, "validation")[1], tmp_path / "predictions")
    image = nib.load(index.cases[4].image[0])
    written = sorted((tmp_path / "predictions").rglob("*c4*.nii.gz"))
    assert len(written) >= 3  # labels, probabilities, entropy
    for found in map(nib.load, written):
        assert found.shape == image.shape == (24, 24, 12)
        np.testing.assert_array_equal(found.affine, image.affine)
    # The chosen numbers are what a resumed run compares itself with.
    assert train(short(), index, run, resume="must") == run


def test_images_of_one_spacing_are_left_as_they_are(index):
    same = [case for case in index.cases if case.id in ("c0", "c1", "c3")]
    assert plan(short(), index, same).data.spacing == "native"
    assert plan(short(spacing="native"), index, index.select("train")).data.spacing == "native"
    assert plan(short(spacing=(2.0, 2.0, 2.0)), index, same).data.spacing == (2.0, 2.0, 2.0)


def test_a_size_is_the_grid_of_every_image_whatever_its_spacing(index):
    planned = plan(short(size=(8, 16, 12)), index, index.select("train"))
    assert (planned.data.size, planned.data.spacing) == ((8, 16, 12), "native")
    assert planned.data.patch == (8, 16, 12)


def test_pictures_of_any_size_are_predicted_at_their_own_after_a_size_of_the_grid(tmp_path):
    index = write_discs(tmp_path, (20, 26))
    run = train(short(size=(16, 16)), index, tmp_path / "run")
    write_array(tmp_path / "new", "wide", np.full((18, 41), 90.0))
    model = load_model(run)
    predict(model, samples_of_images(model, [tmp_path / "new" / "wide.png"])[1], tmp_path / "predictions")
    written = sorted((tmp_path / "predictions").rglob("*wide*.*"))
    assert len(written) >= 3
    assert {read_image([path], 2)[1].shape for path in written} == {(18, 41)}


@pytest.mark.parametrize("preset", ["chest-xray", "fundus"])
def test_presets_of_the_paper_are_for_pictures(preset):
    assert build_config({"preset": preset}, 2).data.size == (256, 256)
    with pytest.raises(ConfigError, match=r"data\.size = \(256, 256\) found, 3 numbers expected"):
        build_config({"preset": preset}, 3)


def test_a_spacing_that_is_no_word_of_ours_is_refused_in_one_sentence():
    with pytest.raises(
        ConfigError, match=r"^data\.spacing = 'median' found in the configuration: .*'auto' or 'native'"
    ):
        build_config({"data": {"spacing": "median"}})
    with pytest.raises(ConfigError, match=r"data\.spacing = \(1\.0,\) found, 3 numbers expected"):
        build_config({"data": {"spacing": (1.0,)}}, 3)


def test_models_from_before_the_choice_keep_the_files_spacing(tmp_path):
    assert RunConfig.model_validate({"data": {"spacing": None}}).data.spacing == "native"
    for spacing in ("auto", "native", (1.0, 2.5)):
        config = build_config({"data": {"spacing": spacing}})
        (tmp_path / "run.toml").write_text(format_config(config))
        assert read_config(tmp_path / "run.toml") == config
