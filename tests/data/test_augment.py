"""Image, annotations and target go through every change together, and stay what they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.striped import one_hot, striped_sample
from umanet.config import AugmentOptions, DataOptions
from umanet.data.augment import augmented
from umanet.data.change import Change, draw_change
from umanet.data.patches import cut, stack
from umanet.data.prepared_case import prepare_case

STRONG = AugmentOptions(probability=1, rotate=40, scale=0.3, shift=0.2, flip=(0, 1), intensity=0.5, noise=0.2)
MOVES = STRONG.model_copy(update={"intensity": 0.0, "noise": 0.0})
SHAPES = {2: (20, 30), 3: (12, 9, 10)}
both_dimensions = pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])


def patch_of(sample, change, target=True):
    case = prepare_case(sample, DataOptions(normalise="none"), 3)
    case = case.taught(one_hot(sample.truth)) if target else case
    return cut(case, tuple(sample.image.shape[1:]), 0.0, np.random.default_rng(0), change)


def changed(sample, options, seed):
    change = draw_change(options, tuple(sample.image.shape[1:]), np.random.default_rng(seed))
    return augmented(stack([patch_of(sample, change)]))


@both_dimensions
@pytest.mark.parametrize("seed", range(4))
def test_image_annotations_and_target_move_together(dims, seed):
    sample = striped_sample(SHAPES[dims])
    found = changed(sample, MOVES, seed)
    assert not torch.equal(found.image[0], sample.image)
    inside = found.target[0].max(0).values > 0.99  # not blended between labels
    assert inside.float().mean() > 0.3
    assert torch.equal(found.target[0].argmax(0)[inside], found.annotations[0, 0][inside].long())
    torch.testing.assert_close(found.image[0, 0][inside], found.annotations[0, 0][inside].float(), atol=0.05, rtol=0)


@both_dimensions
@pytest.mark.parametrize("seed", range(4))
def test_labels_and_targets_stay_valid(dims, seed):
    found = changed(striped_sample(SHAPES[dims]), STRONG, seed)
    assert found.annotations.dtype == torch.uint8
    assert set(found.annotations.unique().tolist()) <= {0, 1, 2}
    assert not found.annotations[0, 2].any()
    torch.testing.assert_close(found.target.sum(1), torch.ones(1, *SHAPES[dims]), rtol=1e-4, atol=1e-4)
    assert found.target.min() >= 0
    assert found.image.isfinite().all()


def test_a_voxel_is_known_or_not_after_it_was_interpolated():
    sample = striped_sample((20, 30))
    target = one_hot(sample.truth)
    target[:, 5:15, 10:20] = 0
    case = prepare_case(sample, DataOptions(), 3).taught(target)
    change = draw_change(MOVES, (20, 30), np.random.default_rng(1))
    found = augmented(stack([cut(case, (20, 30), 0.0, np.random.default_rng(0), change)])).target.sum(1)
    known = found > 0.5
    assert 0 < known.float().mean() < 1
    torch.testing.assert_close(found, known.float())


@both_dimensions
def test_everything_switched_off_changes_nothing(dims):
    sample = striped_sample(SHAPES[dims])
    found = changed(sample, AugmentOptions(probability=0, intensity=0, noise=0), 0)
    assert torch.equal(found.image[0], sample.image)
    assert torch.equal(found.annotations[0], sample.annotations)
    assert torch.equal(found.target[0], one_hot(sample.truth))


@both_dimensions
@pytest.mark.parametrize("axis", [0, 1])
def test_a_flip_mirrors_that_axis(dims, axis):
    sample = striped_sample(SHAPES[dims])
    only_flips = AugmentOptions(probability=0, flip=(axis,))
    flips = [changed(sample, only_flips, seed) for seed in range(12)]
    mirrored = sample.annotations.flip(axis + 1)
    seen = {torch.equal(found.annotations[0], mirrored) for found in flips}
    assert seen == {True, False}
    for found in flips:
        if torch.equal(found.annotations[0], mirrored):
            torch.testing.assert_close(found.image[0], sample.image.flip(axis + 1), atol=1e-4, rtol=0)
        else:
            assert torch.equal(found.annotations[0], sample.annotations)


@both_dimensions
def test_a_shift_is_in_voxels_of_its_axis(dims):
    """The only way to be sure that torch's order of axes and its unit were met."""
    sample, axes = striped_sample(SHAPES[dims]), len(SHAPES[dims])
    for axis in range(axes):
        grid = np.eye(axes, axes + 1, dtype=np.float32)
        grid[axis, -1] = 2 * 3 / (SHAPES[dims][axis] - 1)  # three voxels
        found = augmented(stack([patch_of(sample, Change(grid))])).annotations[0]
        expected = sample.annotations.index_select(
            axis + 1, (torch.arange(SHAPES[dims][axis]) + 3).clamp_max(SHAPES[dims][axis] - 1)
        )
        assert torch.equal(found, expected)


