"""Losses of the predictors and of the annotation uncertainty module."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from umanet.ranks import over_ranks, ranks
from umanet.types import IGNORE, as_index, rest_votes

# c_r is never sure: the network and the other annotators may all be wrong.
CONSENSUS_LIMITS = (0.01, 0.99)
# A target sums to 1, or to 0 where nothing is known.
HALF = 0.5
# Errors of an image below which it is learned well enough: half a border voxel in a thousand, two points of Dice.
SQUARES, DICE = 1e-4, 0.02


def segmentation_loss(
    logits: Float[Tensor, "B K *spatial"],
    target: Float[Tensor, "B K *spatial"],
    weight: Float[Tensor, "B *spatial"] | None = None,
    use: Bool[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy plus Dice semimetric over the images in ``use`` (all by default); zero where there are none.

    The Dice term is ``sum |p - t| / sum (p + t)`` over the batch, averaged over the foreground classes. Unlike
    ``1 - 2 p t / (p + t)`` it is zero at perfect agreement with a soft target. Voxels whose target is zero for all
    classes are unknown: they count in neither term, and means are over the others.

    Reference:
        Wang et al., "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels", MICCAI 2023,
        DOI 10.1007/978-3-031-43898-1_46.
    """
    if use is not None:
        logits, target = logits[use], target[use]
        weight = None if weight is None else weight[use]
    logits = logits.float()
    cross_entropy = functional.cross_entropy(logits, target, reduction="none")
    probabilities = logits.softmax(1)
    known = target.sum(1) > HALF
    if not known.all():
        weight = known.float() if weight is None else weight * known
    difference, total = (probabilities - target).abs(), probabilities + target
    if weight is not None:
        cross_entropy = cross_entropy * weight
        difference, total = difference * weight[:, None], total * weight[:, None]
    batch_and_space = [0, *range(2, logits.ndim)]
    difference, total = over_ranks(torch.stack([difference.sum(batch_and_space), total.sum(batch_and_space)]))
    said, number = over_ranks(torch.stack([cross_entropy.sum(), known.sum()]))
    return said / number.clamp_min(1) + (difference / total.clamp_min(1e-6))[1:].mean()


def heavy_tailed_loss(
    logits: Float[Tensor, "B K *spatial"],
    target: Float[Tensor, "B K *spatial"],
    image_weight: Float[Tensor, " B"] | None = None,
    weight: Float[Tensor, "B *spatial"] | None = None,
) -> Float[Tensor, ""]:
    """``c + log(1 + e / E) / 2 + log(1 + d / D)`` of each image; the weighted mean over images.

    ``c`` is the mean cross-entropy, ``e`` the mean squared error, ``d`` the Dice semimetric, averaged over the
    foreground classes that occur in the target (0 where none does). By the logarithms an image that is far from its
    target pulls little harder than one that is near (their gradient goes with ``1 / e`` and ``1 / d``), so that gross
    errors in a target teach little. Cross-entropy keeps small structures from being lost. Voxels whose target is zero
    for all classes are unknown. Zero where no image has a weight.

    Args:
        logits: Of classes.
        target: Class probabilities.
        image_weight: >= 0; images of weight 0 are not used. Default: 1 each.
        weight: Of voxels within their image, >= 0; a common factor changes nothing. Default: 1 each.

    Reference:
        After Gonzalez-Jimenez et al.: "Robust T-Loss for Medical Image Segmentation", MICCAI 2023, DOI
        10.1007/978-3-031-43898-1_68. Changed: few degrees of freedom with a fixed scale, where the paper learns both,
        and two terms more.
    """
    known = (target.sum(1) > HALF).float()
    log_probabilities = logits.float().log_softmax(1)
    # All else has the target as a factor. Whether anything is unknown is not asked: an accelerator is not waited for.
    probabilities = log_probabilities.exp() * known[:, None]
    difference = probabilities - target

    def totals(maps: Float[Tensor, "B K *spatial"]) -> Float[Tensor, "B K"]:
        return (maps if weight is None else maps * weight[:, None]).flatten(2).sum(2)

    said = totals(target)
    voxels = (known if weight is None else weight * known).flatten(1).sum(1).clamp_min(1e-6)
    cross_entropy = -totals(log_probabilities * target).sum(1) / voxels
    error = totals(difference.square()).sum(1) / voxels
    dice = totals(difference.abs()) / (totals(probabilities) + said).clamp_min(1e-6)
    occurs = (said > 0)[:, 1:]
    dice = (dice[:, 1:] * occurs).sum(1) / occurs.sum(1).clamp_min(1)
    each = cross_entropy + (error / SQUARES).log1p() / 2 + (dice / DICE).log1p()
    image_weight = torch.ones_like(each) if image_weight is None else image_weight
    total, number = over_ranks(torch.stack([(image_weight * each).sum(), (image_weight > 0).sum()]))
    return total / number.clamp_min(1)


