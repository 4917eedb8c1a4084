"""What a training draw depends on, and what is kept in memory."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from fake_data.discs import write_discs
from umanet.config import AugmentOptions, DataOptions
from umanet.data.dataset import EpochSampler, PreparedCases, TrainingDataset
from umanet.data.transforms import foreground_voxels

PATCH = (16, 16)
STILL = AugmentOptions(probability=0, intensity=0, noise=0)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs"))


def prepared(index, **options):
    return PreparedCases(index.select("train"), index, DataOptions(**options))


def majority(sample, epoch):
    share = (sample.annotations.float() * sample.present.view(-1, 1, 1)).sum(0) / sample.present.sum()
    return torch.stack([1 - share, share])


def training(index, target=majority, *, changes=False, seed=0, **options):
    return TrainingDataset(prepared(index, **options), target, target_depends_on_epoch=changes, patch=PATCH, seed=seed)


def arrays(sample):
    return {name: value for name, value in vars(sample).items() if name in ("image", "annotations", "target")}


def assert_same(first, second):
    torch.testing.assert_close(arrays(first), arrays(second), rtol=0, atol=0)


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
    assert not torch.equal(drawn[0, 0, 0].image, drawn[other].image)


def test_another_seed_draws_another_patch(index):
    assert not torch.equal(training(index)[0, 0, 0].image, training(index, seed=1)[0, 0, 0].image)


def test_drawing_does_not_change_what_is_kept(index):
    drawn = training(index)
    drawn.patch = tuple(drawn.cases[0].image.shape[1:])  # no crop: the kept tensors themselves are augmented
    drawn[0, 0, 0]
    before = {name: value.clone() for name, value in arrays(drawn.cases[0]).items()}
    for position in range(8):
        drawn[0, position, 0]
    torch.testing.assert_close(arrays(drawn.cases[0]), before, rtol=0, atol=0)


class Counting:
    """A target that counts how often it is asked for."""

    def __init__(self):
        self.calls = Counter()

    def __call__(self, sample, epoch):
        self.calls[sample.case] += 1
        return majority(sample, epoch)


@pytest.mark.parametrize(("changes", "calls"), [(False, 1), (True, 3)])
def test_a_target_is_made_once_unless_it_changes_with_the_epoch(index, changes, calls):
    target = Counting()
    drawn = training(index, target, changes=changes)
    for epoch in range(3):
        drawn[epoch, 0, 1]
    assert target.calls == {"disc1": calls}


def test_a_target_that_changes_is_that_of_its_epoch(index):
    def epoch_everywhere(sample, epoch):
        return torch.full((2, *sample.image.shape[1:]), float(epoch))

    drawn = training(index, epoch_everywhere, changes=True, augment=STILL)
    assert [float(drawn[epoch, 0, 0].target.mean()) for epoch in (2, 0, 1)] == [2.0, 0.0, 1.0]


def test_the_target_is_fused_on_the_whole_case_before_it_is_cropped(index):
    seen = []

    def remember_shape(sample, epoch):
        seen.append(tuple(sample.annotations.shape[1:]))
        return majority(sample, epoch)

    sample = training(index, remember_shape, augment=STILL)[0, 0, 0]
    assert seen == [(20, 26)]
    assert_same(sample, replace(sample, target=majority(sample, 0)))


def test_cases_are_read_once_while_there_is_room(index):
    roomy, full = prepared(index), prepared(index, cache_gib=0)
    assert roomy[0] is roomy[0]
    assert full[0] is not full[0]
    assert_same(full[0], roomy[0])


def test_no_more_is_kept_than_there_is_room_for(index):
    bytes_of_a_case = 20 * 26 * (4 + 3 + 1)  # image, three annotations, truth
    cases = prepared(index, cache_gib=2.5 * bytes_of_a_case / 2**30)
    kept = [cases[number] is cases[number] for number in range(4)]
    assert kept == [True, True, False, False]


def test_a_target_counts_against_the_room(index):
    case, target = 20 * 26 * (4 + 3 + 1), 20 * 26 * 2 * 4
    counting = Counting()
    drawn = training(index, counting, cache_gib=(case + 0.5 * target) / 2**30)
    drawn[0, 0, 0], drawn[0, 1, 0]
    assert counting.calls == {"disc0": 2}


def test_foreground_is_searched_once_while_there_is_room(index, monkeypatch):
    searched = Counter()

    def search(sample):
        searched[sample.case] += 1
        return foreground_voxels(sample)

    monkeypatch.setattr("umanet.data.dataset.foreground_voxels", search)
    bytes_of_a_case = 20 * 26 * (4 + 3 + 1 + 2 * 4)
    for room, searches in [(4.0, 1), (0.0, 3), (bytes_of_a_case / 2**30, 3)]:
        searched.clear()
        drawn = training(index, cache_gib=room, foreground=1.0)
        first = [drawn[0, position, 1] for position in range(3)]
        assert searched == {"disc1": searches}
        for position, sample in enumerate(first):
            assert_same(sample, training(index, foreground=1.0)[0, position, 1])


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
