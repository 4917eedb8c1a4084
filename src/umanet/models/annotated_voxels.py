"""Voxels of a batch, all in one row: what is computed of single annotations is computed where it matters only."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from umanet.types import IGNORE, any_silence


@dataclass(frozen=True)
class AnnotatedVoxels:
    """Chosen voxels of the images of a batch, image after image, in a row of ``D``.

    Attributes:
        image: Which image each is of, ascending.
        place: Where it is in that image's flattened grid.
        present: Of the images.
        labels: What the annotations say; 0 where they say nothing.
        shown: Where an annotation says something; of length 1 where all do, everywhere.
    """

    image: Integer[Tensor, " D"]
    place: Integer[Tensor, " D"]
    present: Bool[Tensor, "B R"]
    labels: Integer[Tensor, "1 R D"]
    shown: Bool[Tensor, "1 R #D"]

    @classmethod
    def choose(
        cls,
        chosen: Bool[Tensor, "B *spatial"],
        annotations: Integer[Tensor, "B R *spatial"],
        present: Bool[Tensor, "B R"],
    ) -> "AnnotatedVoxels":
        """Those of a mask."""
        image, place = chosen.flatten(1).nonzero(as_tuple=True)
        nothing, everybody = annotations.new_zeros(()), present.new_ones(1, present.shape[1], 1)
        row = cls(image, place, present, nothing.expand(1, present.shape[1], len(image)), everybody)
        labels = row.of_maps(annotations)
        silent = labels == IGNORE if any_silence(annotations) else None
        if silent is None and present.all():
            return replace(row, labels=labels)
        shown = row.of_images(present) if silent is None else row.of_images(present) & ~silent
        return replace(row, labels=labels if silent is None else labels.masked_fill(silent, 0), shown=shown)

    def of_maps(self, maps: Shaped[Tensor, "B N *spatial"]) -> Shaped[Tensor, "1 N D"]:
        """The maps' values at the voxels."""
        images = maps.flatten(2).unbind()
        rows = [flat.index_select(1, self.place[at]) for flat, at in zip(images, self.by_image, strict=True)]
        return torch.cat(rows, 1)[None]

    def of_images(self, values: Shaped[Tensor, "B N"]) -> Shaped[Tensor, "1 N D"]:
        """One value an image, at each of its voxels."""
        return values.T.index_select(1, self.image)[None]

    def write(self, maps: Float[Tensor, "B N *spatial"], row: Float[Tensor, "1 N D"]) -> None:
        """The inverse of ``of_maps``, into maps that are there."""
        for flat, at in zip(maps.flatten(2).unbind(), self.by_image, strict=True):
            flat.index_copy_(1, self.place[at], row[0, :, at])

    @cached_property
    def by_image(self) -> list[slice]:
        """Where in the row each image's voxels are."""
        counts = torch.bincount(self.image, minlength=len(self.present))
        return [slice(*ends) for ends in pairwise([0, *counts.cumsum(0).tolist()])]

    def some(self, positions: Integer[Tensor, " S"]) -> "AnnotatedVoxels":
        """Those at some positions of the row, ascending."""
        shown = self.shown if self.shown.shape[2] == 1 else self.shown.index_select(2, positions)
        labels = self.labels.index_select(2, positions)
        return replace(self, image=self.image[positions], place=self.place[positions], labels=labels, shown=shown)

    def renumbered(self, images: Bool[Tensor, " B"]) -> "AnnotatedVoxels":
        """As of a batch of some images only, which all its voxels are of."""
        return replace(self, image=(images.cumsum(0) - 1)[self.image], present=self.present[images])
