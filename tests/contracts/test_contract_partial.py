"""Every method, where annotations say nothing of some voxels, or annotators draw some classes only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_data.arrays import make_batch, make_method, make_task, tiny_config, with_target
from umanet.fusion import FUSIONS
from umanet.methods import METHODS, GradesAnnotations
from umanet.types import IGNORE

SHAPES = {2: (10, 12), 3: (6, 8, 6)}
FROM_ANNOTATIONS = [name for name in METHODS if name != "truth"]
DRAWN = ((1, 2), (1, 2), (2,))

methods = pytest.mark.parametrize("name", FROM_ANNOTATIONS)
dimensions = pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])


def losses(method, batch, progress=1.0):
    torch.manual_seed(1)  # of the noise that some methods draw
    return method.loss(with_target(method, batch), progress)


def partial_task(dims, drawn=DRAWN):
    return replace(make_task(dims, classes=3, annotators=len(drawn)), drawn=drawn)


def with_silence(batch, rate=0.3):
    silent = torch.rand(batch.annotations.shape, generator=torch.Generator().manual_seed(9)) < rate
    silent[:, :, :2] = True  # of which nobody says anything
    return replace(batch, annotations=batch.annotations.masked_fill(silent, IGNORE))


@methods
@dimensions
@pytest.mark.parametrize("drawn", [(), DRAWN], ids=["all draw all", "one draws some"])
def test_losses_and_gradients_are_finite(name, dims, drawn):
    task = partial_task(dims) if drawn else make_task(dims, classes=3)
    method, batch = make_method(task, tiny_config(name)), with_silence(make_batch(task, SHAPES[dims]))
    for progress in (0.0, 0.2, 1.0):
        terms = losses(method, batch, progress)
        torch.stack(list(terms.values())).sum().backward()
        assert all(term.isfinite() for term in terms.values())
    assert all(value.grad is None or value.grad.isfinite().all() for value in method.parameters())
    if isinstance(method, GradesAnnotations):
        grades = method.grade(batch)
        ignored = batch.annotations == IGNORE
        assert not grades.uncertainty[ignored].any() and grades.quality.isfinite().all()
        assert torch.allclose(grades.consensus.sum(1), torch.ones(2, *SHAPES[dims]), atol=1e-4)


@methods
@dimensions
def test_what_nobody_says_anything_of_teaches_the_segmentation_nothing(name, dims):
    """The gradient of the loss at these voxels' logits is zero."""
    task = make_task(dims, classes=3)
    method, batch = make_method(task, tiny_config(name)), with_silence(make_batch(task, SHAPES[dims]))
    seen = []
    primary = method.members[0].primary if name == "ensemble" else method.primary
    primary.register_forward_hook(lambda module, given, out: (out.retain_grad(), seen.append(out))[0])
    terms = losses(method, batch, 0.0)
    terms["segmentation"].backward()
    silent = (batch.annotations == IGNORE).all(1)
    gradient = seen[0].grad.abs().flatten(1, -dims - 1).sum(1)
    assert not gradient[silent].any() and gradient[~silent].any()


@methods
@dimensions
def test_the_label_of_an_absent_annotator_may_be_ignore(name, dims):
    task = partial_task(dims)
    batch = make_batch(task, SHAPES[dims])
    batch.present[:, 1] = False
    silent = batch.annotations.clone()
    silent[:, 1] = IGNORE
    first, second = (make_method(task, tiny_config(name)) for _ in range(2))
    found, expected = losses(first, replace(batch, annotations=silent)), losses(second, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["uma-net", "majority", "staple", "mean", "union", "intersection"])
@dimensions
@pytest.mark.parametrize("drawn", [((1, 2), (2,)), ((1,), (2,))], ids=["a full annotator", "each draws one"])
def test_who_does_not_draw_a_class_does_not_teach_against_it(name, dims, drawn):
    """Annotator 0 says class 1 in one half, annotator 1 does not draw it and says 0: the loss is that of class 1."""
    task = partial_task(dims, drawn)
    batch = make_batch(task, SHAPES[dims])
    batch.annotations[:] = 0
    batch.annotations[:, 0, 4:] = 1
    targets = {}
    for who in (task, replace(task, drawn=())):
        method = make_method(who, tiny_config(name))
        seen: list[torch.Tensor] = []

        def keep(module, given, out, seen=seen):
            out.retain_grad()
            seen.append(out)

        method.primary.register_forward_hook(keep)
        losses(method, batch, 0.0)["segmentation"].backward()
        targets[who.drawn] = seen[0].grad[:, 1, 4:]
    assert (targets[drawn] < 0).all()  # less loss with more of class 1
    assert not (targets[()] < 0).all() or name in ("union", "staple", "mean")


@methods
def test_data_without_silence_give_the_same_bits_with_everybodys_classes_named(name):
    task = make_task(classes=3)
    named, batch = replace(task, drawn=((1, 2),) * 3), make_batch(task, SHAPES[2])
    first, second = (make_method(t, tiny_config(name)) for t in (task, named))
    torch.testing.assert_close(losses(second, batch), losses(first, batch), rtol=0, atol=0)


SAID = np.array([[1, 0, 0, 255, 255, 1, 0], [1, 0, 1, 255, 2, 2, 0], [0, 0, 0, 255, 0, 0, 2]], np.uint8)
"""The last one draws class 2 only."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("majority", [1, 0, 0, None, 0, 1, 0]),
        ("union", [1, 0, 1, None, 2, 1, 2]),
        ("intersection", [1, 0, 0, None, 0, 0, 0]),
        ("staple", [1, 0, None, None, None, None, None]),
    ],
)
def test_fusions_count_votes_for_sets_by_hand(name, expected):
    fused, _ = FUSIONS[name](SAID, np.ones(3, bool), 3, drawn=DRAWN)
    for voxel, label in enumerate(expected):
        if label is not None:
            assert fused[:, voxel].argmax() == label
    assert not fused[:, 3].any()


def test_the_mean_is_over_who_speaks_and_spreads_rest_votes():
    fused, _ = FUSIONS["mean"](SAID, np.ones(3, bool), 3, drawn=DRAWN)
    expected = [
        [0, 1, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0.5, 0, 0.5], [0, 2 / 3, 1 / 3], [2 / 3, 0, 1 / 3],
    ]  # fmt: skip
    np.testing.assert_allclose(fused.T, expected, atol=1e-6)


def test_the_annotation_of_one_is_their_own():
    fused, _ = FUSIONS["single"](SAID, np.ones(3, bool), 3, annotator=2, drawn=DRAWN)
    assert fused.argmax(0).tolist() == [0, 0, 0, 0, 0, 0, 2] and not fused[:, 3].any()
