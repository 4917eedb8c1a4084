"""Each loss against plain loops over its formula in docs/concepts/method.md."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from umanet.losses import heavy_tailed_loss, leave_one_out_agreement, segmentation_loss, uncertainty_loss

# Float32 sums in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def voxels(shape):
    return itertools.product(*(range(side) for side in shape))


@pytest.fixture(params=[(3, 4), (2, 3, 2)], ids=["2D", "3D"])
def shape(request):
    return request.param


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(7)


def random_probabilities(rng, *size):
    return torch.randn(*size, generator=rng).softmax(1)


def looped_agreement(w, labels, p, kappa):
    """c_r(k) for the k that annotation r says, sum by sum."""
    expected = torch.empty_like(w)
    images, annotators, *shape = w.shape
    for b, r in itertools.product(range(images), range(annotators)):
        for at in voxels(shape):
            own = int(labels[(b, r, *at)])
            above, below = kappa * float(p[(b, own, *at)]), kappa
            for s in range(annotators):
                if s != r:
                    weight = float(w[(b, s, *at)])
                    above += weight * (int(labels[(b, s, *at)]) == own)
                    below += weight
            expected[(b, r, *at)] = min(max(above / below if below else 0.5, 0.01), 0.99)
    return expected


@pytest.mark.parametrize("kappa", [0.0, 1.0, 3.0])
def test_the_agreement_is_that_of_the_others_and_the_network(shape, rng, kappa):
    w = torch.rand(2, 4, *shape, generator=rng)
    w[0, 1] = 0  # absent
    labels = torch.randint(3, (2, 4, *shape), generator=rng)
    p = random_probabilities(rng, 2, 3, *shape)
    torch.testing.assert_close(
        leave_one_out_agreement(w, labels, p, kappa), looped_agreement(w, labels, p, kappa), **CLOSE
    )


def test_an_annotation_does_not_vouch_for_itself(rng):
    w = torch.tensor([0.9, 0.4, 0.4]).view(1, 3, 1, 1)
    labels = torch.tensor([1, 0, 0]).view(1, 3, 1, 1)
    p = torch.tensor([0.7, 0.3]).view(1, 2, 1, 1)
    agreement = leave_one_out_agreement(w, labels, p, 1.0)
    assert agreement[0, 0, 0, 0] == pytest.approx(0.3 / 1.8)
    doubted = leave_one_out_agreement(w * torch.tensor([0.1, 1, 1]).view(1, 3, 1, 1), labels, p, 1.0)
    assert doubted[0, 0, 0, 0] == pytest.approx(float(agreement[0, 0, 0, 0]))


def test_nobody_else_to_ask_is_an_even_chance():
    alone = torch.tensor([0.8, 0.0]).view(1, 2, 1, 1)
    labels = torch.ones(1, 2, 1, 1, dtype=torch.long)
    p = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    assert leave_one_out_agreement(alone, labels, p, 0.0)[0, 0, 0, 0] == pytest.approx(0.5)


def test_the_agreement_is_never_sure():
    everybody = torch.ones(1, 5, 1, 1)
    p = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    same = leave_one_out_agreement(everybody, torch.zeros(1, 5, 1, 1, dtype=torch.long), p, 1.0)
    against = leave_one_out_agreement(everybody, torch.tensor([1, 0, 0, 0, 0]).view(1, 5, 1, 1), p, 1.0)
    assert same.max() == pytest.approx(0.99)
    assert against[0, 0, 0, 0] == pytest.approx(0.01)


def known(g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Uncertainty and reliability, without gradient."""
    return torch.nn.functional.softplus(g.detach()), torch.sigmoid(-g.detach())


