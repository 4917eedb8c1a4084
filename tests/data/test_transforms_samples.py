"""Image, annotations and target go through every transform together, and stay what they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from umanet.config import AugmentOptions, DataOptions
from umanet.data.transforms import Augmentation, collate, crop, normalise, prepare
from umanet.types import Geometry, Sample

STRONG = AugmentOptions(probability=1, rotate=40, scale=0.3, shift=0.2, flip=(0, 1), intensity=0.5, noise=0.2)
SHAPES = {2: (20, 30), 3: (12, 9, 10)}
both_dimensions = pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])


def make_sample(shape, classes=3, seed=0, spacing=None):
    """Every voxel's label is written into the image, so that they cannot part unseen."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(classes, *[max(side // 4, 1) for side in shape], generator=rng)
    smooth = torch.nn.functional.interpolate(coarse[None], shape, mode={2: "bilinear", 3: "trilinear"}[len(shape)])
    labels = smooth[0].argmax(0).to(torch.uint8)
    target = torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 0).float()
    return Sample(
        "case",
        torch.stack([labels.float(), -labels.float()]),
        torch.stack([labels, labels, torch.zeros_like(labels)]),
        torch.tensor([True, True, False]),
        Geometry(tuple(shape), spacing or (1.0,) * len(shape), spacing_is_known=spacing is not None),
        truth=labels,
        target=target,
    )


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


@both_dimensions
@pytest.mark.parametrize("longest", [7, 10_000])
def test_prepared_labels_are_valid_and_lie_on_the_grid_of_the_image(dims, longest):
    sample = replace(make_sample(SHAPES[dims]), target=None)  # made on the working grid
    found = prepare(sample, DataOptions(longest_side=longest), num_classes=3)
    assert max(found.image.shape[1:]) == min(longest, max(SHAPES[dims]))
    assert found.annotations.shape[1:] == found.image.shape[1:] == found.truth.shape
    assert found.annotations.dtype == found.truth.dtype == torch.uint8
    assert set(found.annotations.unique().tolist()) <= {0, 1, 2}
    assert torch.equal(found.annotations[0], found.truth)
    assert found.geometry == sample.geometry


def test_prepare_goes_to_the_working_spacing():
    sample = replace(make_sample((20, 30), spacing=(1.0, 0.5)), target=None)
    found = prepare(sample, DataOptions(spacing=(2.0, 1.5)), 3)
    assert found.image.shape[1:] == (10, 10)


