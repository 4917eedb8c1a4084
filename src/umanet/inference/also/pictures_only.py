"""What the formats of outlines ask of images."""

from collections.abc import Sequence

from umanet.data.formats import NIFTI, suffix_of
from umanet.errors import ConfigError
from umanet.types import Case, Geometry


def require_pictures(name: str, cases: Sequence[Case], spatial_dims: int) -> None:
    """Refuse volumes, and slices whose axes are not rows and columns of a picture.

    Raises:
        ConfigError: 3D, or NIfTI.
    """
    if spatial_dims != 2:
        raise ConfigError(
            f"{name} needs pictures: {spatial_dims}D images found, 2D expected. Take nrrd, mha, bids or dicom-seg for "
            "volumes."
        )
    for case in cases:
        if suffix_of(case.image[0]) in NIFTI:
            raise _no_picture(name, case.id, suffix_of(case.image[0]))


def require_rows(name: str, case: str, geometry: Geometry) -> None:
    """``require_pictures`` for what shows only when a file is read: a volume of one slice.

    Raises:
        ConfigError: The image lies in space: its array is in RAS+ order.
    """
    if geometry.affine is not None:
        raise _no_picture(name, case, geometry.suffix)


def _no_picture(name: str, case: str, suffix: str) -> ConfigError:
    return ConfigError(
        f"{name} needs pictures: a slice in {suffix} found, rows and columns expected, for case {case!r}. Convert it "
        f"to PNG or TIFF, or leave {name} out of --also."
    )
