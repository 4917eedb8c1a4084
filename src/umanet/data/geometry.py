"""Where voxels lie: comparing grids, going between a file's axis order and RAS+, and resampling.

RAS+: array axes 0, 1, 2 grow towards the patient's right, anterior, superior. Millimetres throughout.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, Shaped, UInt8
from nibabel.affines import voxel_sizes
from torch import Tensor

from umanet.errors import GeometryError, ImageError
from umanet.types import IGNORE, Geometry

GRID_TOLERANCE = 0.05
"""How far corners of one grid may lie apart, in voxels (of the smallest side). Headers rounded to four decimals
move the corner of a 512-voxel volume by up to 0.03 voxels; half a voxel would move labels."""


def geometry_in_file(
    path: Path,
    affine: Float[np.ndarray, "4 4"],
    file_shape: tuple[int, ...],
    spatial_dims: int | None,
    *,
    known: bool,
    suffix: str,
) -> Geometry:
    """Of a file with an affine, whose array is to be presented in RAS+ axis order.

    Args:
        path: For messages.
        affine: Voxel index of the file as stored to RAS+ millimetres.
        file_shape: As stored.
        spatial_dims: 2 takes a file with one slice, along any axis; None means 2 where there is one slice.
        known: Whether the file says its spacing; one other than ones is known anyway.
        suffix: Type of outputs.

    Raises:
        ImageError: A singular affine.
        GeometryError: Other than ``spatial_dims`` axes.
    """
    orientation = _orientation(path, affine)
    sizes = voxel_sizes(affine)
    file_axis = [int(np.argwhere(orientation[:, 0] == axis)[0, 0]) for axis in range(3)]
    kept = [axis for axis in file_axis if axis not in _left_out(path, file_shape, spatial_dims)]
    solid = (*file_shape, 1)[:3]
    return Geometry(
        shape=tuple(solid[axis] for axis in kept),
        spacing=tuple(float(sizes[axis]) for axis in kept),
        spacing_is_known=known or not np.allclose(sizes, 1),
        affine=affine,
        file_shape=file_shape,
        orientation=tuple((int(axis), int(flip)) for axis, flip in orientation),
        suffix=suffix,
    )


def ras_affine(geometry: Geometry) -> Float[np.ndarray, "4 4"] | None:
    """Voxel index of the 3D array in RAS+ axis order (singleton axes kept) to RAS+ millimetres."""
    if geometry.affine is None or geometry.orientation is None or geometry.file_shape is None:
        return geometry.affine
    shape = _padded(geometry.file_shape)
    return geometry.affine @ nib.orientations.inv_ornt_aff(np.array(geometry.orientation), shape)


def grid_difference(first: Geometry, second: Geometry) -> str | None:
    """Why two arrays are not on the same grid, in words; None where they are.

    Shapes must be equal; where both files have an affine, the corners of the two grids, after reorientation to
    RAS+, must lie within ``GRID_TOLERANCE`` voxels of each other. A file with an affine (NIfTI, DICOM volumes, NRRD and
    MetaImage with three axes) and one without (pictures, NRRD and MetaImage with two axes) cannot be compared: their
    axis orders differ.
    """
    a, b = ras_affine(first), ras_affine(second)
    if (a is None) != (b is None):
        return f"a {first.suffix} and a {second.suffix} file, whose axis orders cannot be compared"
    if first.shape != second.shape:
        return f"shape {first.shape} and shape {second.shape}"
    if a is None or b is None:
        return None
    distance, tolerance = corners_apart(a, b, _ras_shape(first)), GRID_TOLERANCE * float(voxel_sizes(a).min())
    if not distance <= tolerance:
        return f"grids whose corners lie {distance:.3g} mm apart (tolerance {tolerance:.3g} mm)"
    return None


def grid_noise(first: Geometry, second: Geometry) -> float:
    """How far the corners of two grids that ``grid_difference`` takes as one lie apart, in mm; 0 without affines."""
    a, b = ras_affine(first), ras_affine(second)
    return 0.0 if a is None or b is None else corners_apart(a, b, _ras_shape(first))


def form_conflict(geometry: Geometry) -> float:
    """How far qform and sform of a file put its corners apart, in mm; 0 where that is within ``GRID_TOLERANCE``."""
    if geometry.qform is None or geometry.affine is None or min(geometry.codes) < 1:
        return 0.0
    apart = corners_apart(geometry.affine, geometry.qform, _padded(geometry.file_shape or geometry.shape))
    return 0.0 if apart <= GRID_TOLERANCE * float(voxel_sizes(geometry.affine).min()) else apart


def corners_apart(a: Float[np.ndarray, "4 4"], b: Float[np.ndarray, "4 4"], shape: Sequence[int]) -> float:
    """The largest distance between the same corner of a grid under two affines, in mm."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max())


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
    geometry: Geometry,
    longest_side: int | None = None,
    spacing: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The grid that the network sees.

    Args:
        geometry: Of the image.
        longest_side: Voxels; a longer image is shrunk to it, the same factor along all axes. Never enlarges.
        spacing: Millimetres per axis, applied first; ignored where the file does not know its spacing.
        size: Voxels per axis, whatever the image's aspect; then the others are ignored.

    Raises:
        GeometryError: ``spacing`` or ``size`` has another number of axes than the image, or is not positive.
    """
    shape = geometry.shape
    if size is not None:
        if len(size) != len(shape) or min(size) < 1:
            raise GeometryError(
                f"Size {tuple(size)} found, {len(shape)} positive numbers of voxels expected, for an image of shape "
                f"{shape}. Mend data.size."
            )
        return tuple(size)
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
    exact = torch.promote_types(values.dtype, torch.float32)  # weights are not made in 16 bits on a CPU
    # A matrix per axis: PyTorch has antialiasing in 2D only, and is wrong for pictures that are one pixel wide.
    for axis, size in enumerate(shape, start=1):
        identity = torch.eye(values.shape[axis], dtype=exact)[None, None]
        weights = F.interpolate(identity, (size, values.shape[axis]), mode="bilinear", antialias=True)[0, 0]
        values = (values.movedim(axis, -1) @ weights.T.to(values.device, values.dtype, non_blocking=True)).movedim(
            -1, axis
        )
    return values.contiguous()


def resample_labels(
    labels: Integer[Tensor, "N *spatial"], shape: Sequence[int], num_classes: int
) -> UInt8[Tensor, "N ..."]:
    """Labels on another grid: the class that covers most of each voxel, which is fair to thin structures.

    ``IGNORE`` counts as a class. Where classes cover equal shares the lower index wins. One class is held at a time, so
    memory does not grow with their number.
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


def _orientation(path: Path, affine: np.ndarray) -> np.ndarray:
    if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0:
        orientation = nib.orientations.io_orientation(affine)
        if np.isfinite(orientation).all():
            return orientation
    raise ImageError(f"An affine without inverse found in {path}, voxels in millimetres expected. Mend its header.")


def _left_out(path: Path, file_shape: tuple[int, ...], spatial_dims: int | None) -> tuple[int, ...]:
    """The file axis that a 2D array leaves out; none in 3D. The last one where several have one voxel."""
    solid = (*file_shape, 1)[:3]
    single = [axis for axis in range(3) if solid[axis] == 1]
    found = 2 if len(file_shape) == 2 or (spatial_dims != 3 and single) else 3
    if found != (spatial_dims or found):
        raise GeometryError(
            f"A {found}D image of shape {file_shape} found, {spatial_dims}D expected, at {path}. Keep 2D and 3D files "
            "in separate data sets."
        )
    return (single[-1],) if found == 2 else ()
