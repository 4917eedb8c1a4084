import pytest
import torch

from fake_data.arrays import make_task
from umanet.config import BackboneOptions
from umanet.errors import ConfigError
from umanet.models import Backbone, Predictor

LEVELS = {"unet": (4, 8, 12), "basic-unet": (4, 4, 8, 8, 8), "dynunet": (4, 8, 12)}

every_architecture = pytest.mark.parametrize("architecture", LEVELS)
both_dimensions = pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])


def make_backbone(architecture, dims, channels=1):
    torch.manual_seed(0)
    options = BackboneOptions(architecture=architecture, channels=LEVELS[architecture], features=5)
    return Backbone(make_task(dims, channels=channels), options)


@every_architecture
@both_dimensions
@pytest.mark.parametrize("size", ["fits", "odd", "tiny"])
def test_features_lie_on_the_grid_of_the_image(architecture, dims, size):
    shape = {"fits": (32, 32, 32), "odd": (13, 9, 7), "tiny": (1, 2, 3)}[size][:dims]
    features = make_backbone(architecture, dims, channels=2)(torch.randn(2, 2, *shape))
    assert features.shape == (2, 5, *shape)
    assert features.isfinite().all()


@every_architecture
@both_dimensions
def test_every_parameter_of_a_backbone_learns(architecture, dims):
    backbone = make_backbone(architecture, dims)
    features = backbone(torch.randn(2, 1, *(20, 18, 20)[:dims]))
    (features * torch.randn_like(features)).sum().backward()
    idle = [name for name, value in backbone.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []


def test_padding_does_not_move_the_image():
    """An image with its border repeated by hand gives the same features where the image is."""
    backbone, image = make_backbone("unet", 2).eval(), torch.randn(1, 1, 16, 12)
    image[..., 13:, :] = image[..., 12:13, :]
    image[..., 11:] = image[..., 10:11]
    torch.testing.assert_close(backbone(image[..., :13, :11]), backbone(image)[..., :13, :11])


def test_basic_unet_asks_for_five_levels():
    with pytest.raises(ConfigError, match=r"backbone\.channels = \(4, 8\) found, 5 levels expected"):
        Backbone(make_task(), BackboneOptions(architecture="basic-unet", channels=(4, 8)))


@both_dimensions
def test_a_predictor_gives_a_logit_per_class(dims):
    shape = (6, 5, 4)[:dims]
    assert Predictor(make_task(dims, classes=4), 5)(torch.randn(2, 5, *shape)).shape == (2, 4, *shape)
