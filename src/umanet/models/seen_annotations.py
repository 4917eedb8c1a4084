"""What a training step has to know of single annotations: where a decision is made, and where weights decide it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from umanet.models.annotated_voxels import AnnotatedVoxels
from umanet.models.region import anybody_silent, disputed, highest_said, one_hot, region_of_interest
from umanet.types import Batch, rest_votes


@dataclass(frozen=True)
class SeenAnnotations:
    """Of a batch, what has to be known of single annotations.

    Attributes:
        row: Voxels of the region of interest, and the unsettled ones.
        counted: 1 where an annotation says something in the region of interest, else 0.
        probabilities: Of the primary predictor.
        unsettled: Where in the row weights decide: the annotations differ, or not all say something.
        some: The unsettled voxels.
        contrary: Where among these annotations differ.
        settled: The target where nothing has to be decided.
    """

    row: AnnotatedVoxels
    counted: Float[Tensor, "1 R D"]
    probabilities: Float[Tensor, "1 K D"]
    unsettled: Integer[Tensor, " S"]
    some: AnnotatedVoxels
    contrary: Bool[Tensor, " S"]
    settled: Float[Tensor, "B K *spatial"]

    @classmethod
    def of(
        cls,
        batch: Batch,
        probabilities: Float[Tensor, "B K *spatial"],
        margin: int,
        drawn: tuple[tuple[int, ...], ...],
        *,
        all_unsettled: bool,
    ) -> "SeenAnnotations":
        """Of a batch, in whose region of interest the predicted foreground lies, too, dilated by ``margin``.

        Unsettled is everything where an annotator draws some classes only (``drawn``, as ``Task.drawn``): what label 0
        then stands for depends on the probabilities.
        """
        highest, classes = highest_said(batch), probabilities.shape[1]
        rest = rest_votes(batch.annotations, drawn, classes)
        region = region_of_interest(highest, probabilities, margin)
        contrary = disputed(batch, highest, rest, classes)
        unsettled = torch.ones_like(contrary) if all_unsettled or rest else contrary | anybody_silent(batch)
        row = AnnotatedVoxels.choose(region | unsettled, batch)
        inside, contrary, unsettled = row.of_maps(torch.stack([region, contrary, unsettled], 1))[0]
        positions = unsettled.nonzero()[:, 0]
        return cls(
            row,
            inside * row.shown.float(),
            row.of_maps(probabilities),
            positions,
            row.some(positions),
            contrary[positions],
            one_hot(highest, classes),
        )
