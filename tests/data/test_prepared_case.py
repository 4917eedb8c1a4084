"""Packed cases say exactly what the sample says, in few bytes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.striped import one_hot, striped_sample
from umanet.config import DataOptions
from umanet.data.prepared_case import prepare_case
from umanet.data.transforms import prepare
from umanet.fusion import FUSIONS, fusion_options
from umanet.types import IGNORE, Geometry, Sample

SHAPES = {2: (20, 30), 3: (12, 9, 10)}


def crowd(annotators, shape=(40, 50), classes=4, seed=0):
    """Everybody draws what they like; some say nothing here and there, the last is absent."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (annotators, *shape), generator=rng).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=rng) < 0.05] = IGNORE
    present = torch.ones(annotators, dtype=torch.bool)
    labels[-1], present[-1] = 0, False
    image = torch.randn(1, *shape, generator=rng)
    return Sample("case", image, labels, present, Geometry(shape, (1.0,) * len(shape)))


def assert_exact(sample, options, classes):
    found, expected = prepare_case(sample, options, classes).whole(), prepare(sample, options, classes)
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.annotations, expected.annotations)
    assert torch.equal(found.present, expected.present)
    assert (found.truth is None) == (expected.truth is None)
    assert expected.truth is None or torch.equal(found.truth, expected.truth)
    assert (found.case, found.geometry) == (expected.case, expected.geometry)


@pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])
@pytest.mark.parametrize("normalise", ["zscore", "unit", "none"])
@pytest.mark.parametrize("longest", [0, 8], ids=["native", "shrunk"])
def test_unpacked_it_is_the_sample_on_the_working_grid(dims, normalise, longest):
    options = DataOptions(normalise=normalise, longest_side=longest)
    assert_exact(striped_sample(SHAPES[dims], silent=True), options, 3)


@pytest.mark.parametrize("annotators", [2, 3, 9, 14])
def test_however_many_annotate(annotators):
    assert_exact(crowd(annotators), DataOptions(), 4)


def test_there_may_be_nothing_but_background():
    sample = striped_sample((8, 9))
    bare = replace(sample, annotations=torch.zeros_like(sample.annotations), truth=None)
    assert_exact(bare, DataOptions(), 3)
    assert len(prepare_case(bare, DataOptions(), 3).drawn) == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 255], torch.uint8), ([-1024, 3071], torch.int16), ([0, 65535], torch.uint16),
        ([0, 0.5], torch.float32), ([-1, 40000], torch.float32),
    ],
)  # fmt: skip
def test_whole_numbers_take_the_smallest_type(values, kind):
    sample = striped_sample((4, 6))
    image = torch.tensor(values).float().repeat(12).view(1, 4, 6)
    packed = prepare_case(replace(sample, image=image), DataOptions(normalise="none"), 3)
    assert packed.image.dtype == kind
    assert torch.equal(packed.whole().image, image)


def test_annotators_who_agree_cost_nothing():
    sample = striped_sample((64, 64))
    crowded = replace(
        sample,
        annotations=sample.annotations[:1].repeat(20, 1, 1),
        present=torch.ones(20, dtype=torch.bool),
    )
    few, many = (prepare_case(each, DataOptions(), 3) for each in (sample, crowded))
    assert few.codes.dtype == many.codes.dtype == torch.uint8
    assert many.nbytes - few.nbytes < 200


def test_what_is_drawn_is_where_somebody_says_foreground():
    sample = crowd(3)
    expected = ((sample.annotations > 0) & (sample.annotations != IGNORE))[sample.present].any(0)
    assert np.array_equal(prepare_case(sample, DataOptions(), 4).drawn, np.flatnonzero(expected))


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_every_fusion_is_kept_as_a_table(name):
    sample = crowd(5)
    options = fusion_options(name, {"annotator": "2"} if name == "single" else {}, tuple("01234"))
    options |= {"seed": 0, "epoch": 0, "case": "case"} if name == "random" else {}
    target = FUSIONS[name](sample.annotations.numpy(), sample.present.numpy(), 4, **options)[0]
    packed = prepare_case(sample, DataOptions(), 4)
    table = packed.taught(torch.from_numpy(target)).target.numpy()
    assert table.shape == (len(packed.patterns), 4)
    assert np.array_equal(table.T[:, packed.codes.numpy()], target)
    assert table[-1].tolist() == [1, 0, 0, 0]


def test_a_target_that_sees_more_than_labels_is_kept_by_voxel():
    sample = striped_sample((20, 30))
    target = one_hot(sample.truth) * torch.rand(20, 30)
    taught = prepare_case(sample, DataOptions(), 3).taught(target)
    assert torch.equal(taught.target, target)
