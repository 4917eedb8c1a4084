"""QAM, the quality assessment module: one number per annotation and image, and which of them are low."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from umanet.models.layers import MAX_POOL
from umanet.types import IGNORE

# Median absolute deviation to standard deviation, for a normal distribution.
MAD_TO_DEVIATION = 1.4826


def region_of_interest(
    annotations: Integer[Tensor, "B R *spatial"],
    present: Bool[Tensor, "B R"],
    probabilities: Float[Tensor, "B K *spatial"],
    margin: int,
) -> Bool[Tensor, "B *spatial"]:
    """Where a decision is made: the union of the present annotations' and the predicted foreground, dilated.

    Elsewhere everybody agrees, and on small objects that agreement would drown the rest. Where nothing at all is
    foreground, the region is the whole image.
    """
    shown = present.view(*present.shape, *[1] * (annotations.ndim - 2))
    region = ((annotations > 0) & (annotations != IGNORE) & shown).any(1) | (probabilities.max(1).indices > 0)
    if margin:
        grow = MAX_POOL[annotations.ndim - 2](2 * margin + 1, stride=1, padding=margin)
        region = grow(region[:, None].float())[:, 0] > 0
    nothing = ~region.flatten(1).any(1)
    return region | nothing.view(-1, *[1] * (region.ndim - 1))


def annotation_quality(
    reliability: Float[Tensor, "B R *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    region: Bool[Tensor, "B *spatial"],
    present: Bool[Tensor, "B R"],
) -> Float[Tensor, "B R"]:
    """The Dice of an annotation's foreground to be expected from its reliability map.

    NaN for absent annotators, and for annotations that say nothing (``IGNORE``) in all of the region.

    ``2 sum w [y > 0] / (2 sum w [y > 0] + sum (1 - w))`` over the region of interest, in [0, 1]. The Dice of an empty
    annotation is 1 only if it is right everywhere: then the least ``w`` in the region.
    """
    flat, labels = reliability.flatten(2), annotations.flatten(2)
    speaks = labels != IGNORE
    inside = (region.flatten(1)[:, None] & speaks).to(reliability.dtype)
    drawn = (labels > 0) & speaks
    right, wrong = (flat * inside * drawn).sum(2), ((1 - flat) * inside).sum(2)
    expected = 2 * right / (2 * right + wrong).clamp_min(1e-6)
    quality = torch.where(drawn.any(2), expected, flat.masked_fill(inside == 0, 1).amin(2))
    return quality.masked_fill(~(present & (inside > 0).any(2)), torch.nan)


class QualityAssessment(nn.Module):
    """Says which qualities are low, in comparison with the last ``memory`` ones.

    Low means ``q < median - max(k * 1.4826 * MAD, floor)``. The floor keeps good data whole: where all annotations
    are alike, the spread alone would call every fifth low.
    """

    remembered: Float[Tensor, " N"]

    def __init__(self, memory: int, k: float, floor: float):
        super().__init__()
        self.k, self.floor = k, floor
        self.register_buffer("remembered", torch.full((memory,), torch.nan))

    def remember(self, quality: Float[Tensor, "..."]) -> None:
        """Add qualities to the memory; the oldest leave. NaN (absent annotators) is passed over."""
        new = quality.detach()[~quality.isnan()].flatten()
        self.remembered.copy_(torch.cat([self.remembered, new])[-len(self.remembered) :])

    def threshold(self) -> Float[Tensor, ""]:
        """The quality below which an image or annotation is low; minus infinity while nothing is remembered."""
        known = self.remembered[~self.remembered.isnan()]
        if not len(known):
            return known.new_tensor(-torch.inf)
        # Not Tensor.median, which is the lower of the two middle values of an even number.
        middle = known.quantile(0.5)
        spread = self.k * MAD_TO_DEVIATION * (known - middle).abs().quantile(0.5)
        return middle - spread.clamp_min(self.floor)

    def is_low(self, quality: Float[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        """True where quality is low; NaN is not."""
        return quality < self.threshold().to(quality.device)  # maps may have stayed in main memory
