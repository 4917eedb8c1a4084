"""Who is how reliable, and what that weighs in the consensus (docs/concepts/method.md)."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from fake_data.arrays import make_batch, make_task
from fake_data.uma_net import (
    CLOSE,
    SHAPE,
    factors,
    know,
    looped_consensus,
    make_uma_net,
    nobody,
    present_annotators,
    reliability_maps,
    sparse_batch,
)
from umanet.losses import heavy_tailed_loss
from umanet.types import Batch


def test_anonymous_annotators_are_not_weighted():
    task = make_task(classes=3, identified=False)
    method, batch = make_uma_net(task), sparse_batch(task)
    know(method, [0.9, 0.5, 0.1])
    grades = method.grade(batch)
    expected = looped_consensus(batch, reliability_maps(method, batch), batch.present, 0.5 * grades.probabilities)
    torch.testing.assert_close(grades.consensus, expected, **CLOSE)
    assert method.annotator_reliability() is None
    assert make_uma_net(reliability=False).annotator_reliability() is None


def test_one_good_annotator_outvotes_three_poor_ones():
    """Right in 88 % of the disputed voxels against three that are right in 60 %."""
    task = make_task(annotators=4)
    method, batch = make_uma_net(task, network_vote=0.0), make_batch(task, SHAPE, images=1)
    batch.annotations[:, 0], batch.annotations[:, 1:] = 1, 0
    know(method, [0.88, 0.6, 0.6, 0.6])
    with torch.no_grad():
        method.uncertainty.out.weight.zero_()  # the same w everywhere
    assert (method.grade(batch).consensus[0, 1] > 0.5).all()


def test_the_network_decides_where_only_unreliable_annotators_drew():
    method, batch = make_uma_net(), make_batch(make_task(classes=3), SHAPE, images=2)
    know(method, [0.95, 0.52, 0.52])
    batch.present[0] = torch.tensor([True, False, False])
    batch.present[1] = torch.tensor([False, True, False])
    batch.annotations[:] = 1
    with torch.no_grad():
        method.primary.layers[-1].bias[2] = 50.0
    found = method.grade(batch).consensus.argmax(1)
    assert (found[0] == 1).all()
    assert (found[1] == 2).all()


def test_images_without_a_reliable_annotator_teach_little():
    """Both images are annotated by one annotator each, and their errors are alike; only who drew them differs."""
    method, batch = make_uma_net(), make_batch(make_task(classes=3), SHAPE, images=2)
    for field in (batch.image, batch.annotations):
        field[1] = field[0]
    batch.annotations[:, 2] = batch.annotations[:, 0]
    know(method, [0.9, 0.5, 0.55])
    terms = []
    for shown in ([0, 2], [2, 0], [2, 2]):
        batch.present.zero_()
        batch.present[[0, 1], shown] = True
        terms.append(float(method.loss(batch, 1.0)["segmentation"].detach()))
    assert terms[0] == pytest.approx(terms[1], rel=1e-4)
    assert terms[2] < 0.6 * terms[0]


def test_sharpness_decides_how_far_the_most_reliable_annotator_is_followed():
    """One annotator right in 80 %, four in 62 %, who say the opposite: outvoted at 1, but not at 2."""
    task = make_task(annotators=5)
    batch = make_batch(task, SHAPE, images=1)
    batch.annotations[:, 0], batch.annotations[:, 1:] = 1, 0
    loss = {}
    for sharpness, follows in ((1.0, 0), (2.0, 1)):
        method = make_uma_net(task, sharpness=sharpness)
        know(method, [0.8, 0.62, 0.62, 0.62, 0.62])
        with torch.no_grad():
            method.uncertainty.out.weight.zero_()
            logits = method.primary(method.backbone(batch.image))
        target = functional.one_hot(torch.full((1, *SHAPE), follows), 2).movedim(-1, 1).float()
        loss[sharpness] = float(method.loss(batch, 1.0)["segmentation"].detach())
        assert loss[sharpness] == pytest.approx(float(heavy_tailed_loss(logits, target)), rel=1e-4)
    assert loss[1.0] != loss[2.0]


@pytest.mark.parametrize(("grade", "counted"), [("image", 1), ("none", 2)])
def test_low_images_say_nothing_about_who_is_usually_right(monkeypatch, grade, counted):
    """Where images are graded at all."""
    method, batch = make_uma_net(grade=grade), make_batch(make_task(classes=3), SHAPE, images=2)
    w = reliability_maps(method, batch)
    monkeypatch.setattr(method.image_quality, "is_low", lambda quality: torch.tensor([[False], [True]]))
    method.loss(batch, 0.2)
    alone = Batch(*(each[:counted] for each in (batch.image, batch.annotations, batch.present)))
    right, said = disputed_sums(w[:counted], alone)
    torch.testing.assert_close(method.right, right, **CLOSE)
    torch.testing.assert_close(method.said, said, **CLOSE)


def disputed_sums(w: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of w, and number of voxels, where annotations of an image differ, per annotator and class, by loops."""
    right, said = torch.zeros(2, w.shape[1], 3)
    for b, r, at in itertools.product(*map(range, w.shape[:2]), itertools.product(*map(range, SHAPE))):
        everybody = {int(batch.annotations[(b, s, *at)]) for s in present_annotators(batch, b)}
        if len(everybody) > 1 and batch.present[b, r]:
            right[r, batch.annotations[(b, r, *at)].long()] += w[(b, r, *at)]
            said[r, batch.annotations[(b, r, *at)].long()] += 1
    return right, said


