"""Backbones: MONAI's U-Net family, made to return the decoder's last features instead of classes."""

from collections.abc import Callable

from jaxtyping import Float
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.unet import UNet
from torch import Tensor, nn
from torch.nn import functional

from umanet.config import BackboneOptions
from umanet.errors import ConfigError
from umanet.types import Task

# Convolutions are followed by a normalisation, which takes a bias out again: without biases every parameter learns.
AFFINE_INSTANCE_NORM = ("instance", {"affine": True})


class Backbone(nn.Module):
    """An image to features on the same grid, for images of any size.

    Images are padded (by repeating their border) to a multiple of what the network halves, and the features cropped
    again.

    Raises:
        ConfigError: The options do not fit the architecture.
    """

    def __init__(self, task: Task, options: BackboneOptions):
        super().__init__()
        self.network = ARCHITECTURES[options.architecture](task.spatial_dims, len(task.channels), options)
        self.multiple = 2 ** (len(options.channels) - 1)

    def forward(self, image: Float[Tensor, "B C *spatial"]) -> Float[Tensor, "B F *spatial"]:
        shape = image.shape[2:]
        # At least two voxels must remain at the coarsest level: instance norm has no spread over a single one.
        padded = [max(-(-side // self.multiple), 2) * self.multiple for side in shape]
        if list(shape) != padded:
            ends = [end for old, new in zip(shape, padded, strict=True) for end in (new - old, 0)]
            image = functional.pad(image, ends[::-1], mode="replicate")
        features = self.network(image)
        return features[(..., *(slice(side) for side in shape))]


def _unet(spatial_dims: int, in_channels: int, options: BackboneOptions) -> nn.Module:
    return UNet(
        spatial_dims,
        in_channels,
        out_channels=options.features,
        channels=options.channels,
        strides=(2,) * (len(options.channels) - 1),
        num_res_units=options.residual_units,
        norm=AFFINE_INSTANCE_NORM,
        bias=False,
    )


def _basic_unet(spatial_dims: int, in_channels: int, options: BackboneOptions) -> nn.Module:
    if len(options.channels) != 5:
        raise ConfigError(
            f"backbone.channels = {options.channels} found, 5 levels expected by basic-unet. "
            "Give five numbers, or choose another backbone.architecture."
        )
    network = BasicUNet(
        spatial_dims,
        in_channels,
        out_channels=options.features,
        features=(*options.channels, options.features),
        norm=AFFINE_INSTANCE_NORM,
        bias=False,
    )
    network.final_conv = nn.Identity()  # type: ignore[assignment]  # features, not classes
    return network


def _dynunet(spatial_dims: int, in_channels: int, options: BackboneOptions) -> nn.Module:
    halvings = len(options.channels) - 1
    return DynUNet(
        spatial_dims,
        in_channels,
        out_channels=options.features,
        kernel_size=[3] * (halvings + 1),
        strides=[1] + [2] * halvings,
        upsample_kernel_size=[2] * halvings,
        filters=list(options.channels),
        norm_name=AFFINE_INSTANCE_NORM,
    )


ARCHITECTURES: dict[str, Callable[[int, int, BackboneOptions], nn.Module]] = {
    "unet": _unet,
    "basic-unet": _basic_unet,
    "dynunet": _dynunet,
}
