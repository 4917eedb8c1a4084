"""What a training draw depends on, and what is kept in memory."""

from collections import Counter

import pytest
import torch

from fake_data.discs import write_discs
from umanet.config import AugmentOptions, DataOptions
from umanet.data.augment import augmented
from umanet.data.case_cache import CaseCache
from umanet.data.dataset import EpochSampler, PreparedCases, TrainingDataset
from umanet.data.patches import stack

PATCH = (16, 16)
STILL = AugmentOptions(probability=0, intensity=0, noise=0)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs"))


def majority(sample, epoch=0):
    share = (sample.annotations.float() * sample.present.view(-1, 1, 1)).sum(0) / sample.present.sum()
    return torch.stack([1 - share, share])


def prepared(index, target=majority, **options):
    return PreparedCases(index.select("train"), index, DataOptions(**options), target=target)


def training(index, target=majority, *, changing=None, seed=0, **options):
    cases = prepared(index, None if changing else target, **options)
    return TrainingDataset(cases, patch=PATCH, seed=seed, target=changing)


def batch_of(*patches):
    return vars(augmented(stack(patches)))


def assert_same(first, second):
    torch.testing.assert_close(batch_of(first), batch_of(second), rtol=0, atol=0)


def test_a_draw_depends_on_seed_epoch_position_and_case_only(index):
    draws = [(0, 0, 0), (0, 1, 2), (1, 0, 0), (1, 3, 2)]
    forwards, backwards = training(index), training(index)
    first = {draw: forwards[draw] for draw in draws}
    second = {draw: backwards[draw] for draw in reversed(draws)}
    for draw in draws:
        assert_same(first[draw], second[draw])


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0)], ids=["epoch", "position"])
def test_another_epoch_or_position_draws_another_patch(index, other):
    drawn = training(index)
    assert not torch.equal(batch_of(drawn[0, 0, 0])["image"], batch_of(drawn[other])["image"])


def test_another_seed_draws_another_patch(index):
    ours, others = training(index), training(index, seed=1)
    assert not torch.equal(batch_of(ours[0, 0, 0])["image"], batch_of(others[0, 0, 0])["image"])


def test_drawing_does_not_change_what_is_kept(index):
    drawn = training(index)
    drawn.patch = drawn.cases[0].shape  # nothing is cut: the kept tensors themselves are changed
    before = drawn.cases[0].whole()
    for position in range(8):
        batch_of(drawn[0, position, 0])
    after = drawn.cases[0].whole()
    assert torch.equal(after.image, before.image)
    assert torch.equal(after.annotations, before.annotations)


class Counting:
    """A target that counts how often it is asked for."""

    def __init__(self):
        self.calls = Counter()

    def __call__(self, sample, epoch=0):
        self.calls[sample.case] += 1
        return majority(sample)


def test_a_target_is_made_once(index):
    target = Counting()
    drawn = training(index, target)
    for epoch in range(3):
        drawn[epoch, 0, 1]
    assert target.calls == {"disc1": 1}


def test_a_target_that_changes_is_that_of_its_epoch(index):
    def epoch_everywhere(sample, epoch):
        return torch.full((2, *sample.image.shape[1:]), float(epoch))

    drawn = training(index, changing=epoch_everywhere, augment=STILL)
    assert [float(drawn[epoch, 0, 0].target.mean()) for epoch in (2, 0, 1)] == [2.0, 0.0, 1.0]


def test_a_target_that_changes_is_made_of_what_is_seen(index):
    once, anew = training(index, augment=STILL)[0, 0, 0], training(index, changing=majority, augment=STILL)[0, 0, 0]
    assert_same(once, anew)


def test_the_target_is_fused_on_the_whole_case_before_it_is_cut(index):
    seen = []

    def remember_shape(sample):
        seen.append(tuple(sample.annotations.shape[1:]))
        return majority(sample)

    batch = batch_of(training(index, remember_shape, augment=STILL)[0, 0, 0])
    assert seen == [(20, 26)]
    share = batch["annotations"][0].float().sum(0) / 3
    torch.testing.assert_close(batch["target"][0, 1], share)


def test_cases_are_read_once_while_there_is_room(index):
    roomy, full = prepared(index), prepared(index, cache_gib=0)
    assert roomy[0] is roomy[0]
    assert full[0] is not full[0]
    assert torch.equal(full[0].whole().image, roomy[0].whole().image)


def test_no_more_is_kept_than_there_is_room_for(index):
    cases = prepared(index)
    sizes = [cases[number].nbytes for number in range(4)]
    cases = prepared(index, cache_gib=(sum(sizes[:2]) + 0.5 * min(sizes)) / 2**30)
    assert [cases[number] is cases[number] for number in range(4)] == [True, True, False, False]


def test_what_does_not_fit_into_memory_goes_to_the_folder(index, tmp_path):
    size = prepared(index)[0].nbytes
    options = DataOptions(cache_gib=1.5 * size / 2**30)
    target = Counting()
    disk = CaseCache(tmp_path, index, options)
    cases = PreparedCases(index.select("train"), index, options, disk, target, "majority")
    for _ in range(2):
        for number in range(4):
            assert torch.equal(cases[number].whole().image, prepared(index)[number].whole().image)
    assert len(list(tmp_path.glob("v*/*.safetensors"))) == 2 * 3  # all but the first, and their targets
    assert cases[1] is cases[1]
    assert target.calls["disc0"] == target.calls["disc2"] == 1


def drawn_in(epoch, cases, draws, seed=0):
    return list(EpochSampler(cases, draws, 1, seed, lambda: epoch))


@pytest.mark.parametrize(("cases", "draws"), [(7, 5), (3, 10), (4, 4), (1, 3)])
def test_the_sampler_goes_round_all_cases_evenly(cases, draws):
    seen = []
    for epoch in range(cases):
        drawn = drawn_in(epoch, cases, draws)
        assert [(e, position) for e, position, _ in drawn] == [(epoch, position) for position in range(draws)]
        seen += [number for _, _, number in drawn]
    for end in range(cases, len(seen) + 1, cases):
        assert set(Counter(seen[:end]).values()) == {end // cases}


def test_the_sampler_asks_for_the_epoch_whenever_one_begins():
    epochs = iter([0, 1, 5])
    sampler = EpochSampler(7, 5, 1, seed=3, epoch=lambda: next(epochs))
    assert len(sampler) == 5
    assert [list(sampler) for _ in range(3)] == [drawn_in(epoch, 7, 5, seed=3) for epoch in (0, 1, 5)]


def test_every_turn_and_seed_has_another_order():
    def order(epoch, seed):
        return [number for *_, number in drawn_in(epoch, 50, 50, seed)]

    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)
