import itertools

import pytest
import torch
from torch.nn import functional

from fake_data.arrays import make_task
from umanet.models import AnnotationUncertainty
from umanet.types import IGNORE

SHAPES = {2: (9, 8), 3: (7, 6, 5)}


def make_module(dims=2, identified=True, stride=2):
    torch.manual_seed(0)
    task = make_task(dims, classes=3, identified=identified)
    module = AnnotationUncertainty(task, features=4, width=6, stride=stride)
    if module.habit is not None:
        torch.nn.init.normal_(module.habit)
    return module


def inputs(dims=2):
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(2, 4, *SHAPES[dims], generator=rng)
    return features, torch.randint(3, (2, 3, *SHAPES[dims]), generator=rng)


@pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])
def test_every_annotation_gets_a_map_of_its_own(dims):
    module, (features, annotations) = make_module(dims), inputs(dims)
    together = module(features, annotations)
    assert together.shape == annotations.shape
    changed = annotations.clone()
    changed[:, 1] = (changed[:, 1] + 1) % 3
    others = module(features, changed)
    torch.testing.assert_close(others[:, [0, 2]], together[:, [0, 2]])
    assert not torch.allclose(others[:, 1], together[:, 1])


def looped_means(maps: torch.Tensor, stride: int) -> torch.Tensor:
    """Of cells of ``stride`` pixels a side; cells at the far border are smaller."""
    rows, columns = (range(0, side, stride) for side in maps.shape[2:])
    cells = [maps[:, :, i : i + stride, j : j + stride].mean((2, 3)) for i, j in itertools.product(rows, columns)]
    return torch.stack(cells, 2).unflatten(2, (len(rows), len(columns)))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_image_and_each_annotation_are_looked_at_on_a_coarser_grid(stride):
    """The first layer is linear: features and shares of classes side by side give the same. Then interpolation."""
    module, (features, annotations) = make_module(stride=stride), inputs()
    annotations[0, 0, :3] = IGNORE
    labels = annotations[:, 0].masked_fill(annotations[:, 0] == IGNORE, 3)
    shares = functional.one_hot(labels, 4).movedim(-1, 1)[:, :3].float()
    both = torch.cat([module.from_image.weight, module.from_annotation.weight], 1)
    given = looped_means(torch.cat([features, shares], 1), stride)
    hidden = functional.leaky_relu(functional.conv2d(given, both, module.from_image.bias, padding=1), 0.1)
    hidden = functional.leaky_relu(module.context(hidden), 0.1)
    cells = module.out(hidden.movedim(1, -1)).movedim(-1, 1)
    around = functional.interpolate(cells, scale_factor=stride, mode="bilinear")[..., :9, :8]
    against = module.against_label(features.movedim(1, -1)).movedim(-1, 1) + module.habit[0].view(1, 3, 1, 1)
    expected = around + against.gather(1, labels.clamp_max(2)[:, None])
    shown = labels < 3
    torch.testing.assert_close(module(features, annotations)[:, 0][shown], expected[:, 0][shown], rtol=1e-4, atol=1e-5)


def test_annotations_are_innocent_at_the_start():
    """w starts at about 0.88."""
    module = make_module()
    with torch.no_grad():
        module.out.weight.zero_()
        module.against_label[-1].weight.zero_()
        module.habit.zero_()
        reliability = torch.sigmoid(-module(*inputs()))
    torch.testing.assert_close(reliability, torch.full_like(reliability, 0.8808), rtol=1e-3, atol=0)


@pytest.mark.parametrize("identified", [True, False])
def test_only_identified_annotators_have_something_of_their_own(identified):
    module = make_module(identified=identified)
    assert (module.annotator is not None) == (module.habit is not None) == identified


@pytest.mark.parametrize("own", ["annotator", "habit"])
def test_what_belongs_to_an_annotator_reaches_only_their_map(own):
    module, data = make_module(), inputs()
    before = module(*data)
    with torch.no_grad():
        getattr(module, own)[1] += 1.0
    after = module(*data)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.allclose(after[:, 1], before[:, 1])


def test_a_habit_is_of_what_somebody_says():
    module, (features, annotations) = make_module(), inputs()
    before = module(features, annotations)
    with torch.no_grad():
        module.habit[1, 2] += 1.0
    after = module(features, annotations)
    expected = before + ((annotations == 2) & (torch.arange(3) == 1).view(1, 3, 1, 1))
    torch.testing.assert_close(after, expected)