@both_dimensions
def test_a_patch_is_cut_from_everything_at_the_same_place(dims):
    sample = make_sample(SHAPES[dims])
    patch = tuple(side // 2 for side in SHAPES[dims])
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = crop(sample, patch, 0.5, rng)
        assert found.image.shape[1:] == patch
        assert torch.equal(found.image[0], found.annotations[0].float())
        assert torch.equal(found.target.argmax(0), found.annotations[0].long())
        assert torch.equal(found.truth, found.annotations[0])


@both_dimensions
def test_a_smaller_image_is_padded_at_both_ends_as_background(dims):
    sample = make_sample(SHAPES[dims])
    before, patch = sample.target.clone(), tuple(side + 5 for side in SHAPES[dims])
    found = crop(sample, patch, 0.5, np.random.default_rng(0))
    assert found.image.shape[1:] == patch
    inside = (..., *(slice(2, 2 + side) for side in SHAPES[dims]))
    assert torch.equal(found.image[inside], sample.image)
    assert torch.equal(found.target[inside], before)
    assert torch.equal(sample.target, before)
    torch.testing.assert_close(found.target.sum(0), torch.ones(patch))
    outside = torch.ones(patch, dtype=torch.bool)
    outside[inside] = False
    assert (found.target[0][outside] == 1).all()
    assert not found.annotations[:, outside].any()


def test_one_side_may_be_shorter_and_another_longer():
    sample = make_sample((20, 30))
    found = crop(sample, (24, 24), 0.0, np.random.default_rng(1))
    assert found.image.shape[1:] == (24, 24)
    assert torch.equal(found.target.argmax(0), found.annotations[0].long())


def lonely_voxel(at=(31, 3)):
    sample = make_sample((40, 40))
    annotations = torch.zeros_like(sample.annotations)
    annotations[(1, *at)] = 2
    return replace(sample, annotations=annotations)


def test_patches_are_centred_on_foreground_as_often_as_asked():
    rng = np.random.default_rng(0)
    always = [crop(lonely_voxel(), (8, 8), 1.0, rng).annotations.any() for _ in range(20)]
    never = [crop(lonely_voxel(), (8, 8), 0.0, rng).annotations.any() for _ in range(100)]
    half = [crop(lonely_voxel(), (8, 8), 0.5, rng).annotations.any() for _ in range(200)]
    assert all(always)
    assert sum(never) < 20
    assert 80 < sum(half) < 130


def plain_crop(sample, patch, foreground, rng):
    """What crop draws, said plainly: a search of the padded sample at every draw."""
    padded = crop(sample, tuple(map(max, patch, sample.image.shape[1:])), 0.0, rng)
    room = np.array(padded.image.shape[1:]) - np.array(patch)
    start = rng.integers(0, room + 1)
    if rng.random() < foreground:
        centres = (padded.annotations > 0).any(0).nonzero()
        if len(centres):
            start = np.clip(centres[rng.integers(len(centres))].numpy() - np.array(patch) // 2, 0, room)
    return padded.image[(..., *(slice(at, at + side) for at, side in zip(start, patch, strict=True)))]


@pytest.mark.parametrize(
    ("shape", "patch"), [((20, 30), (8, 9)), ((20, 30), (25, 9)), ((12, 9, 10), (5, 12, 4)), ((12, 9, 10), (4, 5, 9))]
)
def test_a_patch_is_that_of_the_plain_form(shape, patch):
    empty = make_sample(shape)
    empty = replace(empty, annotations=torch.zeros_like(empty.annotations))
    ours, plain = np.random.default_rng(3), np.random.default_rng(3)
    for number in range(40):
        sample = make_sample(shape, seed=number) if number % 5 else empty
        sample = replace(sample, image=torch.rand(1, *shape))
        assert torch.equal(crop(sample, patch, 0.7, ours).image, plain_crop(sample, patch, 0.7, plain))
    assert ours.random() == plain.random()


def test_patches_without_foreground_come_from_everywhere():
    image = torch.arange(6.0).view(1, 6, 1).expand(1, 6, 4).contiguous()
    sample = replace(make_sample((6, 4)), image=image)
    rng = np.random.default_rng(0)
    starts = {int(crop(sample, (4, 4), 0.0, rng).image[0, 0, 0]) for _ in range(60)}
    assert starts == {0, 1, 2}


@both_dimensions
@pytest.mark.parametrize("seed", range(4))
def test_augmentation_moves_image_annotations_and_target_together(dims, seed):
    sample = make_sample(SHAPES[dims])
    only_moves = STRONG.model_copy(update={"intensity": 0.0, "noise": 0.0})
    found = Augmentation(only_moves, SHAPES[dims])(sample, np.random.default_rng(seed))
    assert not torch.equal(found.image, sample.image)
    inside = found.target.max(0).values > 0.99  # not blended between labels
    assert inside.float().mean() > 0.3
    assert torch.equal(found.target.argmax(0)[inside], found.annotations[0][inside].long())
    torch.testing.assert_close(found.image[0][inside], found.annotations[0][inside].float(), atol=0.05, rtol=0)


@both_dimensions
@pytest.mark.parametrize("seed", range(4))
def test_augmented_labels_and_targets_stay_valid(dims, seed):
    sample = make_sample(SHAPES[dims])
    found = Augmentation(STRONG, SHAPES[dims])(sample, np.random.default_rng(seed))
    assert found.annotations.dtype == torch.uint8
    assert set(found.annotations.unique().tolist()) <= {0, 1, 2}
    assert not found.annotations[2].any()
    torch.testing.assert_close(found.target.sum(0), torch.ones(SHAPES[dims]), rtol=1e-4, atol=1e-4)
    assert found.target.min() >= 0
    assert found.image.isfinite().all()
    assert type(found.image) is type(found.annotations) is type(found.target) is torch.Tensor


def test_everything_switched_off_changes_nothing():
    sample = make_sample((12, 12))
    off = AugmentOptions(probability=0, intensity=0, noise=0)
    found = Augmentation(off, (12, 12))(sample, np.random.default_rng(0))
    assert torch.equal(found.image, sample.image)
    assert torch.equal(found.annotations, sample.annotations)


def test_nothing_is_mirrored_by_default():
    """Over many draws, the brighter half stays where it is."""
    image = torch.zeros(2, 16, 16)
    image[:, :, 8:] = 1.0
    augmentation = Augmentation(AugmentOptions(), (16, 16))
    sample = replace(make_sample((16, 16)), image=image)
    for seed in range(20):
        found = augmentation(sample, np.random.default_rng(seed)).image[0]
        assert found[:, 8:].mean() > found[:, :8].mean()


def test_samples_are_stacked_in_order():
    samples = [make_sample((6, 5), seed=seed) for seed in range(3)]
    batch = collate(samples)
    for number, sample in enumerate(samples):
        assert torch.equal(batch.image[number], sample.image)
        assert torch.equal(batch.annotations[number], sample.annotations)
        assert torch.equal(batch.present[number], sample.present)
        assert torch.equal(batch.target[number], sample.target)


def test_a_batch_has_no_target_where_the_method_makes_none():
    assert collate([replace(make_sample((6, 5)), target=None)]).target is None