@pytest.mark.parametrize("attenuation", [None, 0.3])
def test_the_uncertainty_loss_is_the_mean_over_the_region(shape, rng, attenuation):
    g = 2 * torch.randn(2, 3, *shape, generator=rng)
    c = torch.rand(2, 3, *shape, generator=rng).clamp(0.01, 0.99)
    inside = torch.rand(2, 3, *shape, generator=rng) < 0.5
    total = 0.0
    for at in voxels(g.shape):
        if inside[at]:
            u = math.log(1 + math.exp(float(g[at])))
            w, agreement = math.exp(-u), float(c[at])
            if attenuation is None:
                total -= agreement * math.log(w) + (1 - agreement) * math.log(1 - w)
            else:
                total += w * -math.log(agreement) + attenuation * u
    loss = uncertainty_loss(g, *known(g), c, inside.float(), attenuation)
    assert float(loss) == pytest.approx(total / int(inside.sum()), rel=1e-5)


def test_the_uncertainty_loss_ignores_what_is_outside(rng):
    g, c = torch.randn(1, 2, 4, 4, generator=rng), torch.full((1, 2, 4, 4), 0.6)
    inside = torch.zeros(1, 2, 4, 4)
    inside[..., :2] = 1
    before = uncertainty_loss(g, *known(g), c, inside)
    g[..., 2:] = 50.0
    assert uncertainty_loss(g, *known(g), c, inside) == before
    assert uncertainty_loss(g, *known(g), c, torch.zeros_like(inside)) == 0