def for_all(
    values: Float[Tensor, "B K *spatial"], annotations: Integer[Tensor, "B R *spatial"]
) -> Float[Tensor, "B R K *spatial"]:
    """The same for every annotator, without a copy."""
    return values[:, None].expand(-1, annotations.shape[1], *values.shape[1:])


def shown_where(
    annotations: Integer[Tensor, "B R *spatial"], present: Bool[Tensor, "B R"]
) -> Bool[Tensor, "B R *spatial"]:
    """Where annotations say something."""
    return (annotations != IGNORE) & present.view(*present.shape, *[1] * (annotations.ndim - 2))


def who_draws(drawn: tuple[tuple[int, ...], ...], annotators: int, classes: int) -> Bool[Tensor, "R K"]:
    """The classes that each annotator draws (``drawn``, as ``Task.drawn``), and the background."""
    if not drawn:
        return torch.ones(annotators, classes, dtype=torch.bool)
    return torch.tensor([[k == 0 or k in own for k in range(classes)] for own in drawn])


def log_probability_of(
    log_probabilities: Float[Tensor, "B R K *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    drawn: tuple[tuple[int, ...], ...] = (),
) -> Float[Tensor, "B R *spatial"]:
    """Log P of what each annotation says, by what its annotator is expected to say; anything where it is ``IGNORE``.

    Label 0 of an annotator who draws some classes (``drawn``, as ``Task.drawn``) is a set: its classes together.
    """
    labels = as_index(annotations)
    found = log_probabilities.gather(2, labels[:, :, None])[:, :, 0]
    for r, (where, possible) in rest_votes(annotations, drawn, log_probabilities.shape[2]).items():
        in_set = log_probabilities[:, r, possible].logsumexp(1)
        found = found.clone()
        found[:, r] = torch.where(where, in_set, found[:, r])
    return found


def annotation_loss(
    log_probabilities: Float[Tensor, "B R K *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    present: Bool[Tensor, "B R"],
    drawn: tuple[tuple[int, ...], ...] = (),
) -> Float[Tensor, ""]:
    """Cross-entropy plus Dice semimetric of every annotation against what its annotator is expected to say.

    As ``segmentation_loss``, but per annotator. Absent annotations and ``IGNORE`` count in neither term.
    """
    shown = shown_where(annotations, present)
    said = (log_probability_of(log_probabilities, annotations, drawn) * shown).sum()
    said, number = over_ranks(torch.stack([said, shown.sum()]))
    return -said / number.clamp_min(1) + annotation_dice(log_probabilities.exp(), annotations, present, drawn)


def annotation_dice(
    expected: Float[Tensor, "B R K *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    present: Bool[Tensor, "B R"],
    drawn: tuple[tuple[int, ...], ...] = (),
) -> Float[Tensor, ""]:
    """The Dice term: over the batch, averaged over foreground classes and those who draw them and occur in it."""
    shown = shown_where(annotations, present)[:, :, None]
    classes = torch.arange(expected.shape[2], device=annotations.device)
    said = ((annotations[:, :, None] == classes.view(-1, *[1] * (annotations.ndim - 2))) & shown).float()
    expected = expected * shown
    over_images_and_space = [0, *range(3, said.ndim)]
    difference, total = over_ranks(
        torch.stack([each.sum(over_images_and_space) for each in ((expected - said).abs(), expected + said)])
    )
    occurs = over_ranks(present.sum(0)) > 0
    counts = occurs[:, None] & (classes > 0) & who_draws(drawn, *said.shape[1:3]).to(present.device)
    return (difference / total.clamp_min(1e-6) * counts).sum() / counts.sum().clamp_min(1)


def weighted_consensus(
    labels: Integer[Tensor, "B R *spatial"],
    weights: Float[Tensor, "B R *spatial"],
    network: Float[Tensor, "B K *spatial"],
    probabilities: Float[Tensor, "B K *spatial"],
    drawn: tuple[tuple[int, ...], ...],
) -> Float[Tensor, "B K *spatial"]:
    """t_k = the network's vote and the sum of v_r over annotations that say k, over the sum of all votes.

    Labels are as ``as_index`` has them; weights must be zero where one says nothing. A rest vote is spread over its set
    as the definite votes there are; where these have none in it, in proportion to the probabilities, over the classes
    in most of the voxel's rest sets.
    """
    rest, labels = rest_votes(labels, drawn, network.shape[1]), labels.long()
    if not rest:
        votes = network.scatter_add(1, labels, weights)
        return votes / votes.sum(1, keepdim=True).clamp_min(1e-12)
    definite = weights.clone()
    for r, (where, _) in rest.items():
        definite[:, r].masked_fill_(where, 0)
    said = torch.zeros_like(network).scatter_add(1, labels, definite)
    left = {r: (weights[:, r] * where)[:, None] for r, (where, _) in rest.items()}
    sets = {r: possible.view(1, -1, *[1] * (network.ndim - 2)) for r, (_, possible) in rest.items()}
    number = torch.zeros_like(network)
    for r, weight in left.items():
        number += (weight > 0) * sets[r]
    votes = network + said
    for r, weight in left.items():
        inside = said * sets[r]
        total = inside.sum(1, keepdim=True)
        most = sets[r] & (number == (number * sets[r]).amax(1, keepdim=True))
        guess = probabilities.clamp_min(1e-6) * most
        share = torch.where(total > 0, inside / total.clamp_min(1e-12), guess / guess.sum(1, keepdim=True))
        votes += weight * share
    return votes / votes.sum(1, keepdim=True).clamp_min(1e-12)


def leave_one_out_agreement(
    reliability: Float[Tensor, "B R *spatial"],
    labels: Integer[Tensor, "B R *spatial"],
    probabilities: Float[Tensor, "B K *spatial"],
    kappa: float,
    drawn: tuple[tuple[int, ...], ...] = (),
) -> Float[Tensor, "B R *spatial"]:
    """``c_r(y_r)``: how far the other annotations and the network agree with annotation r, voxel by voxel.

    ``c_r(k) = (kappa p_k + sum over s != r of w_s [y_s = k]) / (kappa + sum over s != r of w_s)``, clipped to
    [0.01, 0.99]. Labels are as ``as_index`` has them; ``reliability`` must be zero where one says nothing. Without any
    other source it is 1/2. Label 0 of an annotator who draws some classes (``drawn``, as ``Task.drawn``) is a set:
    their vote is spread over it in proportion to ``p``, and ``c_r`` of it is the sum of ``c_r(k)`` over it.
    """
    rest, labels = rest_votes(labels, drawn, probabilities.shape[1]), labels.long()
    definite = reliability
    for r, (where, _) in rest.items():
        definite = definite.clone() if definite is reliability else definite
        definite[:, r].masked_fill_(where, 0)
    # In place from here on: this is a large part of what annotators cost.
    votes = (kappa * probabilities).scatter_add_(1, labels, definite)
    for r, (where, possible) in rest.items():
        share = probabilities * possible.view(1, -1, *[1] * where[0].ndim)
        votes += (reliability[:, r] * where)[:, None] * share / share.sum(1, keepdim=True).clamp_min(1e-12)
    agreeing = votes.gather(1, labels).sub_(reliability)
    for r, (where, possible) in rest.items():
        in_set = (votes * possible.view(1, -1, *[1] * where[0].ndim)).sum(1) - reliability[:, r]
        agreeing[:, r] = torch.where(where, in_set, agreeing[:, r])
    sources = (kappa + reliability.sum(1, keepdim=True)) - reliability
    if kappa < 1e-6:  # with votes of the network there is always a source
        agreeing = torch.where(sources > 1e-6, agreeing, 0.5 * sources.clamp_min_(1e-6))
    return agreeing.div_(sources).clamp_(*CONSENSUS_LIMITS)


def uncertainty_loss(
    wrong_logit: Float[Tensor, "B R *spatial"],
    uncertainty: Float[Tensor, "B R *spatial"],
    reliability: Float[Tensor, "B R *spatial"],
    agreement: Float[Tensor, "B R *spatial"],
    counted: Float[Tensor, "B R *spatial"],
    attenuation: float | None = None,
) -> Float[Tensor, ""]:
    """Teaches ``w = sigmoid(-g)`` the probability that an annotation is right, by binary cross-entropy.

    Args:
        wrong_logit: ``g``, the last layer of the annotation uncertainty module.
        uncertainty: ``u = softplus(g)``, without gradient.
        reliability: ``w``, without gradient; anything where nothing is counted.
        agreement: ``c_r(y_r)``, without gradient.
        counted: 1 in the region of interest, where a present annotation says something; else 0.
        attenuation: If given, the attenuated form ``w * CE(c_r, y_r) + attenuation * u`` instead.
    """
    if attenuation is None:
        loss = _BinaryCrossEntropy.apply(wrong_logit, uncertainty, reliability, agreement, counted)
        assert isinstance(loss, Tensor)
        return loss
    each = torch.sigmoid(-wrong_logit) * -agreement.log() + attenuation * functional.softplus(wrong_logit)
    total, number = over_ranks(torch.stack([(each * counted).sum(), counted.sum()]))
    return total / number.clamp_min(1)


class _BinaryCrossEntropy(torch.autograd.Function):
    """Mean of ``u - (1 - c) g`` over what is counted. All that is kept is its gradient, ``(c - w) / n``."""

    @staticmethod
    def forward(
        ctx: Any, wrong_logit: Tensor, uncertainty: Tensor, reliability: Tensor, agreement: Tensor, counted: Tensor
    ) -> Tensor:
        each = torch.addcmul(uncertainty, wrong_logit, agreement - 1)
        total, number = over_ranks(torch.stack([each.mul_(counted).sum(), counted.sum()]))
        scale = ranks() / number.clamp_min(1)  # as over_ranks has it
        ctx.save_for_backward((agreement - reliability).mul_(counted).mul_(scale))
        return total / number.clamp_min(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.saved_tensors[0] * gradients[0], None, None, None, None
