"""Patches: cut out of prepared cases, put together, and unpacked into the batch that a method sees."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from umanet.data.change import Change
from umanet.data.prepared_case import PreparedCase
from umanet.data.transforms import rescale
from umanet.types import Batch, Sample, any_silence


@dataclass(frozen=True)
class Patch:
    """A piece of a case, padded to its size, and how it is to be changed.

    Attributes:
        image: Normalised.
        codes, patterns, present: As of a ``PreparedCase``.
        target: By row of the patterns, or by voxel; None where the method makes none.
        change: The augmentation that was drawn for it.
    """

    image: Float32[Tensor, "C *spatial"]
    codes: Integer[Tensor, "*spatial"]
    patterns: UInt8[Tensor, "P R"]
    present: Bool[Tensor, " R"]
    target: Float32[Tensor, "P K"] | Float32[Tensor, "K *spatial"] | None
    change: Change

    def sample(self, case: PreparedCase) -> Sample:
        """As a sample of its case."""
        labels = np.take(np.ascontiguousarray(self.patterns.T), self.codes.numpy(), axis=1)
        return Sample(case.case, self.image, torch.from_numpy(labels), self.present, case.geometry)


@dataclass(frozen=True)
class Patches:
    """Patches of one shape, stacked; tables of fewer rows are filled up with zeros. Small to send to a device.

    Attributes:
        silent: Whether an annotation may be ``IGNORE`` somewhere.
        complete: Whether everybody annotated every image.
    """

    image: Float32[Tensor, "B C *spatial"]
    codes: Integer[Tensor, "B *spatial"]
    patterns: UInt8[Tensor, "B P R"]
    present: Bool[Tensor, "B R"]
    target: Float32[Tensor, "B P K"] | Float32[Tensor, "B K *spatial"] | None
    changes: tuple[Change, ...]
    silent: bool
    complete: bool

    def to(self, device: torch.device) -> "Patches":
        """On another device; from pinned memory without waiting."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Patches":
        """In memory that a GPU reads by itself."""
        return self._with(Tensor.pin_memory)

    def _with(self, change) -> "Patches":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})

    def targets(self) -> Float32[Tensor, "B K *spatial"] | None:
        """By voxel."""
        if self.target is None or self.target.ndim > 3:
            return self.target
        return looked_up(self.target, self.codes)

    def batch(
        self, image: Float32[Tensor, "B C *spatial"], codes: Integer[Tensor, "B *spatial"], target: Tensor | None
    ) -> Batch:
        """Unpacked. What an accelerator would have to be waited for is known already."""
        batch = Batch(image, looked_up(self.patterns, codes), self.present, target)
        vars(batch).update(silent=self.silent, complete=self.complete)
        return batch


def looked_up(tables: Shaped[Tensor, "B P N"], codes: Integer[Tensor, "B *spatial"]) -> Shaped[Tensor, "B N *spatial"]:
    """The row of every voxel's code."""
    index = codes.flatten(1).long()[:, None].expand(-1, tables.shape[2], -1)
    return tables.transpose(1, 2).gather(2, index).unflatten(2, codes.shape[1:])


def cut(
    case: PreparedCase, patch: tuple[int, ...], foreground: float, rng: np.random.Generator, change: Change
) -> Patch:
    """A patch of a case. Shorter sides are padded at both ends: the image with zero, all else as background.

    Args:
        case: May be of any size.
        patch: Voxels per axis.
        foreground: Probability that the patch is centred on a voxel that some annotation calls foreground.
        rng: Draws the place.
        change: To go with it.
    """
    sides = np.array(patch)
    room = np.maximum(np.array(case.shape) - sides, 0)
    start = rng.integers(0, room + 1)
    if rng.random() < foreground and len(case.drawn):
        centre = np.unravel_index(int(case.drawn[rng.integers(len(case.drawn))]), case.shape)
        start = np.clip(np.array(centre) - sides // 2, 0, room)
    window = tuple(slice(int(at), int(at) + side) for at, side in zip(start, patch, strict=True))
    image = rescale(case.image[(slice(None), *window)].float(), case.intensity, clip=case.clip)
    codes, target = case.codes[window], case.target
    if codes.dtype != torch.uint8:
        codes = codes.int()
    if target is not None and target.ndim > 2:
        target = target[(slice(None), *window)]
    lacking = [max(0, side - have) for side, have in zip(patch, case.shape, strict=True)]
    if any(lacking):
        ends = [end for lack in reversed(lacking) for end in (lack // 2, lack - lack // 2)]
        image = functional.pad(image, ends)
        codes = functional.pad(codes, ends, value=len(case.patterns) - 1)
        if target is not None and target.ndim > 2:
            background = functional.pad(target[:1], ends, value=1.0)
            target = torch.cat([background, functional.pad(target[1:], ends)])
    return Patch(image, codes, case.patterns, case.present, target, change)


def stack(patches: Sequence[Patch]) -> Patches:
    """Patches of one shape as one object."""
    rows = max(len(patch.patterns) for patch in patches)
    codes = [patch.codes for patch in patches]
    if len({each.dtype for each in codes}) > 1:
        codes = [each.int() for each in codes]
    patterns = torch.stack([_filled_up(patch.patterns, rows) for patch in patches])
    present = torch.stack([patch.present for patch in patches])
    return Patches(
        torch.stack([patch.image for patch in patches]),
        torch.stack(codes),
        patterns,
        present,
        _stacked_targets(patches, rows),
        tuple(patch.change for patch in patches),
        any_silence(patterns),
        bool(present.all()),
    )


def _stacked_targets(patches: Sequence[Patch], rows: int) -> Tensor | None:
    found = [(patch.target, patch.codes) for patch in patches if patch.target is not None]
    if not found:
        return None
    if all(target.ndim == 2 for target, _ in found):
        return torch.stack([_filled_up(target, rows) for target, _ in found])
    return torch.stack(
        [looked_up(target[None], codes[None])[0] if target.ndim == 2 else target for target, codes in found]
    )


def _filled_up(table: Float[Tensor, "P N"] | UInt8[Tensor, "P N"], rows: int) -> Tensor:
    return functional.pad(table, (0, 0, 0, rows - len(table)))
