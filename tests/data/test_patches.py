"""Patches are cut from all parts of a case at one place, and stacked without loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.striped import one_hot, striped_sample
from umanet.config import DataOptions
from umanet.data.change import Change
from umanet.data.patches import cut, stack
from umanet.data.prepared_case import prepare_case
from umanet.types import Batch

AS_READ = DataOptions(normalise="none")
SHAPES = {2: (20, 30), 3: (12, 9, 10)}
both_dimensions = pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])
by_row_or_voxel = pytest.mark.parametrize("blur", [False, True], ids=["by row", "by voxel"])


def packed(sample, *, target=True, blur=False):
    case = prepare_case(sample, AS_READ, 3)
    if not target:
        return case
    known = one_hot(sample.truth)
    return case.taught(known * torch.linspace(0.9, 1, known[0].numel()).view(known[0].shape) if blur else known)


def cut_still(case, patch, foreground, rng):
    return cut(case, patch, foreground, rng, Change())


def unpacked(*patches):
    patches = stack(patches)
    return patches.batch(patches.image, patches.codes, patches.targets())


@both_dimensions
@by_row_or_voxel
def test_a_patch_is_cut_from_everything_at_the_same_place(dims, blur):
    case = packed(striped_sample(SHAPES[dims]), blur=blur)
    patch = tuple(side // 2 for side in SHAPES[dims])
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = unpacked(cut_still(case, patch, 0.5, rng))
        assert found.image.shape[2:] == patch
        assert torch.equal(found.image[0, 0], found.annotations[0, 0].float())
        assert torch.equal(found.target[0].argmax(0), found.annotations[0, 0].long())
        assert found.present.tolist() == [[True, True, False]]


@both_dimensions
@by_row_or_voxel
def test_a_smaller_image_is_padded_at_both_ends_as_background(dims, blur):
    sample = striped_sample(SHAPES[dims])
    case = packed(sample, blur=blur)
    patch = tuple(side + 5 for side in SHAPES[dims])
    whole, found = (
        unpacked(cut_still(case, SHAPES[dims], 0.0, np.random.default_rng(0))),
        unpacked(cut_still(case, patch, 0.5, np.random.default_rng(0))),
    )
    inside = (..., *(slice(2, 2 + side) for side in SHAPES[dims]))
    assert torch.equal(found.image[inside][0], sample.image)
    assert torch.equal(found.target[inside], whole.target)
    outside = torch.ones(patch, dtype=torch.bool)
    outside[inside] = False
    assert found.target[0][:, outside].unique(dim=1).flatten().tolist() == [1, 0, 0]
    assert not found.annotations[0][:, outside].any()
    assert not found.image[0][:, outside].any()


def test_what_nobody_knows_within_the_image_stays_so():
    sample = striped_sample((6, 7))
    target = one_hot(sample.truth)
    target[:, 2, 3] = 0
    found = unpacked(
        cut_still(prepare_case(sample, AS_READ, 3).taught(target), (10, 11), 0.0, np.random.default_rng(0))
    )
    assert (found.target[0].sum(0) == 0).nonzero().tolist() == [[4, 5]]


def test_one_side_may_be_shorter_and_another_longer():
    found = unpacked(cut_still(packed(striped_sample((20, 30))), (24, 24), 0.0, np.random.default_rng(1)))
    assert found.image.shape[2:] == (24, 24)
    assert torch.equal(found.target[0].argmax(0), found.annotations[0, 0].long())


def lonely_voxel(at=(31, 3)):
    sample = striped_sample((40, 40))
    annotations = torch.zeros_like(sample.annotations)
    annotations[(1, *at)] = 2
    return packed(replace(sample, annotations=annotations), target=False)


def test_patches_are_centred_on_foreground_as_often_as_asked():
    rng = np.random.default_rng(0)

    def seen(foreground, times):
        return [unpacked(cut_still(lonely_voxel(), (8, 8), foreground, rng)).annotations.any() for _ in range(times)]

    assert all(seen(1.0, 20))
    assert sum(seen(0.0, 100)) < 20
    assert 80 < sum(seen(0.5, 200)) < 130


def plain_cut(sample, patch, foreground, rng):
    """What is drawn, said plainly: a search of the padded sample at every draw."""
    ends = [end for side, have in zip(reversed(patch), reversed(sample.image.shape[1:]), strict=True)
            for end in (max(0, side - have) // 2, max(0, side - have) - max(0, side - have) // 2)]  # fmt: skip
    image = torch.nn.functional.pad(sample.image, ends)
    annotations = torch.nn.functional.pad(sample.annotations, ends)
    room = np.array(image.shape[1:]) - np.array(patch)
    start = rng.integers(0, room + 1)
    if rng.random() < foreground:
        centres = (annotations > 0).any(0).nonzero()
        if len(centres):
            start = np.clip(centres[rng.integers(len(centres))].numpy() - np.array(patch) // 2, 0, room)
    return image[(..., *(slice(at, at + side) for at, side in zip(start, patch, strict=True)))]


@pytest.mark.parametrize(
    ("shape", "patch"), [((20, 30), (8, 9)), ((20, 30), (25, 9)), ((12, 9, 10), (5, 12, 4)), ((12, 9, 10), (4, 5, 9))]
)
def test_a_patch_is_that_of_the_plain_form(shape, patch):
    empty = striped_sample(shape)
    empty = replace(empty, annotations=torch.zeros_like(empty.annotations))
    ours, plain = np.random.default_rng(3), np.random.default_rng(3)
    for number in range(40):
        sample = striped_sample(shape, seed=number) if number % 5 else empty
        sample = replace(sample, image=torch.rand(1, *shape))
        found = cut_still(packed(sample, target=False), patch, 0.7, ours)
        assert torch.equal(found.image, plain_cut(sample, patch, 0.7, plain))
    assert ours.random() == plain.random()


def test_patches_without_foreground_come_from_everywhere():
    image = torch.arange(6.0).view(1, 6, 1).expand(1, 6, 4).contiguous()
    case = packed(replace(striped_sample((6, 4)), image=image), target=False)
    rng = np.random.default_rng(0)
    assert {int(cut_still(case, (4, 4), 0.0, rng).image[0, 0, 0]) for _ in range(60)} == {0, 1, 2}


def test_patches_with_tables_of_any_length_and_kind_are_stacked_in_order():
    samples = [striped_sample((6, 5), classes=1 + number, seed=number) for number in range(3)]
    many = [torch.randint(0, 3, (9, 20, 18), generator=torch.Generator().manual_seed(4)).to(torch.uint8)]
    crowd = replace(
        striped_sample((20, 18)), annotations=many[0], present=torch.ones(9, dtype=torch.bool), truth=many[0][0]
    )
    wide = [replace(s, annotations=s.annotations[:1].repeat(9, 1, 1), present=crowd.present) for s in samples]
    for blurred in ({}, {1}, {0, 1, 2, 3}):
        cases = [packed(s, blur=n in blurred) for n, s in enumerate([*wide, crowd])]
        patches = [cut_still(case, (6, 5), 0.0, np.random.default_rng(0)) for case in cases]
        assert len({patch.codes.dtype for patch in patches}) == 2
        batch = unpacked(*patches)
        for number, patch in enumerate(patches):
            alone = unpacked(patch)
            for name in ("image", "annotations", "present", "target"):
                assert torch.equal(getattr(batch, name)[number], getattr(alone, name)[0]), name


def test_a_batch_has_no_target_where_the_method_makes_none():
    assert (
        unpacked(cut_still(packed(striped_sample((6, 5)), target=False), (6, 5), 0.0, np.random.default_rng(0))).target
        is None
    )


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("complete", [False, True])
def test_a_batch_knows_what_a_step_would_ask_for(silent, complete):
    sample = striped_sample((6, 5), silent=silent)
    sample = replace(sample, present=torch.tensor([True, True, complete]))
    batch = unpacked(cut_still(packed(sample, target=False), (6, 5), 0.0, np.random.default_rng(0)))
    assert {"silent", "complete"} <= vars(batch).keys()
    fresh = Batch(batch.image, batch.annotations, batch.present)
    assert (batch.silent, batch.complete) == (fresh.silent, fresh.complete) == (silent, complete)