def test_a_turn_keeps_angles_and_lengths_on_a_patch_that_is_not_square():
    options = AugmentOptions(probability=1, rotate=40, scale=0, shift=0)
    for patch in ((21, 61), (11, 31, 21)):
        half = (np.array(patch) - 1) / 2
        grid = draw_change(options, patch, np.random.default_rng(0)).grid
        turn = grid[:, :-1] * half[:, None] / half  # in voxels
        np.testing.assert_allclose(turn @ turn.T, np.eye(len(patch)), atol=1e-5)
        assert np.linalg.det(turn) > 0
        assert np.abs(turn - np.eye(len(patch))).max() > 0.05
        assert not grid[:, -1].any()


def test_draws_stay_within_the_options_and_fill_them():
    options = AugmentOptions(probability=0.5, rotate=10, scale=0.1, shift=0.06, intensity=0.2, noise=0.05)
    draws = [draw_change(options, (100, 50), np.random.default_rng(seed)) for seed in range(2000)]
    moved = [change.grid for change in draws if change.grid is not None]
    assert 0.45 < len(moved) / 2000 < 0.55
    half = np.array([49.5, 24.5])
    turns = np.array([grid[:, :-1] * half[:, None] / half for grid in moved])
    angles = np.rad2deg(np.arctan2(turns[:, 1, 0], turns[:, 0, 0]))
    scales = np.linalg.norm(turns, axis=1)
    for found, most in ((angles, 10), (scales - 1, 0.1), (np.array([c.gain - 1 for c in draws]), 0.2),
                        (np.array([c.offset for c in draws]), 0.2)):  # fmt: skip
        assert 0.95 * most < np.abs(found).max() <= most * 1.001
        assert abs(found.mean()) < 0.1 * most
    noise = np.array([change.noise for change in draws])
    assert 0.2 < (noise > 0).mean() < 0.3
    assert 0.045 < noise.max() <= 0.05


def test_intensities_are_changed_as_drawn():
    sample = striped_sample((30, 40))
    noisy = augmented(stack([patch_of(sample, Change(gain=1.5, offset=-2.0, noise=0.1, seed=3))])).image[0]
    rest = noisy - (sample.image * 1.5 - 2)
    assert 0.09 < rest.std() < 0.11
    assert torch.equal(noisy, augmented(stack([patch_of(sample, Change(None, 1.5, -2.0, 0.1, 3))])).image[0])
    assert not torch.equal(noisy, augmented(stack([patch_of(sample, Change(None, 1.5, -2.0, 0.1, 4))])).image[0])


@both_dimensions
def test_a_patch_is_changed_alike_in_any_batch(dims):
    samples = [striped_sample(SHAPES[dims], seed=seed) for seed in range(5)]
    changes = [draw_change(STRONG, SHAPES[dims], np.random.default_rng(seed)) for seed in range(4)] + [Change()]
    patches = [patch_of(sample, change) for sample, change in zip(samples, changes, strict=True)]
    together = augmented(stack(patches))
    for number, patch in enumerate(patches):
        alone = augmented(stack([patch]))
        assert torch.equal(together.annotations[number], alone.annotations[0])
        torch.testing.assert_close(together.image[number], alone.image[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.target[number], alone.target[0], atol=1e-5, rtol=0)


def test_nothing_is_mirrored_by_default():
    """Over many draws, the brighter half stays where it is."""
    image = torch.zeros(2, 16, 16)
    image[:, :, 8:] = 1.0
    sample = replace(striped_sample((16, 16)), image=image)
    for seed in range(20):
        found = changed(sample, AugmentOptions(), seed).image[0, 0]
        assert found[:, 8:].mean() > found[:, :8].mean()