def test_what_was_right_is_summed_over_the_disputed_voxels_and_fades():
    method = make_uma_net()
    right, said = torch.zeros(2, 3, 3)
    for seed in range(3):
        batch = sparse_batch(seed=seed)
        more = disputed_sums(reliability_maps(method, batch), batch)
        right, said = 0.97 * right + more[0], 0.97 * said + more[1]
        method.loss(batch, 1.0)
    torch.testing.assert_close(method.right, right, **CLOSE)
    torch.testing.assert_close(method.said, said, **CLOSE)


def test_who_is_in_no_dispute_keeps_what_is_known():
    method, batch = make_uma_net(), make_batch(make_task(classes=3), SHAPE, images=2)
    know(method, [0.9, 0.6, 0.3])
    batch.present[:, 1] = False
    method.loss(batch, 1.0)
    assert float(method.said[1, 0]) == 1000
    assert float(method.said[0].sum()) != 3000


def test_reliability_is_the_lowest_of_accuracy_precision_and_recall():
    method = make_uma_net()
    method.said.copy_(torch.tensor([[80.0, 10.0, 10.0], [10.0, 80.0, 10.0], [90.0, 10.0, 0.0]]))
    method.right.copy_(torch.tensor([[72.0, 2.0, 3.0], [10.0, 40.0, 9.0], [60.0, 10.0, 0.0]]))
    # The first: accuracy 0.77, precision (0.9 + 0.2 + 0.3) / 3. The second: accuracy 0.59, precision 0.8. The third:
    # accuracy 0.7, precision (2/3 + 1 + (0.3 + 0.9) / 2) / 3 = 0.76; it never said class 2, so recall is low.
    p = torch.tensor([142.0, 52.0, 12.0]) / 206
    missed = [float(p[k] * 30 / (1 - p[0])) for k in (1, 2)]
    recall = (1 + 10 / (10 + missed[0]) + 0) / 3
    found = method.annotator_reliability()
    torch.testing.assert_close(found, torch.tensor([1.4 / 3, 0.59, recall]), **CLOSE)


def test_reliability_is_of_the_classes_that_are_drawn():
    task = replace(make_task(classes=3), drawn=((1, 2), (1,), (1, 2)))
    method = make_uma_net(task)
    method.said.copy_(torch.tensor([[80.0, 60.0, 60.0], [80.0, 60.0, 0.0], [80.0, 60.0, 60.0]]))
    method.right.copy_(0.9 * method.said)
    first, second, _ = method.annotator_reliability().tolist()
    assert first == pytest.approx(0.9, abs=0.02) and second > 0.85
    same = method.with_annotators(task.annotators, ())
    assert float(same.annotator_reliability()[1]) < 0.7  # what is taken for background then is missed


@pytest.mark.parametrize("always", [0, 1])
def test_who_always_says_the_same_in_disputes_tells_nothing(always):
    """However often that is right: an empty annotation mostly is, where most of what is disputed is background."""
    method = make_uma_net(make_task())
    method.said.copy_(torch.tensor([[100.0, 100.0], [100.0, 0.0], [100.0, 0.0]]))
    method.right.copy_(torch.tensor([[80.0, 60.0], [95.0, 0.0], [80.0, 0.0]]))
    if always:
        method.said.copy_(method.said.flip(1))
        method.right.copy_(method.right.flip(1))
    found = method.annotator_reliability()
    torch.testing.assert_close(found[1:], torch.full((2,), 0.5), **CLOSE)
    assert found[0] > 0.6


def test_annotators_of_whom_nothing_is_known_count_as_the_mean_of_the_others():
    method, batch = make_uma_net(network_vote=0.0), make_batch(make_task(classes=3), SHAPE, images=2)
    know(method, [0.9, 0.6, 0.0])
    method.said[2] = 0
    reliability = method.annotator_reliability()
    assert reliability is not None and reliability.isnan().tolist() == [False, False, True]
    w = reliability_maps(method, batch)
    f = factors(torch.tensor([0.9, 0.6, 0.75]), batch)
    expected = looped_consensus(batch, w * f[..., None, None], batch.present, nobody(batch))
    torch.testing.assert_close(method.grade(batch).consensus, expected, **CLOSE)


def test_nothing_is_known_where_nothing_is_disputed():
    method, batch = make_uma_net(), sparse_batch()
    agreed = replace(batch, annotations=batch.annotations[:, :1].expand(-1, 3, -1, -1).contiguous())
    method.loss(agreed, 1.0)
    reliability = method.annotator_reliability()
    assert reliability is not None and reliability.isnan().all()
    assert "reliability_where_disputed" not in method.monitor()


def test_who_leaves_everything_out_is_not_reliable_for_being_mostly_right():
    """Most of what is disputed is background: an empty annotation is right there, and useless."""
    method, batch = make_uma_net(make_task()), make_batch(make_task(), SHAPE, images=1)
    method.said.fill_(100.0)
    method.right.copy_(100 * torch.tensor([[0.85, 0.75], [0.9, 0.2], [0.6, 0.6]]))
    batch.annotations[:, 0], batch.annotations[:, 1] = 1, 0
    batch.annotations[:, 2] = 0
    with torch.no_grad():
        method.uncertainty.out.weight.zero_()  # the same w everywhere
        method.primary.layers[-1].weight.zero_()
    assert (method.grade(batch).consensus[0].argmax(0) == 1).all()
