"""Chosen voxels in a row, and what is said of them, against loops."""

import itertools

import pytest
import torch

from umanet.models.annotated_voxels import AnnotatedVoxels
from umanet.models.region import disputed, highest_said, lowest_said, one_hot
from umanet.types import IGNORE, Batch

SHAPES = [(4, 5), (3, 4, 2)]


def drawn(shape, *, silence: bool, absence: bool):
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (3, 4, *shape), generator=rng, dtype=torch.uint8)
    labels[0, :, 0] = 1
    present = torch.ones(3, 4, dtype=torch.bool)
    if silence:
        labels[torch.rand(labels.shape, generator=rng) < 0.3] = IGNORE
        labels[1, :, -1] = IGNORE
    if absence:
        present[0, 2] = present[2, 0] = present[2, 3] = False
    return labels, present


def batch_of(labels, present):
    return Batch(torch.zeros(len(labels), 1, *labels.shape[2:]), labels, present)


def said_at(labels, present, b, at):
    """What is said of a voxel, by annotator."""
    own = {r: int(labels[(b, r, *at)]) for r in range(labels.shape[1]) if present[b, r]}
    return {r: label for r, label in own.items() if label != IGNORE}


@pytest.mark.parametrize("absence", [False, True])
@pytest.mark.parametrize("silence", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_voxels_keep_their_image_their_place_and_what_is_said(shape, silence, absence):
    labels, present = drawn(shape, silence=silence, absence=absence)
    chosen = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)) < 0.6
    chosen[1] = False  # an image without any
    row = AnnotatedVoxels.choose(chosen, batch_of(labels, present))
    where = [(b, at) for b in range(3) for at in itertools.product(*map(range, shape)) if chosen[(b, *at)]]
    maps = torch.randn(3, 2, *shape)
    values, shown = row.of_maps(maps), row.shown.expand(1, 4, len(where))
    for number, (b, at) in enumerate(where):
        assert int(row.image[number]) == b
        assert torch.equal(values[0, :, number], maps[(b, slice(None), *at)])
        said = said_at(labels, present, b, at)
        assert {r for r in range(4) if shown[0, r, number]} == set(said)
        assert all(int(row.labels[0, r, number]) == label for r, label in said.items())
        assert torch.equal(row.of_images(present)[0, :, number], present[b])
    copy = torch.zeros_like(maps)
    row.write(copy, values)
    assert torch.equal(copy, maps * chosen[:, None])
    some = row.some(torch.tensor([1, 4, 5]))
    assert torch.equal(some.of_maps(maps), values[..., [1, 4, 5]])


@pytest.mark.parametrize("absence", [False, True])
@pytest.mark.parametrize("silence", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_highest_and_lowest_label_are_of_those_who_speak(shape, silence, absence):
    labels, present = drawn(shape, silence=silence, absence=absence)
    batch = batch_of(labels, present)
    assert batch.silent == silence
    assert batch.complete != absence
    highest, lowest = highest_said(batch), lowest_said(batch)
    contrary = disputed(batch, highest, {}, 3)
    for b, at in itertools.product(range(3), itertools.product(*map(range, shape))):
        said = set(said_at(labels, present, b, at).values())
        assert int(highest[(b, *at)]) == max(said, default=0)
        assert int(lowest[(b, *at)]) == min(said, default=IGNORE)
        assert bool(contrary[(b, *at)]) == (len(said) > 1)


def test_gradients_reach_the_voxels_that_were_chosen_and_no_others():
    chosen = torch.tensor([[[True, False], [False, True]], [[False, False], [True, False]]])
    row = AnnotatedVoxels.choose(chosen, batch_of(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.ones(2, 1).bool()))
    maps = torch.randn(2, 3, 2, 2, requires_grad=True)
    row.of_maps(maps).sum().backward()
    assert torch.equal(maps.grad, chosen[:, None].expand(2, 3, 2, 2).float())


def test_labels_become_probabilities():
    labels = torch.tensor([[[0, 2], [1, 1]]], dtype=torch.uint8)
    assert torch.equal(one_hot(labels, 3), torch.nn.functional.one_hot(labels.long(), 3).movedim(-1, 1).float())
