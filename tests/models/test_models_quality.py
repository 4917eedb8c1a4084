import itertools
import math
import statistics

import pytest
import torch

from umanet.metrics import dice
from umanet.models import QualityAssessment, annotation_quality, region_of_interest


@pytest.mark.parametrize("shape", [(7, 8), (5, 4, 6)], ids=["2D", "3D"])
@pytest.mark.parametrize("margin", [0, 1, 2])
def test_the_region_is_the_dilated_union_of_all_foreground(shape, margin):
    rng = torch.Generator().manual_seed(0)
    annotations = (torch.rand(2, 3, *shape, generator=rng) > 0.97).long()
    present = torch.tensor([[True, False, True], [True, True, False]])
    probabilities = torch.zeros(2, 2, *shape)
    probabilities[:, 0] = 0.6
    probabilities[:, 1] = 0.4
    probabilities[0, 1, ..., 0][(0,) * (len(shape) - 1)] = 0.7
    expected = torch.zeros(2, *shape, dtype=torch.bool)
    every = list(itertools.product(*map(range, shape)))
    for b in range(2):
        for at in every:
            votes = [annotations[(b, r, *at)] > 0 for r in range(3) if present[b, r]]
            if any(votes) or probabilities[(b, 1, *at)] > probabilities[(b, 0, *at)]:
                for near in every:
                    if all(abs(i - j) <= margin for i, j in zip(at, near, strict=True)):
                        expected[(b, *near)] = True
    highest = (annotations * present.view(2, 3, *[1] * len(shape))).amax(1)
    assert torch.equal(region_of_interest(highest, probabilities, margin), expected)


def test_the_region_is_the_whole_image_where_nothing_is_foreground():
    highest = torch.zeros(2, 4, 4, dtype=torch.long)
    highest[1, 0, 0] = 1
    background = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(2, 2, 4, 4).contiguous()
    region = region_of_interest(highest, background, 0)
    assert region[0].all()
    assert region[1].sum() == 1


def test_the_quality_of_an_annotation_is_the_dice_to_be_expected():
    """With w of 0 and 1 the truth is known: the annotation, turned round where w is 0."""
    rng = torch.Generator().manual_seed(0)
    w = (torch.rand(2, 3, 5, 4, generator=rng) > 0.3).float()
    drawn = torch.rand(2, 3, 5, 4, generator=rng) > 0.5
    present = torch.tensor([[True, False, True], [True, True, True]])
    quality = annotation_quality(w, drawn.long(), torch.ones_like(w), present)
    for b, r in itertools.product(range(2), range(3)):
        if present[b, r]:
            truth = drawn[b, r] ^ (w[b, r] == 0)
            assert float(quality[b, r]) == pytest.approx(dice(drawn[b, r], truth), rel=1e-5)
        else:
            assert quality[b, r].isnan()


def test_the_quality_of_probabilities_is_taken_inside_the_region():
    w = torch.tensor([[0.9, 0.4], [0.8, 0.5]])
    annotation = torch.tensor([[2, 1], [0, 0]])  # every class but the background counts
    region = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    quality = annotation_quality(w[None, None], annotation[None, None], region[None, None], torch.ones(1, 1).bool())
    right, wrong = 0.9 + 0.4, 0.1 + 0.6 + 0.2
    assert float(quality) == pytest.approx(2 * right / (2 * right + wrong))


def test_an_empty_annotation_is_as_good_as_its_worst_voxel_in_the_region():
    w, region = torch.tensor([[0.2, 0.4, 0.1]]), torch.tensor([[1.0, 1.0, 0.0]])
    empty = torch.zeros(1, 1, 1, 3).long()
    quality = annotation_quality(w[None, None], empty, region[None, None], torch.ones(1, 1).bool())
    assert float(quality) == pytest.approx(0.2)


def looped_threshold(values, k, floor):
    median = statistics.median(values)
    mad = statistics.median(abs(value - median) for value in values)
    return median - max(k * 1.4826 * mad, floor)


@pytest.mark.parametrize("spread", [0.001, 0.1])
@pytest.mark.parametrize("k", [1.0, 2.0])
@pytest.mark.parametrize("count", [1, 20, 21])
def test_low_is_below_the_median_less_the_spread_or_the_floor(spread, k, count):
    values = [0.8 + spread * math.sin(5 * number) for number in range(count)]
    assessor = QualityAssessment(memory=30, k=k, floor=0.05)
    assessor.remember(torch.tensor(values))
    threshold = looped_threshold(values, k, 0.05)
    assert float(assessor.threshold()) == pytest.approx(threshold, abs=1e-6)
    assert assessor.is_low(torch.tensor([threshold - 1e-4, threshold + 1e-4, math.nan])).tolist() == [
        True,
        False,
        False,
    ]


def test_nothing_is_low_while_nothing_is_remembered():
    assert not QualityAssessment(memory=8, k=2.0, floor=0.05).is_low(torch.tensor([0.0, 0.5])).any()


def test_the_memory_forgets_the_oldest_and_passes_over_the_absent():
    assessor = QualityAssessment(memory=4, k=2.0, floor=0.05)
    assessor.remember(torch.tensor([0.1, 0.2, math.nan]))
    assessor.remember(torch.tensor([[0.3, math.nan], [0.4, 0.5]]))
    torch.testing.assert_close(assessor.remembered, torch.tensor([0.2, 0.3, 0.4, 0.5]))
    assessor.remember(torch.arange(10.0))
    torch.testing.assert_close(assessor.remembered, torch.tensor([6.0, 7.0, 8.0, 9.0]))


def test_the_memory_is_saved_with_the_weights():
    assessor, other = (QualityAssessment(memory=4, k=2.0, floor=0.05) for _ in range(2))
    assessor.remember(torch.tensor([0.3, 0.4]))
    other.load_state_dict(assessor.state_dict())
    torch.testing.assert_close(other.threshold(), assessor.threshold())
