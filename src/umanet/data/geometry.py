"""Where voxels lie: comparing grids, going between a file's axis order and RAS+, and resampling.

RAS+: array axes 0, 1, 2 grow towards the patient's right, anterior, superior. Millimetres throughout.
"""

import itertools
from collections.abc import Sequence

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, Shaped, UInt8
from nibabel.affines import voxel_sizes
from torch import Tensor

from umanet.errors import GeometryError
from umanet.types import IGNORE, Geometry

GRID_TOLERANCE = 0.05
"""How far corners of one grid may lie apart, in voxels (of the smallest side). Headers rounded to four decimals
move the corner of a 512-voxel volume by up to 0.03 voxels; half a voxel would move labels."""


def ras_affine(geometry: Geometry) -> Float[np.ndarray, "4 4"] | None:
    """Voxel index of the 3D array in RAS+ axis order (singleton axes kept) to RAS+ millimetres."""
    if geometry.affine is None or geometry.orientation is None or geometry.file_shape is None:
        return geometry.affine
    shape = _padded(geometry.file_shape)
    return geometry.affine @ nib.orientations.inv_ornt_aff(np.array(geometry.orientation), shape)


def grid_difference(first: Geometry, second: Geometry) -> str | None:
    """Why two arrays are not on the same grid, in words; None where they are.

    Shapes must be equal; where both files have an affine, the corners of the two grids, after reorientation to
    RAS+, must lie within ``GRID_TOLERANCE`` voxels of each other. A file with an affine and one without cannot be
    compared: their axis orders differ.
    """
    a, b = ras_affine(first), ras_affine(second)
    if (a is None) != (b is None):
        return f"a {first.suffix} and a {second.suffix} file, whose axis orders cannot be compared"
    if first.shape != second.shape:
        return f"shape {first.shape} and shape {second.shape}"
    if a is None or b is None:
        return None
    shape = _ras_shape(first)
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    distance = float(np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max())
    smallest = float(voxel_sizes(a).min())
    if not distance <= GRID_TOLERANCE * smallest:
        return f"grids whose corners lie {distance:.3g} mm apart (tolerance {GRID_TOLERANCE * smallest:.3g} mm)"
    return None


def to_ras(stored: Shaped[np.ndarray, "..."], geometry: Geometry) -> Shaped[np.ndarray, "..."]:
    """Array in the file's axis order -> RAS+ order, without singleton axes that ``geometry.shape`` leaves out."""
    if geometry.orientation is None or geometry.file_shape is None:
        return stored
    solid = stored.reshape(_padded(geometry.file_shape))
    return nib.orientations.apply_orientation(solid, np.array(geometry.orientation)).reshape(geometry.shape)


def from_ras(values: Shaped[np.ndarray, "..."], geometry: Geometry) -> Shaped[np.ndarray, "..."]:
    """The inverse of ``to_ras``: an array on the grid of ``geometry`` -> the file's axis order and shape."""
    if geometry.orientation is None or geometry.file_shape is None:
        return values
    orientation = np.array(geometry.orientation)
    back = nib.orientations.ornt_transform(np.array([(0, 1), (1, 1), (2, 1)]), orientation)
    solid = values.reshape(_ras_shape(geometry))
    return nib.orientations.apply_orientation(solid, back).reshape(geometry.file_shape)


def working_shape(
    geometry: Geometry, longest_side: int | None = None, spacing: Sequence[float] | None = None
) -> tuple[int, ...]:
    """The grid that the network sees.

    Args:
        geometry: Of the image.
        longest_side: Voxels; a longer image is shrunk to it, the same factor along all axes. Never enlarges.
        spacing: Millimetres per axis, applied first; ignored where the file does not know its spacing.

    Raises:
        GeometryError: ``spacing`` has another number of axes than the image, or is not positive.
    """
    shape = geometry.shape
    if spacing is not None:
        if len(spacing) != len(shape) or min(spacing) <= 0:
            raise GeometryError(
                f"Spacing {tuple(spacing)} found, {len(shape)} positive millimetres expected, for an image of shape "
                f"{shape}. Mend data.spacing."
            )
        if geometry.spacing_is_known:
            shape = tuple(max(1, round(n * a / b)) for n, a, b in zip(shape, geometry.spacing, spacing, strict=True))
    if longest_side is not None and max(shape) > longest_side:
        shape = tuple(max(1, round(n * longest_side / max(shape))) for n in shape)
    return shape


def resample(values: Float[Tensor, "N *spatial"], shape: Sequence[int], mode: str = "linear") -> Float[Tensor, "N ..."]:
    """Interpolate to ``shape``, edges aligned to edges; the very tensor where the shape is the same.

    Args:
        values: Any number of maps on one grid, 2D or 3D.
        shape: Spatial shape of the result.
        mode: ``linear`` (with antialiasing, so that shrinking averages) or ``nearest``.
    """
    shape = tuple(shape)
    if tuple(values.shape[1:]) == shape:
        return values
    if mode == "nearest":
        return F.interpolate(values[None], shape, mode="nearest-exact")[0]
    # A matrix per axis: PyTorch has antialiasing in 2D only, and is wrong for pictures that are one pixel wide.
    for axis, size in enumerate(shape, start=1):
        identity = torch.eye(values.shape[axis], dtype=values.dtype)[None, None]
        weights = F.interpolate(identity, (size, values.shape[axis]), mode="bilinear", antialias=True)[0, 0]
        values = (values.movedim(axis, -1) @ weights.T.to(values.device)).movedim(-1, axis)
    return values.contiguous()


def resample_labels(
    labels: Integer[Tensor, "N *spatial"], shape: Sequence[int], num_classes: int
) -> UInt8[Tensor, "N ..."]:
    """Labels on another grid: the class that covers most of each voxel, which is fair to thin structures.

    ``IGNORE`` counts as a class. Where classes cover equal shares the lower index wins. One class is held at a time, so memory does
    not grow with their number.
    """
    if tuple(labels.shape[1:]) == tuple(shape):
        return labels.to(torch.uint8)
    share = resample((labels == 0).float(), shape)
    winner = torch.zeros(share.shape, dtype=torch.uint8, device=labels.device)
    ignored = [IGNORE] if bool((labels == IGNORE).any()) else []
    for k in [*range(1, num_classes), *ignored]:
        candidate = resample((labels == k).float(), shape)
        # Interpolation weights do not sum to exactly 1: without the margin, ties fall either way.
        better = candidate > share + 1e-6
        winner[better] = k
        share = torch.where(better, candidate, share)
    return winner


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, *(1 for _ in range(3 - len(shape))))


def _ras_shape(geometry: Geometry) -> tuple[int, ...]:
    """Shape of the array in RAS+ axis order, singleton axes kept."""
    if geometry.orientation is None or geometry.file_shape is None:
        return _padded(geometry.shape)
    stored = _padded(geometry.file_shape)
    shape = [0, 0, 0]
    for file_axis, (axis, _) in enumerate(geometry.orientation):
        shape[axis] = stored[file_axis]
    return tuple(shape)
