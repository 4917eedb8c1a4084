"""A consensus of annotators who draw some classes only, or ignore voxels, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from umanet.consensus import fuse_dataset
from umanet.data.images import read_case, read_map
from umanet.data.index import ClassDefinition, DatasetIndex
from umanet.types import IGNORE, Case

X = IGNORE
CLASSES = (
    ClassDefinition(name="background", values=(0,)),
    ClassDefinition(name="organ", values=(1,)),
    ClassDefinition(name="tumour", values=(2, 255)),
)
DRAWN = {"anna": [0, 1, X, X, 2], "bert": [0, 0, X, 0, 0]}


@pytest.fixture
def index(tmp_path):
    """Bert draws the tumour only. File value 9 is ignored."""
    (tmp_path / "raw").mkdir()
    image = tmp_path / "raw/a.png"
    Image.fromarray(np.zeros((1, 5), np.uint8)).save(image)
    paths = {}
    for who, labels in DRAWN.items():
        values = np.array([labels], np.uint8)
        paths[who] = tmp_path / f"raw/{who}.png"
        Image.fromarray(np.where(values == X, 9, values).astype(np.uint8)).save(paths[who])
    return DatasetIndex(
        spatial_dims=2, channels=("grey",), classes=CLASSES, annotators=tuple(DRAWN), ignore=(9,),
        cases=(Case("a", (image,), paths),), annotator_classes={"bert": ("tumour",)},
    )  # fmt: skip


def fused(index, tmp_path, how="majority", **options):
    new = fuse_dataset(index, how, tmp_path / "out", options=options)
    return new, read_case(new.cases[0], new).annotations[0, 0].tolist()


def test_nobody_speaks_of_the_third_voxel_and_of_the_fourth_only_bert(index, tmp_path):
    new, labels = fused(index, tmp_path)
    # The last: Anna's tumour ties with Bert's, who says that it is the background or an organ.
    assert labels == [0, 1, X, X, X]
    assert new.ignore == (9,) and new.annotator_classes == {}
    maps = [read_map(tmp_path / f"out/probabilities/{name}/a.png", 2)[0] for name in new.task.classes]
    np.testing.assert_allclose(np.sum(maps, axis=0), [1, 1, 0, 1, 1], atol=1e-4)
    assert read_map(tmp_path / "out/entropy/a.png", 2)[0].tolist() == [0, 0, 1, 0, 0]


def test_the_consensus_draws_what_its_annotators_draw(index, tmp_path):
    new, labels = fused(index, tmp_path, "single", annotator="bert")
    assert new.annotator_classes == {"consensus": ("tumour",)}
    assert labels == [0, 0, X, 0, 0]  # where Bert says no tumour, so does it
    new, labels = fused(index, tmp_path / "2", "single", annotator="anna")
    assert new.annotator_classes == {} and labels == [0, 1, X, X, 2]


def test_a_data_set_that_ignores_nothing_gets_a_value_that_no_class_has(index, tmp_path):
    Image.fromarray(np.zeros((1, 5), np.uint8)).save(index.cases[0].annotations["anna"])
    only = {"anna": ("organ",), "bert": ("organ",)}
    bert = replace(index.cases[0], annotations={"bert": index.cases[0].annotations["anna"]})
    both = replace(index.cases[0], id="b", annotations={"anna": index.cases[0].annotations["anna"]})
    apart = index.model_copy(
        update={"ignore": (), "cases": (bert, both), "annotator_classes": {**only, "bert": ("tumour",)}}
    )
    new, labels = fused(apart, tmp_path)
    assert new.ignore == (254,) and labels == [X] * 5  # no tumour, perhaps an organ: 255 is the tumour
    assert new.annotator_classes == {}


def test_data_that_ignore_nothing_get_no_such_value(index, tmp_path):
    for path in index.cases[0].annotations.values():
        Image.fromarray(np.zeros((1, 5), np.uint8)).save(path)
    new, labels = fused(index.model_copy(update={"ignore": ()}), tmp_path)
    assert new.ignore == () and labels == [0] * 5