def test_bce_teaches_the_probability_that_an_annotation_is_right():
    g = torch.zeros(1, 1, 1, 2, requires_grad=True)
    c = torch.tensor([0.25, 0.8]).view(1, 1, 1, 2)
    optimiser = torch.optim.SGD([g], lr=4.0)
    for _ in range(300):
        optimiser.zero_grad()
        uncertainty_loss(g, *known(g), c, torch.ones(1, 1, 1, 2)).backward()
        optimiser.step()
    torch.testing.assert_close(torch.sigmoid(-g.detach()), c, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_segmentation_loss_is_cross_entropy_plus_the_dice_semimetric(shape, rng, weighted):
    logits = torch.randn(2, 3, *shape, generator=rng)
    target = random_probabilities(rng, 2, 3, *shape)
    weight = torch.rand(2, *shape, generator=rng) if weighted else None
    p = logits.softmax(1)
    cross_entropy, difference, total, count = 0.0, [0.0] * 3, [0.0] * 3, 0
    for b, at in itertools.product(range(2), voxels(shape)):
        scale = 1.0 if weight is None else float(weight[(b, *at)])
        count += 1
        for k in range(3):
            here, wanted = float(p[(b, k, *at)]), float(target[(b, k, *at)])
            cross_entropy -= scale * wanted * math.log(here)
            difference[k] += scale * abs(here - wanted)
            total[k] += scale * (here + wanted)
    dice = sum(difference[k] / total[k] for k in (1, 2)) / 2
    assert float(segmentation_loss(logits, target, weight)) == pytest.approx(cross_entropy / count + dice, rel=1e-5)


def test_the_dice_term_is_zero_at_perfect_agreement_with_a_soft_target(rng):
    target = random_probabilities(rng, 2, 3, 5, 5)
    entropy = -(target * target.log()).sum(1).mean()
    torch.testing.assert_close(segmentation_loss(target.log(), target), entropy, **CLOSE)


def test_cross_entropy_with_the_consensus_is_the_weighted_sum_over_annotations(rng):
    """What the abstract calls the weighted segmentation loss: sum over r of v_r CE(logits, y_r), over sum of v_r."""
    logits, labels = torch.randn(1, 3, 4, 4, generator=rng), torch.randint(3, (4, 4, 4), generator=rng)
    v = torch.rand(4, 4, 4, generator=rng)
    onehot = functional.one_hot(labels, 3).movedim(-1, 1).float()
    consensus = ((v[:, None] * onehot).sum(0) / v.sum(0))[None]
    each = torch.stack([functional.cross_entropy(logits, one[None], reduction="none")[0] for one in labels])
    p = logits.softmax(1)
    dice = ((p - consensus).abs().sum((0, 2, 3)) / (p + consensus).sum((0, 2, 3)))[1:].mean()
    expected = ((v * each).sum(0) / v.sum(0)).mean() + dice
    torch.testing.assert_close(segmentation_loss(logits, consensus), expected, **CLOSE)


def test_images_that_are_not_used_change_nothing(rng):
    logits, target = torch.randn(3, 2, 4, 4, generator=rng), random_probabilities(rng, 3, 2, 4, 4)
    weight, use = torch.rand(3, 4, 4, generator=rng), torch.tensor([True, False, True])
    kept = segmentation_loss(logits[use], target[use], weight[use])
    assert segmentation_loss(logits, target, weight, use=use) == kept
    logits[1] = 100.0
    assert segmentation_loss(logits, target, weight, use=use) == kept


def test_no_image_to_use_is_a_loss_of_zero_that_can_be_differentiated(rng):
    logits = torch.randn(2, 2, 4, 4, generator=rng, requires_grad=True)
    loss = segmentation_loss(logits, torch.zeros(2, 2, 4, 4), use=torch.tensor([False, False]))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_heavy_tailed_loss_is_cross_entropy_and_logs_of_two_errors_of_each_image(rng):
    logits, target = torch.randn(2, 3, 4, 5, generator=rng), random_probabilities(rng, 2, 3, 4, 5)
    target[1, :2] += target[1, 2:]
    target[1, 2] = 0  # this image has no class 2
    image_weight, weight = torch.tensor([0.5, 2.0]), torch.rand(2, 4, 5, generator=rng)
    expected = 0.0
    for b in range(2):
        p, t, w = logits[b].softmax(0), target[b], weight[b] / weight[b].sum()
        of_class = [float((w * (p[k] - t[k]).abs()).sum() / (w * (p[k] + t[k])).sum()) for k in (1, 2)]
        dice = sum(of_class) / 2 if b == 0 else of_class[0]
        error = float((w * (p - t).square().sum(0)).sum())
        each = float(-(w * t * p.log()).sum()) + math.log(1 + error / 1e-4) / 2 + math.log(1 + dice / 0.02)
        expected += float(image_weight[b]) * each / 2
    assert float(heavy_tailed_loss(logits, target, image_weight, weight)) == pytest.approx(expected, rel=1e-4)
    sure = functional.one_hot(target.argmax(1), 3).movedim(-1, 1).float()
    assert float(heavy_tailed_loss(100 * sure, sure)) == pytest.approx(0, abs=1e-5)
    background = functional.one_hot(torch.zeros(1, 4, 5, dtype=torch.long), 3).movedim(-1, 1).float()
    assert float(heavy_tailed_loss(100 * background, background)) == pytest.approx(0, abs=1e-5)


def test_a_target_with_gross_errors_pulls_little_harder_than_a_good_one():
    """Sixteen times as many voxels off: by cross-entropy and Dice it takes four times the gradient, here twice."""
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, :1, :2], labels[1, :4] = 1, 1  # two voxels off, and half of the image
    target = functional.one_hot(labels, 2).movedim(-1, 1).float()
    pull = {}
    for name, loss in (("heavy-tailed", heavy_tailed_loss), ("ce-dice", segmentation_loss)):
        logits = torch.stack([torch.full((2, 8, 8), 2.0), torch.full((2, 8, 8), -2.0)], 1).requires_grad_()
        loss(logits, target).backward()
        assert logits.grad is not None
        pull[name] = (logits.grad * (target[:, 1:] > 0)).flatten(1).norm(dim=1)
    assert pull["heavy-tailed"][1] < 2 * pull["heavy-tailed"][0]
    assert pull["ce-dice"][1] > 3.9 * pull["ce-dice"][0]


def test_the_heavy_tailed_loss_passes_over_unknown_voxels_and_images_without_weight(rng):
    logits, target = torch.randn(3, 2, 4, 4, generator=rng), random_probabilities(rng, 3, 2, 4, 4)
    target[0, :, 2:] = 0
    image_weight = torch.tensor([1.0, 0.0, 0.5])
    before = heavy_tailed_loss(logits, target, image_weight)
    logits[0, :, 2:], logits[1] = 50.0, 50.0
    assert heavy_tailed_loss(logits, target, image_weight) == before
    nobody = heavy_tailed_loss(logits.requires_grad_(), target, torch.zeros(3))
    nobody.backward()
    assert nobody == 0
    assert logits.grad is not None
    assert not logits.grad.any()
