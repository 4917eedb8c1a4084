"""What the losses of the peers are, by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_t
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

from fake_data.arrays import make_batch, make_method, make_task, tiny_config, with_target
from umanet.losses import annotation_loss, for_all, segmentation_loss
from umanet.methods.co_teaching import _easy

SHAPE = (4, 5)
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def method_and_batch(name, *, annotators=3, images=3, **options):
    task = make_task(classes=2, annotators=annotators)
    config = tiny_config(name).model_copy(update=options)
    method = make_method(task, config)
    return method, with_target(method, make_batch(task, SHAPE, images=images))


def logits_of(method, batch):
    with torch.no_grad():
        return method.primary(method.backbone(batch.image)).float()


class Always(nn.Module):
    """A network that says the same, whatever it sees."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, *_):
        return self.said


@pytest.mark.parametrize("matrices", ["voxel", "global"])
def test_confusion_matrices_start_near_the_identity_and_their_trace_is_made_small(matrices):
    config = tiny_config("confusion-matrix").confusion_matrix.model_copy(update={"matrices": matrices})
    method, batch = method_and_batch("confusion-matrix", confusion_matrix=config)
    right = math.exp(4) / (math.exp(4) + 1)
    trace = method.loss(batch, 1.0)["trace"]
    assert float(trace.detach()) == pytest.approx(config.trace * 2 * right, rel=1e-5)
    trace.backward()
    towards_less = -torch.diagonal(method.matrices.bias.grad, dim1=1, dim2=2)
    assert (towards_less < 0).all()
    with torch.no_grad():
        found = method.predict(batch.image)
        p = logits_of(method, batch).softmax(1)
    expected = right * p + (1 - right) * p.flip(1)
    torch.testing.assert_close(found.annotator_probabilities, expected[:, None].expand(-1, 3, -1, -1, -1), **CLOSE)


def test_a_confusion_matrix_has_what_is_said_first_and_what_is_true_second():
    config = tiny_config("confusion-matrix").confusion_matrix.model_copy(update={"matrices": "global"})
    method, batch = method_and_batch("confusion-matrix", confusion_matrix=config)
    with torch.no_grad():
        method.matrices.bias[0] = torch.tensor([[50.0, 50.0], [0.0, 0.0]])  # says background whatever is true
        assert (method.predict(batch.image).annotator_probabilities[:, 0, 0] > 0.999).all()


@pytest.mark.parametrize("trust", [0, 1])
def test_truncated_gce_is_gce_where_trusted_and_its_value_at_a_uniform_prediction_where_not(trust):
    method, batch = method_and_batch("truncated-gce")
    nn.init.constant_(method.trust.layer.bias, 50.0 if trust else -50.0)
    q = method.q
    p = logits_of(method, batch).softmax(1).gather(1, batch.annotations.long())
    expected = ((1 - p**q) / q)[batch.present].mean() if trust else torch.tensor((1 - 2**-q) / q)
    torch.testing.assert_close(method.loss(batch, 1.0)["segmentation"].detach(), expected, **CLOSE)


def test_t_loss_is_the_negative_log_density_of_students_t():
    method, batch = method_and_batch("t-loss", images=1)
    errors = (batch.target - logits_of(method, batch).softmax(1)).flatten().numpy()
    nu = float(method.tails().detach())
    density = multivariate_t(np.zeros(len(errors)), np.eye(len(errors)), df=nu)
    expected = -density.logpdf(errors) / len(errors)
    assert float(method.loss(batch, 1.0)["segmentation"].detach()) == pytest.approx(expected, rel=1e-4)


def test_stochastic_segmentation_without_covariance_is_cross_entropy_and_dice():
    method, batch = method_and_batch("stochastic-segmentation")
    nn.init.constant_(method.spread.diagonal.bias, -100.0)
    said = for_all(logits_of(method, batch).log_softmax(1), batch.annotations)
    expected = annotation_loss(said, batch.annotations, batch.present)
    torch.testing.assert_close(method.loss(batch, 1.0)["segmentation"].detach(), expected, rtol=0.02, atol=0)


