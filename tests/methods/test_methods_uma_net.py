"""UMA-Net against plain loops over docs/concepts/method.md, and whether its parts live."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from fake_data.arrays import ball, make_batch, make_task
from fake_data.uma_net import (
    CLOSE,
    SHAPE,
    contrast,
    counts,
    factors,
    know,
    looped_consensus,
    make_uma_net,
    nobody,
    present_annotators,
    reliability_maps,
    sparse_batch,
)
from umanet.losses import heavy_tailed_loss, leave_one_out_agreement, segmentation_loss
from umanet.methods import UMANet
from umanet.metrics import auroc
from umanet.models import annotation_quality, region_of_interest
from umanet.models.region import highest_said
from umanet.soft_labels import as_interpolated
from umanet.types import IGNORE, Batch


def test_grades_hold_the_uncertainty_and_its_consensus():
    method, batch = make_uma_net(), sparse_batch()
    know(method, [0.99, 0.7, 0.2])
    w, shown = reliability_maps(method, batch), batch.present[..., None, None]
    with torch.no_grad():
        grades = method.grade(batch)
    v = w * factors(method._reliability(), batch)[..., None, None]
    torch.testing.assert_close(
        grades.consensus, looped_consensus(batch, v, batch.present, 0.5 * grades.probabilities), **CLOSE
    )
    says = torch.stack(
        [grades.consensus.gather(1, labels[:, None].long())[:, 0] for labels in batch.annotations.unbind(1)], 1
    )
    torch.testing.assert_close(grades.uncertainty, torch.where(shown, -says.log(), 0.0), **CLOSE)
    torch.testing.assert_close(grades.probabilities, method.predict(batch.image).probabilities)
    for b in range(len(batch.image)):
        mean = sum(float(grades.quality[b, r]) for r in present_annotators(batch, b)) / int(batch.present[b].sum())
        assert float(grades.image_quality[b]) == pytest.approx(mean, rel=1e-5)


def test_quality_is_the_dice_with_the_truth_that_the_consensus_lets_expect():
    """Mean over the classes that an annotator draws; who lacks a class is right if it is nowhere."""
    task = make_task(classes=3)
    method, batch = make_uma_net(replace(task, drawn=((1, 2), (2,), (1, 2)))), sparse_batch()
    batch.annotations[0, 0] = 0
    batch.annotations[2, 0, 0, 0] = IGNORE
    with torch.no_grad():
        grades = method.grade(batch)
        region = region_of_interest(highest_said(batch), grades.probabilities, method.options.margin)
    for b, r in itertools.product(range(3), range(3)):
        dice = []
        for k in (2,) if r == 1 else (1, 2):
            counted = region[b] & (batch.annotations[b, r] != IGNORE)
            t, y = grades.consensus[b, k][counted], batch.annotations[b, r][counted] == k
            dice.append(float(2 * t[y].sum() / (t.sum() + y.sum()) if y.any() else 1 - t.max()))
        expected = sum(dice) / len(dice) if batch.present[b, r] else math.nan
        assert float(grades.quality[b, r]) == pytest.approx(expected, rel=1e-4, nan_ok=True)


def learned(loss, logits, target, image_weight, weight):
    """The loss of images that all are used; ``image_weight`` is spread over their voxels."""
    if loss == "ce-dice":
        return segmentation_loss(logits, target, image_weight * weight)
    return heavy_tailed_loss(logits, target, image_weight.flatten(1)[:, 0], weight)


def interpolated(t: torch.Tensor) -> torch.Tensor:
    """Linear interpolation, the mean over shifts, along one axis after the other; at the border of what is there."""
    for axis in range(2, t.ndim):
        lines = t.unbind(axis)
        means = [torch.stack(lines[max(i - 1, 0) : i + 2]).mean(0) for i in range(len(lines))]
        t = 0.75 * t + 0.25 * torch.stack(means, axis)
    return t


@pytest.mark.parametrize("loss", ["heavy-tailed", "ce-dice"])
@pytest.mark.parametrize("weights", ["normalised", "total"])
@pytest.mark.parametrize("target", ["hard", "soft"])
@pytest.mark.parametrize("progress", [0.14, 0.16, 0.31])
def test_the_segmentation_loss_teaches_the_weighted_consensus(loss, weights, target, progress):
    method, batch = make_uma_net(loss=loss, weights=weights, target=target), sparse_batch()
    know(method, [0.95, 0.6, 0.3])
    w = reliability_maps(method, batch)
    with torch.no_grad():
        logits = method.primary(method.backbone(batch.image))
        found = method.loss(batch, progress)["segmentation"]
    shown = batch.present[..., None, None].float().expand_as(w)
    after_warm_up = progress >= 0.15
    f = factors(method._reliability(), batch) if after_warm_up else batch.present.float()
    v = w ** contrast(method._reliability()) * f[..., None, None] ** 2 if after_warm_up else shown
    t = looped_consensus(batch, v, batch.present, nobody(batch))
    t = functional.one_hot(t.argmax(1), 3).movedim(-1, 1).float() if target == "hard" else interpolated(t)
    image_weight = counts(f, batch.present)
    weight = (w * shown).sum(1) / shown.sum(1) if weights == "total" else torch.ones_like(image_weight)
    torch.testing.assert_close(found, learned(loss, logits, t, image_weight, weight), **CLOSE)


def graded(method: UMANet, batch: Batch, low: torch.Tensor, monkeypatch) -> dict[str, float]:
    """The loss terms where QAM calls ``low`` what it is told to."""
    shape_of = {"image": (len(low), 1), "annotation": low.shape}[method.options.grade]
    assessor = method.image_quality if method.options.grade == "image" else method.annotation_quality
    monkeypatch.setattr(assessor, "is_low", lambda quality: low.view(shape_of))
    with torch.no_grad():
        return {name: float(term) for name, term in method.loss(batch, 1.0).items()}


def expected_terms(method, batch, w, high, low):
    with torch.no_grad():
        features = method.backbone(batch.image)
        f = factors(method._reliability(), batch)
        v = w ** contrast(method._reliability()) * f[..., None, None] ** method.options.sharpness
        terms = []
        for predictor, teachers in ((method.primary, high), (method.auxiliary, low)):
            t = looped_consensus(batch, v, teachers, nobody(batch))
            hard = functional.one_hot(t.argmax(1), 3).movedim(-1, 1).float()
            use = teachers.any(1)
            image_weight = counts(f, teachers)[use]
            given = predictor(features)[use], hard[use], image_weight, torch.ones_like(image_weight)
            terms.append(float(learned("heavy-tailed", *given)))
    return terms[0], method.options.mu * terms[1]


def test_low_images_teach_the_auxiliary_predictor_only(monkeypatch):
    method, batch = make_uma_net(grade="image", mu=0.3), sparse_batch()
    w, low = reliability_maps(method, batch), torch.tensor([False, True, False])
    terms = graded(method, batch, low, monkeypatch)
    high = batch.present & ~low[:, None]
    expected = expected_terms(method, batch, w, high, batch.present & low[:, None])
    assert (terms["segmentation"], terms["auxiliary"]) == pytest.approx(expected, rel=1e-4)


def test_low_annotations_teach_the_auxiliary_predictor_only(monkeypatch):
    method, batch = make_uma_net(grade="annotation"), sparse_batch()
    low = torch.tensor([[True, True, False], [False, True, False], [False, False, True]])
    w = reliability_maps(method, batch)
    terms = graded(method, batch, low, monkeypatch)
    expected = expected_terms(method, batch, w, batch.present & ~low, batch.present & low)
    assert (terms["segmentation"], terms["auxiliary"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("identified", "hard"), [(True, True), (False, False)])
def test_targets_are_hard_and_the_loss_heavy_tailed_where_annotators_are_identified(identified, hard):
    method = make_uma_net(make_task(classes=3, identified=identified))
    assert (method.hard, method.heavy_tailed) == (hard, hard)
    soft = make_uma_net(make_task(classes=3, identified=identified), target="soft")
    assert (soft.hard, soft.heavy_tailed) == (False, False)
    assert make_uma_net(make_task(identified=identified), target="soft", loss="heavy-tailed").heavy_tailed


def test_annotators_who_are_alike_vote_alike_at_every_voxel():
    """However sure the module is of one of them there; where they are not alike, it counts."""
    method, batch = make_uma_net().eval(), sparse_batch()  # nothing is observed
    know(method, [0.7, 0.7, 0.7])
    assert float(method._power()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        logits = method.primary(method.backbone(batch.image))
        found = method.loss(batch, 1.0)["segmentation"]
    shown = batch.present[..., None, None].float().expand(batch.annotations.shape)
    t = looped_consensus(batch, shown, batch.present, nobody(batch))
    hard = functional.one_hot(t.argmax(1), 3).movedim(-1, 1).float()
    torch.testing.assert_close(found, heavy_tailed_loss(logits, hard), **CLOSE)
    assert float(make_uma_net(power=1.0)._power()) == 1
    know(method, [0.95, 0.5, 0.5])
    assert float(method._power()) > 0.9
    assert float(make_uma_net(make_task(annotators=1))._power()) == 1


def test_reliability_counts_as_far_as_it_decides_disputes_of_anonymous_annotators(monkeypatch):
    method, batch = make_uma_net(make_task(classes=3, identified=False)), sparse_batch()
    batch.annotations[:] = torch.tensor([1, 1, 2], dtype=torch.uint8)[:, None, None]
    wrong = torch.tensor([-2.0, -1.0, 3.0])[:, None, None].expand(batch.annotations.shape)
    monkeypatch.setattr(method.uncertainty, "around", lambda features, annotations, silent: wrong)
    monkeypatch.setattr(method.uncertainty, "against", lambda features, labels: 0.0)
    assert float(method._power()) == 0
    for _ in range(300):
        method.loss(batch, 0.0)
    w = torch.sigmoid(-wrong[0, :, 0, 0])
    # The first image lacks annotator 1, the second all but one: no dispute. Annotator 1 is nowhere the extreme.
    assert float(method._power()) == pytest.approx(float(w[0] - w[2]), rel=1e-3)
    batch.annotations[:] = 1
    method.loss(batch, 0.0)
    assert float(method._power()) == pytest.approx(float(w[0] - w[2]), rel=1e-3)
    assert float(make_uma_net(make_task(classes=3, identified=False), power=0.3)._power()) == 0.3


def test_doubt_is_no_fault_of_anonymous_annotators():
    """Who is right with even chances is not counted as partly wrong; who is probably wrong, is."""
    quality = {}
    for identified in (True, False):
        method, batch = make_uma_net(make_task(classes=3, identified=identified)), sparse_batch()
        for chances, wrong in (("even", 0.0), ("bad", 2.0)):
            w = torch.sigmoid(-torch.full(batch.annotations.shape, wrong))
            found = method._quality(w, batch.annotations, torch.ones_like(w), batch.present)
            quality[identified, chances] = float(found.nanmean())
    assert quality[False, "even"] == 1
    assert quality[True, "even"] < 0.8
    assert quality[True, "bad"] < quality[False, "bad"] < 0.5


def test_soft_targets_say_and_spread_nothing_where_nobody_speaks():
    t = torch.zeros(1, 2, 5, 6, 4)
    t[:, 0, :3], t[:, 1, 3:] = 1, 1
    t[:, :, 4] = 0
    smooth = as_interpolated(t)
    assert (smooth[:, :, 4] == 0).all()
    torch.testing.assert_close(smooth[:, :, :4].sum(1), torch.ones(1, 4, 6, 4), **CLOSE)
    torch.testing.assert_close(smooth[0, 1, :4, 0, 0], torch.tensor([0, 0, 1 / 12, 10 / 11]), **CLOSE)


def low_memory(method: UMANet) -> None:
    for assessor in (method.image_quality, method.annotation_quality):
        assessor.remembered.fill_(1.0)  # whatever comes now, is low


@pytest.mark.parametrize(("grade", "progress", "used"), [
    ("none", 1.0, False), ("image", 0.29, False), ("image", 0.3, True), ("annotation", 0.3, True),
])  # fmt: skip
def test_nothing_is_graded_before_the_warm_up_or_without_qam(grade, progress, used):
    method, batch = make_uma_net(grade=grade), sparse_batch()
    low_memory(method)
    terms = method.loss(batch, progress)
    assert (terms["auxiliary"] > 0) == used
    assert (terms["segmentation"] == 0) == used


@pytest.mark.parametrize("grade", ["image", "annotation"])
def test_the_uncertainty_module_learns_from_low_quality_as_well(grade):
    method, batch = make_uma_net(grade=grade), sparse_batch()
    ungraded = method.loss(batch, 0.2)["uncertainty"]
    low_memory(method)
    torch.testing.assert_close(method.loss(batch, 1.0)["uncertainty"], ungraded)


def test_qam_remembers_the_qualities_of_present_annotations():
    method, batch = make_uma_net(), sparse_batch()
    w, p = reliability_maps(method, batch), method.predict(batch.image).probabilities
    region = region_of_interest(highest_said(batch), p, method.options.margin)
    shown = batch.present[..., None, None]
    quality = annotation_quality(w * shown, batch.annotations, (region[:, None] & shown).float(), batch.present)
    method.loss(batch, 0.0)
    kept = method.annotation_quality.remembered
    torch.testing.assert_close(kept[~kept.isnan()], quality[~quality.isnan()], **CLOSE)
    assert int((~method.image_quality.remembered.isnan()).sum()) == 3


@pytest.mark.parametrize("kappa", [0.5, 1.0])
@pytest.mark.parametrize("uncertainty_loss", ["bce", "attenuated"])
def test_the_uncertainty_loss_is_taken_over_present_annotations_in_the_region(uncertainty_loss, kappa):
    method, batch = make_uma_net(uncertainty_loss=uncertainty_loss, kappa=kappa, attenuation=0.2), sparse_batch()
    batch.annotations.zero_()
    batch.annotations[:, 0, 2, 3] = 1  # absent in the second image: there the region is the whole image
    with torch.no_grad():
        method.primary.layers[-1].bias[0] = 50.0  # all background
        p = method.predict(batch.image).probabilities
    w = reliability_maps(method, batch)
    inside = batch.present[..., None, None].expand_as(w).clone()
    near = torch.zeros(SHAPE, dtype=torch.bool)
    near[1:4, 2:5] = True  # margin of one
    inside[[0, 2]] &= near
    agreement = leave_one_out_agreement(w * batch.present[..., None, None], batch.annotations, p, kappa)
    if uncertainty_loss == "bce":
        loss = -(agreement * w.log() + (1 - agreement) * (1 - w).log())
    else:
        loss = w * -agreement.log() + 0.2 * -w.log()
    torch.testing.assert_close(method.loss(batch, 1.0)["uncertainty"].detach(), loss[inside].mean(), **CLOSE)


def gradients(method: UMANet, term: torch.Tensor) -> set[str]:
    """The submodules that a loss term teaches."""
    method.zero_grad()
    term.backward(retain_graph=True)
    return {
        name.split(".")[0]
        for name, value in method.named_parameters()
        if value.grad is not None and value.grad.abs().sum() > 0
    }


@pytest.mark.parametrize("weights", ["normalised", "total"])
@pytest.mark.parametrize("uncertainty_loss", ["bce", "attenuated"])
def test_each_loss_teaches_its_own_parts(weights, uncertainty_loss):
    options = {"weights": weights, "uncertainty_loss": uncertainty_loss, "target": "soft"}
    method, batch = make_uma_net(**options), sparse_batch()
    terms = method.loss(batch, 0.2)
    assert gradients(method, terms["uncertainty"]) == {"uncertainty"}
    assert gradients(method, terms["segmentation"]) == {"backbone", "primary"}
    low_memory(method)
    assert gradients(method, method.loss(batch, 1.0)["auxiliary"]) == {"backbone", "auxiliary"}


def test_known_annotators_keep_what_was_learned_and_new_ones_are_average():
    method, batch = make_uma_net(), make_batch(make_task(classes=3), SHAPE)
    know(method, [0.9, 0.6, 0.3])
    assert method.uncertainty.annotator is not None
    torch.nn.init.normal_(method.uncertainty.annotator)
    other = method.with_annotators(("annotator2", "newcomer", "annotator0"))
    assert other.annotators == ("annotator2", "newcomer", "annotator0")
    known = other.annotator_reliability()
    torch.testing.assert_close(known, torch.tensor([0.3, torch.nan, 0.9]), equal_nan=True)
    assert other.uncertainty.annotator is not None
    torch.testing.assert_close(other.uncertainty.annotator[1], method.uncertainty.annotator.mean(0))
    reordered = replace(batch, annotations=batch.annotations[:, [2, 1, 0]])
    (before, _), (after, _) = method.own_uncertainty(batch), other.own_uncertainty(reordered)
    torch.testing.assert_close(after[:, [2, 0]], before[:, [0, 2]], **CLOSE)


def test_a_subset_of_the_annotators_can_be_graded_and_the_original_stays():
    method, batch = make_uma_net(), make_batch(make_task(classes=3), SHAPE)
    one = replace(batch, annotations=batch.annotations[:, 1:2], present=batch.present[:, 1:2])
    alone = method.with_annotators(("annotator1",))
    torch.testing.assert_close(alone.own_uncertainty(one)[0], method.own_uncertainty(batch)[0][:, 1:2], **CLOSE)
    alone.right.fill_(-1.0)
    assert method.annotators == ("annotator0", "annotator1", "annotator2")
    assert (method.right >= 0).all()


def test_anonymous_annotators_may_be_any_number():
    task = make_task(classes=3, identified=False)
    method, more = make_uma_net(task), replace(task, annotators=("a", "b", "c", "d", "e"))
    grades = method.with_annotators(more.annotators).grade(make_batch(more, SHAPE))
    assert grades.quality.shape == (2, 5)


def test_the_monitor_names_every_annotator():
    method = make_uma_net()
    method.loss(sparse_batch(), 1.0)
    seen = method.monitor()
    assert {f"{kind}/annotator{r}" for r in range(3) for kind in ("reliability", "uncertainty")} <= set(seen)
    assert seen["reliability_where_disputed"] == pytest.approx(float(method.right.sum() / method.said.sum()))
    assert all(isinstance(value, float) for value in seen.values())


def scenario(images: int = 48, side: int = 24) -> tuple[Batch, torch.Tensor]:
    """Discs, drawn exactly, a little off at random (three times), and always far off."""
    rng = torch.Generator().manual_seed(0)
    truth, drawn = [], []
    for _ in range(images):
        centre = side * (0.4 + 0.2 * torch.rand(2, generator=rng))
        a_little_off = [4.0 * torch.rand(2, generator=rng) - 2 for _ in range(3)]
        offsets = [torch.zeros(2), *a_little_off, torch.tensor([6.0, 6.0])]
        discs = [ball((side, side), tuple((centre + offset).tolist()), 5.0) for offset in offsets]
        truth.append(discs[0])
        drawn.append(torch.stack(discs))
    image = torch.stack(truth)[:, None].float() + 0.2 * torch.randn(images, 1, side, side, generator=rng)
    labels = torch.stack(drawn).to(torch.uint8)
    return Batch(image, labels, torch.ones(images, 5, dtype=torch.bool)), torch.stack(truth)


def test_the_uncertainty_module_lives():
    """It tells good annotators from bad ones and right pixels from wrong ones, having never seen the truth."""
    steps, size = 150, 8
    everything, truth = scenario()
    method = make_uma_net(make_task(annotators=5), channels=(8, 16))
    optimiser = torch.optim.AdamW(method.parameters(), 1e-2)
    for step in range(steps):
        rows = [(step * size + offset) % len(truth) for offset in range(size)]
        batch = Batch(everything.image[rows], everything.annotations[rows], everything.present[rows])
        optimiser.zero_grad()
        torch.stack(list(method.loss(batch, step / steps).values())).sum().backward()
        optimiser.step()
    with torch.no_grad():
        grades = method.eval().grade(everything)
    labels = everything.annotations
    wrong = labels.bool() != truth[:, None]
    disputed = (labels.amax(1) != labels.amin(1))[:, None].expand_as(labels)
    good, *others, bad = method._reliability().tolist()
    assert good > bad + 0.05
    assert good > max(others)
    assert grades.quality[:, 0].mean() > grades.quality[:, 4].mean() + 0.05
    assert (-grades.uncertainty).exp()[disputed].mean() < 0.85
    assert auroc(grades.uncertainty.numpy(), wrong.numpy()) > 0.9
    consensus = grades.consensus.argmax(1) == 1
    assert 2 * (consensus & truth).sum() / (consensus.sum() + truth.sum()) > 0.95


def test_grading_works_where_maps_stayed_in_main_memory():
    # What happens with a model on a GPU: fake tensors know their device, as real ones do, and need none.
    from torch._subclasses.fake_tensor import FakeTensorMode

    from umanet.models import QualityAssessment

    with FakeTensorMode(allow_non_fake_inputs=True):
        assessment = QualityAssessment(8, 2.0, 0.05)
        threshold = torch.zeros((), device="cuda")
        assessment.threshold = lambda: threshold  # type: ignore[method-assign]
        assert assessment.is_low(torch.zeros(2, 3)).device.type == "cpu"
