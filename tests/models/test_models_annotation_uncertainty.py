import pytest
import torch

from fake_data.arrays import make_task
from umanet.models import AnnotationUncertainty

SHAPES = {2: (9, 8), 3: (7, 6, 5)}


def make_module(dims=2, identified=True):
    torch.manual_seed(0)
    return AnnotationUncertainty(make_task(dims, classes=3, identified=identified), features=4, width=6)


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


def test_adding_the_parts_equals_one_convolution_over_both():
    """The first layer is linear: features and annotation side by side would give the same."""
    module, (features, annotations) = make_module(), inputs()
    onehot = torch.nn.functional.one_hot(annotations[:, 0], 3).movedim(-1, 1).float()
    both = torch.cat([module.from_image.weight, module.from_annotation.weight], 1)
    hidden = torch.nn.functional.conv2d(torch.cat([features, onehot], 1), both, module.from_image.bias, padding=1)
    hidden = torch.nn.functional.leaky_relu(hidden, 0.1)
    expected = module.out(torch.nn.functional.leaky_relu(module.context(hidden), 0.1))
    torch.testing.assert_close(module(features, annotations)[:, :1], expected, rtol=1e-4, atol=1e-5)


def test_annotations_are_innocent_at_the_start():
    """w starts at about 0.88."""
    module = make_module()
    with torch.no_grad():
        module.out.weight.zero_()
        reliability = torch.sigmoid(-module(*inputs()))
    torch.testing.assert_close(reliability, torch.full_like(reliability, 0.8808), rtol=1e-3, atol=0)


@pytest.mark.parametrize("identified", [True, False])
def test_only_identified_annotators_have_something_of_their_own(identified):
    assert (make_module(identified=identified).annotator is not None) == identified


def test_what_belongs_to_an_annotator_reaches_only_their_map():
    module, data = make_module(), inputs()
    before = module(*data)
    with torch.no_grad():
        module.annotator[1] += 1.0
    after = module(*data)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])
    assert not torch.allclose(after[:, 1], before[:, 1])