def test_stochastic_segmentation_takes_the_mean_of_the_likelihoods_of_whole_annotations():
    """All voxels flip together: a draw explains the annotation, or nothing of it."""
    method, batch = method_and_batch("stochastic-segmentation", images=1, annotators=1)
    batch.annotations.fill_(1)
    rank, mean = method.options.rank, torch.zeros(1, 2, *SHAPE)
    factor = torch.zeros(1, rank, 2, *SHAPE)
    factor[:, 0, 1] = 1e6  # the sign of one normal number decides for all voxels
    method.primary, method.spread = Always(mean), Always((factor, torch.zeros_like(mean)))
    torch.manual_seed(0)
    found = float(method.loss(batch, 1.0)["segmentation"])
    torch.manual_seed(0)
    along = [(torch.randn(1, rank), torch.randn_like(mean))[0] for _ in range(method.options.draws)]
    explained = np.mean([float(one[0, 0]) > 0 for one in along])
    dice_of_an_even_guess = 0.5 / 1.5
    assert found == pytest.approx(dice_of_an_even_guess - math.log(explained) / math.prod(SHAPE), rel=1e-4)


@pytest.mark.parametrize("name", ["prob-unet", "persona"])
def test_the_divergence_is_that_of_posterior_and_prior_per_annotation_and_voxel(name):
    method, batch = method_and_batch(name)
    images, annotators = batch.present.shape
    size = method.options.dimensions
    method.prior = Always(Normal(torch.zeros(images, size), torch.ones(images, size)))
    shape = images * annotators, size
    method.posterior = Always(Normal(torch.ones(shape), torch.ones(shape)))
    expected = method.options.beta * size / 2 / math.prod(SHAPE)
    assert float(method.loss(batch, 1.0)["divergence"].detach()) == pytest.approx(expected, rel=1e-5)


def test_the_divergence_of_prob_unet_is_bounded_where_prior_and_posterior_are_as_narrow_and_wide_as_they_can_be():
    method, batch = method_and_batch("prob-unet")
    images, annotators = batch.present.shape
    size, largest = method.options.dimensions, math.exp(2)
    method.prior = Always(Normal(torch.zeros(images, size), torch.full((images, size), math.exp(-5))))
    shape = images * annotators, size
    method.posterior = Always(Normal(torch.zeros(shape), torch.full(shape, math.exp(5))))
    found = float(method.loss(batch, 1.0)["divergence"].detach()) * math.prod(SHAPE) / method.options.beta / size
    assert 100 < found < largest**4 / 2


def test_persona_bounds_samples_by_what_any_and_what_all_drew():
    method, batch = method_and_batch("persona", images=1)
    batch.present.fill_(True)
    said = functional.one_hot(batch.annotations.long(), 2).movedim(-1, 2).float()
    assert float(method._bound(said, said, batch)) == pytest.approx(0, abs=1e-5)
    narrow = said.prod(1, keepdim=True).expand_as(said)  # all samples alike
    assert float(method._bound(narrow, said, batch)) > 0.1


def test_persona_asks_of_who_does_not_draw_a_class_nothing_of_it():
    method, batch = method_and_batch("persona", images=1)
    batch.present.fill_(True)
    batch.annotations[:] = 1
    batch.annotations[:, 2] = 0
    said = functional.one_hot(batch.annotations.long(), 2).movedim(-1, 2).float()
    everywhere = torch.stack([torch.zeros(1, 1, *SHAPE), torch.ones(1, 1, *SHAPE)], 2)
    assert float(method._bound(everywhere, said, batch)) > 1  # the third drew nothing
    method.drawn = ((1,), (1,), ())
    assert float(method._bound(everywhere, said, batch)) == pytest.approx(0, abs=1e-5)


