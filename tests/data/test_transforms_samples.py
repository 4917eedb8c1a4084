"""Images and labels on the working grid, and normalised."""

import pytest
import torch

from fake_data.striped import striped_sample
from umanet.config import DataOptions
from umanet.data.transforms import intensity_range, normalise, prepare, rescale

SHAPES = {2: (20, 30), 3: (12, 9, 10)}


def test_zscore_gives_every_channel_mean_zero_and_deviation_one():
    image = torch.rand(2, 30, 20) * torch.tensor([5.0, 0.01]).view(2, 1, 1) + 100
    found = normalise(image, "zscore")
    torch.testing.assert_close(found.mean((1, 2)), torch.zeros(2), atol=1e-2, rtol=0)
    torch.testing.assert_close(found.std((1, 2)), torch.ones(2), atol=1e-2, rtol=0)


def test_unit_brings_the_first_to_the_last_percentile_to_zero_and_one():
    image = torch.arange(1001.0).view(1, 7, 143)
    found = normalise(image, "unit")
    assert found.min() == 0
    assert found.max() == 1
    torch.testing.assert_close(found.view(-1)[[10, 500, 990]], torch.tensor([0.0, 0.5, 1.0]))


@pytest.mark.parametrize("how", ["zscore", "unit"])
def test_a_constant_channel_becomes_zero(how):
    assert not normalise(torch.full((1, 5, 5), 7.0), how).any()


def test_none_leaves_the_image_as_stored():
    image = torch.rand(1, 4, 4)
    assert torch.equal(normalise(image, "none"), image)


@pytest.mark.parametrize("how", ["zscore", "unit", "none"])
def test_a_part_is_rescaled_as_the_whole(how):
    image = torch.rand(2, 30, 20) * 50
    part = rescale(image[:, 3:9, 5:7], intensity_range(image, how), clip=how == "unit")
    assert torch.equal(part, normalise(image, how)[:, 3:9, 5:7])


@pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])
@pytest.mark.parametrize("longest", [7, 10_000])
def test_prepared_labels_are_valid_and_lie_on_the_grid_of_the_image(dims, longest):
    sample = striped_sample(SHAPES[dims])
    found = prepare(sample, DataOptions(longest_side=longest), num_classes=3)
    assert max(found.image.shape[1:]) == min(longest, max(SHAPES[dims]))
    assert found.annotations.shape[1:] == found.image.shape[1:] == found.truth.shape
    assert found.annotations.dtype == found.truth.dtype == torch.uint8
    assert set(found.annotations.unique().tolist()) <= {0, 1, 2}
    assert torch.equal(found.annotations[0], found.truth)
    assert found.geometry == sample.geometry


def test_prepare_goes_to_the_working_spacing():
    sample = striped_sample((20, 30), spacing=(1.0, 0.5))
    found = prepare(sample, DataOptions(spacing=(2.0, 1.5)), 3)
    assert found.image.shape[1:] == (10, 10)
