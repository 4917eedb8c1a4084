"""What every method must do, in 2D and in 3D."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fake_data.arrays import bright_balls, make_batch, make_index, make_method, make_task, tiny_config, with_target
from umanet.errors import TaskError
from umanet.fusion import FUSIONS
from umanet.inference.model_file import GRADING, WEIGHTS, load_model, save_model
from umanet.methods import METHODS, GradesAnnotations, UMANet
from umanet.types import AnnotationGrades, Batch

SHAPES = {2: (10, 12), 3: (6, 8, 6)}
GRADERS = [name for name, method in METHODS.items() if method is UMANet]
# The order in which sums are taken moves float32 losses by this much.
REORDERED = {"rtol": 1e-4, "atol": 1e-5}

methods = pytest.mark.parametrize("name", METHODS)
NEEDS_IDENTITY = [
    "confusion-matrix", "annotator-heads", "truncated-gce", "mr-net", "padl", "pionono", "persona",
]  # fmt: skip
# Their noise is drawn by position on purpose: the draw must not depend on names.
NOISY = ["random", "prob-unet", "persona", "pionono", "stochastic-segmentation", "mr-net", "padl"]

graders = pytest.mark.parametrize("name", GRADERS)
dimensions = pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])


def losses(method, batch, progress=1.0):
    torch.manual_seed(1)  # of the noise that some methods draw
    return method.loss(with_target(method, batch, truth=(batch.image[:, 0] > 0).to(torch.uint8)), progress)


def let_some_images_be_low(method, batch):
    """Doubt all annotations, and let the threshold lie between the qualities of the batch."""
    if isinstance(method, UMANet):
        with torch.no_grad():
            torch.nn.init.constant_(method.uncertainty.out.bias, 1.0)
            method.loss(batch, 0.0)
        remembered = method.image_quality.remembered
        remembered.fill_(float(remembered.nanmean()) + method.options.quality_floor)


def without_junk(grades: AnnotationGrades, order=slice(None)):
    return [grades.uncertainty[:, order], grades.quality[:, order], grades.low[:, order], grades.consensus]


def assert_same(found, expected, **tolerance):
    torch.testing.assert_close(found, expected, equal_nan=True, **(tolerance or {"rtol": 0, "atol": 0}))


@methods
@dimensions
@pytest.mark.parametrize("identified", [True, False], ids=["identified", "anonymous"])
def test_gradients_reach_every_parameter(name, dims, identified):
    if name in NEEDS_IDENTITY and not identified:
        with pytest.raises(TaskError, match="Anonymous annotators found, identified ones expected by"):
            make_method(make_task(dims, identified=False), tiny_config(name))
        return
    task = make_task(dims, classes=3, channels=2, identified=identified)
    method = make_method(task, tiny_config(name))
    batch = make_batch(task, SHAPES[dims], images=3)
    let_some_images_be_low(method, batch)
    torch.stack(list(losses(method, batch).values())).sum().backward()
    without = [key for key, value in method.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert without == []


@methods
@dimensions
def test_an_absent_annotator_changes_nothing(name, dims):
    task = make_task(dims, classes=3)
    batch = make_batch(task, SHAPES[dims])
    present = torch.tensor([[True, False, True], [True, True, False]])
    zeroed = replace(batch, annotations=batch.annotations * present.view(2, 3, *[1] * dims), present=present)
    junk = replace(batch, present=present)
    assert not torch.equal(junk.annotations, zeroed.annotations)
    first, second = (make_method(task, tiny_config(name)) for _ in range(2))
    for progress in (0.0, 0.2, 1.0):
        assert_same(losses(second, junk, progress), losses(first, zeroed, progress))
    assert_same(second.state_dict(), first.state_dict())
    assert_same(second.predict(junk.image).probabilities, first.predict(zeroed.image).probabilities)
    if isinstance(first, GradesAnnotations) and isinstance(second, GradesAnnotations):
        grades = second.grade(junk)
        assert_same(without_junk(grades), without_junk(first.grade(zeroed)))
        assert grades.quality[~present].isnan().all()
        assert not grades.uncertainty[~present].any()
        assert not grades.low[~present].any()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NOISY])
@dimensions
@pytest.mark.parametrize("identified", [True, False], ids=["identified, untrained", "anonymous"])
def test_the_order_of_the_annotators_does_not_matter(name, dims, identified):
    identified = identified or name in NEEDS_IDENTITY
    task, order = make_task(dims, classes=3, identified=identified), [2, 0, 1]
    reordered = replace(task, annotators=tuple(task.annotators[number] for number in order))
    batch = make_batch(task, SHAPES[dims])
    batch.present[0, 1] = False
    other = replace(batch, annotations=batch.annotations[:, order], present=batch.present[:, order])
    config = tiny_config(name)
    config = config.model_copy(update={"fusion": config.fusion.model_copy(update={"annotator": "annotator0"})})
    method, same = make_method(task, config), make_method(reordered, config)
    if not identified:
        with torch.no_grad():  # an anonymous task may be trained: nothing belongs to one annotator
            for key, value in method.named_parameters():
                value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(key))))
        same.load_state_dict(method.state_dict())
    assert_same(losses(same, other), losses(method, batch), **REORDERED)
    if isinstance(method, GradesAnnotations) and isinstance(same, GradesAnnotations):
        assert_same(without_junk(same.grade(other)), without_junk(method.grade(batch), order), **REORDERED)


@methods
@dimensions
def test_a_trivial_task_is_learned_in_a_few_dozen_steps(name, dims):
    task = make_task(dims)
    method = make_method(task, tiny_config(name, channels=(6, 12)))
    batch = bright_balls(task, {2: (24, 24), 3: (14, 14, 14)}[dims], images=6)
    batch = with_target(method, batch)
    optimiser = torch.optim.AdamW(method.parameters(), 1e-2)
    steps = 50 if name in ("uma-net", "truth", *FUSIONS) else 80
    for step in range(steps):
        optimiser.zero_grad()
        torch.stack(list(method.loss(batch, step / steps).values())).sum().backward()
        optimiser.step()
    unseen = bright_balls(task, tuple(batch.image.shape[2:]), images=4, seed=1)
    with torch.no_grad():
        found = method.eval().predict(unseen.image).probabilities.argmax(1) == 1
    truth = unseen.annotations[:, 0] == 1
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.9


@methods
@dimensions
def test_a_released_model_predicts_bit_for_bit_the_same(name, dims, tmp_path):
    task = make_task(dims, classes=3)
    method, batch = trained(task, name, dims)
    save_model(method, make_index(task), tiny_config(name), tmp_path)
    with torch.no_grad():
        expected = method.eval().predict(batch.image).probabilities
        found = load_model(tmp_path).method.predict(batch.image).probabilities
    assert_same(found, expected)


@graders
@dimensions
def test_a_released_model_grades_bit_for_bit_the_same(name, dims, tmp_path):
    task = make_task(dims, classes=3)
    method, batch = trained(task, name, dims)
    save_model(method, make_index(task), tiny_config(name), tmp_path)
    loaded = load_model(tmp_path, grading=True).method
    assert_same(loaded.state_dict(), method.state_dict())
    with torch.no_grad():
        assert_same(vars(loaded.grade(batch)), vars(method.eval().grade(batch)))


@methods
def test_a_released_model_holds_only_what_predicts(name, tmp_path):
    task = make_task()
    method = make_method(task, tiny_config(name))
    save_model(method, make_index(task), tiny_config(name), tmp_path)
    assert {key.split(".")[0] for key in load_file(tmp_path / WEIGHTS)} == set(method.deployed)
    loaded = load_model(tmp_path).method
    assert {key.split(".")[0] for key in loaded.state_dict()} == set(method.deployed)
    assert (tmp_path / GRADING).exists() == (name in GRADERS)


@methods
@pytest.mark.parametrize("shape", [(7, 9), (1, 2), (3, 20), (5, 7, 3), (1, 2, 9)], ids=str)
def test_any_image_size_works(name, shape):
    task = make_task(len(shape), classes=3)
    method = make_method(task, tiny_config(name, channels=(3, 4, 6)))
    batch = make_batch(task, shape)
    assert all(term.isfinite() for term in losses(method, batch).values())
    probabilities = method.predict(batch.image).probabilities
    assert probabilities.shape == (2, 3, *shape)
    assert_same(probabilities.sum(1), torch.ones(2, *shape), **REORDERED)


@methods
@dimensions
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("channels", [1, 4])
def test_several_classes_and_channels_work(name, dims, classes, channels):
    task = make_task(dims, classes=classes, channels=channels)
    method, batch = make_method(task, tiny_config(name)), make_batch(task, SHAPES[dims])
    assert all(term.isfinite() for term in losses(method, batch).values())
    assert method.predict(batch.image).probabilities.shape == (2, classes, *SHAPES[dims])


def all_empty(batch: Batch) -> Batch:
    return replace(batch, annotations=torch.zeros_like(batch.annotations))


def all_full(batch: Batch) -> Batch:
    return replace(batch, annotations=torch.ones_like(batch.annotations))


def one_present(batch: Batch) -> Batch:
    present = torch.zeros_like(batch.present)
    present[:, 0] = True
    return replace(batch, present=present)


def constant_image(batch: Batch) -> Batch:
    return replace(batch, image=torch.zeros_like(batch.image))


@methods
@dimensions
@pytest.mark.parametrize("change", [all_empty, all_full, one_present, constant_image])
@pytest.mark.parametrize("annotators", [1, 3])
def test_losses_and_gradients_are_finite_in_degenerate_cases(name, dims, change, annotators):
    task = make_task(dims, annotators=annotators)
    method = make_method(task, tiny_config(name))
    batch = change(make_batch(task, SHAPES[dims]))
    for progress in (0.0, 1.0):
        terms = losses(method, batch, progress)
        torch.stack(list(terms.values())).sum().backward()
        assert all(term.isfinite() for term in terms.values())
    assert all(value.grad is None or value.grad.isfinite().all() for value in method.parameters())
    # What QAM remembers is NaN while nothing was seen.
    assert all(value.isfinite().all() or key.endswith("remembered") for key, value in method.state_dict().items())


@methods
@dimensions
def test_a_seed_gives_the_same_weights_twice(name, dims):
    (first, _), (second, _) = (trained(make_task(dims, classes=3), name, dims) for _ in range(2))
    assert_same(second.state_dict(), first.state_dict())


@methods
def test_using_a_method_does_not_change_it(name):
    task = make_task()
    method, batch = make_method(task, tiny_config(name)).eval(), make_batch(task, SHAPES[2])
    before = copy.deepcopy(method.state_dict())
    method.predict(batch.image)
    losses(method, batch)
    if isinstance(method, GradesAnnotations):
        method.grade(batch)
    assert_same(method.state_dict(), before)


@methods
def test_an_image_is_predicted_alike_alone_and_in_a_batch(name):
    task = make_task()
    method, batch = make_method(task, tiny_config(name)).eval(), make_batch(task, SHAPES[2], images=3)
    alone = torch.cat([method.predict(image[None]).probabilities for image in batch.image])
    assert_same(method.predict(batch.image).probabilities, alone, **REORDERED)


@methods
@dimensions
def test_what_is_said_of_annotators_and_by_samples_are_probabilities(name, dims):
    task = make_task(dims, classes=3, annotators=4)
    method, batch = make_method(task, tiny_config(name)).eval(), make_batch(task, SHAPES[dims])
    found = method.predict(batch.image)
    assert (found.annotator_probabilities is not None, found.samples is not None) == (
        method.per_annotator, method.samples,
    )  # fmt: skip
    for values, count in ((found.annotator_probabilities, 4), (found.samples, None)):
        if values is not None:
            assert values.shape == (2, count or values.shape[1], 3, *SHAPES[dims]) and values.shape[1] > 1
            assert_same(values.sum(2), torch.ones_like(values[:, :, 0]), **REORDERED)


def trained(task, name, dims):
    """A method after a few steps, so that its buffers and its grades are not those of the start."""
    method, batch = make_method(task, tiny_config(name)), make_batch(task, SHAPES[dims])
    optimiser = torch.optim.AdamW(method.parameters(), 1e-2)
    for _ in range(3):
        torch.stack(list(losses(method, batch).values())).sum().backward()
        optimiser.step()
    return method, batch


@methods
def test_methods_are_final(name):
    assert vars(METHODS[name]).get("__final__")


@pytest.mark.parametrize("name", [name for name in METHODS if name != "ensemble"])
@dimensions
def test_an_ensemble_may_be_of_any_method(name, dims):
    task = make_task(dims, classes=3)
    config = tiny_config("ensemble")
    config = config.model_copy(update={"ensemble": config.ensemble.model_copy(update={"of": name})})
    method = make_method(task, config)
    batch = make_batch(task, SHAPES[dims])
    torch.stack(list(losses(method, batch).values())).sum().backward()
    for member in method.members:
        assert all(value.grad.isfinite().all() for value in member.primary.parameters())
        assert any(value.grad.any() for value in member.primary.parameters())
    with torch.no_grad():
        found = method.eval().predict(batch.image)
        each = torch.stack([member.predict(batch.image).probabilities for member in method.members], 1)
    assert not torch.equal(each[:, 0], each[:, 1])
    assert_same(found.samples, each)
    assert_same(found.probabilities, each.mean(1))
    if name in NEEDS_IDENTITY:
        with pytest.raises(TaskError, match="Anonymous annotators found"):
            make_method(make_task(dims, identified=False), config)