def test_pionono_predicts_its_gold_annotator_who_learns_the_majority_vote():
    method, batch = method_and_batch("pionono")
    with torch.no_grad():
        styles, features = method.styles(), method.backbone(batch.image)
        gold = method.primary(features, styles.loc[-1:].expand(len(batch.image), 1, -1)).softmax(2)[:, 0]
        found = method.predict(batch.image)
        torch.testing.assert_close(found.probabilities, gold, **CLOSE)
        assert found.annotator_probabilities.shape[1] == 3
        method.styles.log.fill_(-100.0)  # no chance in what is drawn
        terms = method.loss(batch, 1.0)
    torch.testing.assert_close(terms["gold"], segmentation_loss(gold.log(), batch.target), rtol=0.05, atol=0)
    with torch.no_grad():
        method.styles.mean.zero_()
        method.styles.log.zero_()
        assert float(method.loss(batch, 1.0)["divergence"]) == pytest.approx(0, abs=1e-7)


def test_co_teaching_leaves_out_the_images_with_the_largest_losses_and_the_right_share_in_the_mean():
    target = torch.zeros(4, 2, *SHAPE)
    target[:, 0] = 1
    logits = torch.zeros(4, 2, *SHAPE)
    logits[:, 1] = torch.tensor([0.0, 3.0, -2.0, 5.0]).view(4, 1, 1)
    assert _easy(logits, target, 0.5).tolist() == [True, False, True, False]
    assert _easy(logits, target, 0.0).all()
    torch.manual_seed(0)
    left_out = np.mean([float((~_easy(logits, target, 0.1)).sum()) / 4 for _ in range(400)])
    assert left_out == pytest.approx(0.1, abs=0.02)


def test_each_network_of_co_teaching_learns_what_the_other_finds_easy():
    options = tiny_config("co-teaching").co_teaching.model_copy(update={"forget": 0.5})
    method, batch = method_and_batch("co-teaching", images=4, co_teaching=options)
    with torch.no_grad():
        mine, others = logits_of(method, batch), method.other(batch.image).float()
        found = method.loss(batch, 1.0)
    expected = segmentation_loss(mine, batch.target, use=_easy(others, batch.target, 0.5))
    torch.testing.assert_close(found["segmentation"], expected, **CLOSE)
    expected = segmentation_loss(others, batch.target, use=_easy(mine, batch.target, 0.5))
    torch.testing.assert_close(found["other"], expected, **CLOSE)


def test_mr_net_learns_the_annotator_who_alone_is_believed():
    method, batch = method_and_batch("mr-net")
    batch.present.fill_(False)
    batch.present[:, 1] = True
    belief = functional.one_hot(torch.ones(3, dtype=torch.long), 3).float()
    with torch.no_grad():
        _, _, logits = method._forward(batch.image, belief)
        found = method.loss(batch, 1.0)["segmentation"]
    target = functional.one_hot(batch.annotations[:, 1].long(), 2).movedim(-1, 1).float()
    torch.testing.assert_close(found, segmentation_loss(logits, target), **CLOSE)


def test_padl_without_chance_learns_the_mean_and_each_annotator():
    method, batch = method_and_batch("padl")
    nn.init.constant_(method.preferences.log.bias, -100.0)
    with torch.no_grad():
        found = method.loss(batch, 1.0)
    logits = logits_of(method, batch)
    said = functional.one_hot(batch.annotations.long(), 2).movedim(-1, 2).float() * batch.present[..., None, None, None]
    mean = said.sum(1) / batch.present.sum(1)[:, None, None, None]
    torch.testing.assert_close(found["segmentation"], segmentation_loss(logits, mean), rtol=0.01, atol=0)
    own = for_all(logits.log_softmax(1), batch.annotations)  # preferences begin with none
    expected = annotation_loss(own, batch.annotations, batch.present)
    torch.testing.assert_close(found["annotators"], expected, rtol=0.01, atol=0)


def test_annotator_heads_learn_each_annotation_by_its_own_head():
    method, batch = method_and_batch("annotator-heads")
    with torch.no_grad():
        found = method.predict(batch.image)
        loss = method.loss(batch, 1.0)["segmentation"]
    said = found.annotator_probabilities.log()
    torch.testing.assert_close(loss, annotation_loss(said, batch.annotations, batch.present), **CLOSE)
    torch.testing.assert_close(found.probabilities, found.annotator_probabilities.mean(1), **CLOSE)
