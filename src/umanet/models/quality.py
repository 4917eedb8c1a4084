"""QAM, the quality assessment module: one number per annotation and image, and which of them are low."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

# Median absolute deviation to standard deviation, for a normal distribution.
MAD_TO_DEVIATION = 1.4826


def annotation_quality(
    reliability: Float[Tensor, "B R *spatial"],
    annotations: Integer[Tensor, "B R *spatial"],
    counted: Float[Tensor, "B R *spatial"],
    present: Bool[Tensor, "B R"],
) -> Float[Tensor, "B R"]:
    """The Dice of an annotation's foreground to be expected from its reliability map.

    NaN for absent annotators, and for annotations that say nothing (``IGNORE``) in all of the region.

    ``2 sum w [y > 0] / (2 sum w [y > 0] + sum (1 - w))`` over what is ``counted`` (1, or 0: the region of interest,
    where an annotation says something), in [0, 1]. The Dice of an empty annotation is 1 only if it is right
    everywhere: then the least ``w`` in the region.
    """
    flat, inside = reliability.flatten(2), counted.flatten(2)
    drawn = torch.gt(annotations.flatten(2), 0, out=torch.empty_like(flat)).mul_(inside)
    area, size = drawn.sum(2), inside.sum(2)
    right = drawn.mul_(flat).sum(2)
    wrong = size - (flat * inside).sum(2)
    least = torch.maximum(flat, 1 - inside).amin(2)
    quality = torch.where(area > 0, 2 * right / (2 * right + wrong).clamp_min(1e-6), least)
    return quality.masked_fill(~present | (size == 0), torch.nan)


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
        both = torch.cat([self.remembered, quality.detach().flatten()])
        # In the order they came, NaN first: no number of them is asked for, which an accelerator would be waited for.
        known = both[(~both.isnan()).byte().argsort(stable=True)]
        self.remembered.copy_(known[-len(self.remembered) :])

    def threshold(self) -> Float[Tensor, ""]:
        """The quality below which an image or annotation is low; minus infinity while nothing is remembered."""
        # Not Tensor.nanmedian, which is the lower of the two middle values of an even number.
        middle = self.remembered.nanquantile(0.5)
        spread = self.k * MAD_TO_DEVIATION * (self.remembered - middle).abs().nanquantile(0.5)
        return (middle - spread.clamp_min(self.floor)).nan_to_num(-torch.inf)

    def is_low(self, quality: Float[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
        """True where quality is low; NaN is not."""
        return quality < self.threshold().to(quality.device)  # maps may have stayed in main memory
