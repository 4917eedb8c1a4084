import numpy as np
import pytest

from umanet.simulation.annotators import (
    Border,
    ClassSwap,
    Displacement,
    Empty,
    ExtraObject,
    MissedObject,
    OneOf,
    Recipe,
    SliceJitter,
    WrongStructure,
    annotate,
    equivalent_radii,
)
from umanet.simulation.phantoms import chest_xray, ellipsoids
from umanet.simulation.scenarios import GOOD, OVER, SLOPPY, UNDER, WRONG

FAULTS = {
    "over": Border(offset=(0.3, 0.3)),
    "under": Border(offset=(-0.3, -0.3)),
    "jitter": Border(jitter=0.2),
    "slices": SliceJitter(jitter=0.3),
    "shift": Displacement(shift=(0.5, 0.5)),
    "rotation": Displacement(rotation=30.0),
    "missed": MissedObject(),
    "extra": ExtraObject(),
    "empty": Empty(),
    "wrong place": WrongStructure(),
    "class swap": ClassSwap(),
    "recipe": Recipe((Border(jitter=0.2), OneOf(((Empty(), 0.5), (ClassSwap(), 0.5))))),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def lungs(seed=0, size=96):
    return chest_xray(rng(seed), size)[1]


def volume(seed=0):
    return ellipsoids(rng(seed))[1]


def disc(size=64, radius=13.0, centre=(32, 32)):
    y, x = np.ogrid[:size, :size]
    return (np.hypot(y - centre[0], x - centre[1]) < radius).astype(np.uint8)


def dice(a, b):
    return 2 * np.sum((a > 0) & (b > 0)) / max(1, np.sum(a > 0) + np.sum(b > 0))


def mean_dice(recipe, cases=30):
    return np.mean([dice(annotate(lungs(i), recipe, rng(i)), lungs(i)) for i in range(cases)])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("labels", [lungs(), volume()], ids=["2D", "3D multi-class"])
def test_an_annotation_has_the_form_of_the_truth_and_no_new_class(fault, labels):
    truth = labels.copy()
    drawn = annotate(labels, fault, rng())
    assert drawn.shape == labels.shape and drawn.dtype == labels.dtype
    assert set(np.unique(drawn)) <= set(np.unique(labels))
    assert (labels == truth).all() and not np.shares_memory(drawn, labels)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)])
def test_an_empty_truth_stays_empty(fault, shape):
    assert not annotate(np.zeros(shape, np.uint8), fault, rng()).any()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize(
    "labels", [np.ones((9, 9), np.uint8), np.pad(np.ones((1, 1), np.uint8), 4)], ids=["full", "dot"]
)
def test_extreme_sizes_are_drawn_without_complaint(fault, labels):
    assert annotate(labels, fault, rng()).shape == labels.shape


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_same_generator_draws_the_same(fault):
    first, second = annotate(volume(), fault, rng(5)), annotate(volume(), fault, rng(5))
    assert (first == second).all()


def test_the_equivalent_radius_is_that_of_a_disc_and_of_a_ball():
    z = np.indices((31, 31, 31)) - 15
    ball = ((z**2).sum(0) < 10.2**2).astype(np.uint8)
    assert equivalent_radii(disc(radius=13.0))[1] == pytest.approx(13, abs=0.2)
    assert equivalent_radii(ball)[1] == pytest.approx(10.2, abs=0.2)


def test_the_equivalent_radius_averages_objects_and_ignores_specks():
    two = disc(radius=10, centre=(16, 16)) + disc(radius=10, centre=(48, 48))
    assert equivalent_radii(two)[1] == pytest.approx(10, abs=0.2)
    two[0, 63] = 1
    assert equivalent_radii(two)[1] == pytest.approx(10, abs=0.2)


def test_the_equivalent_radius_is_in_millimetres():
    assert equivalent_radii(disc(), (0.5, 2.0))[1] == pytest.approx(13, abs=0.2)
    assert equivalent_radii(disc(), (2.0, 2.0))[1] == pytest.approx(26, abs=0.4)


@pytest.mark.parametrize(("amount", "radius"), [(0.34, 16.9), (-0.34, 9.1)])
def test_an_offset_moves_the_border_by_its_share_of_the_radius(amount, radius):
    # 0.04 of 0.34 is tolerance: 30 % of 13.
    drawn = annotate(disc(), Border(offset=(amount, amount)), rng())
    assert equivalent_radii(drawn)[1] == pytest.approx(radius, abs=0.4)


def test_an_offset_respects_the_spacing():
    drawn = annotate(disc(), Border(offset=(0.4, 0.4)), rng(), (1.0, 4.0))
    rows, columns = np.nonzero(drawn & ~disc())
    assert np.ptp(rows) > np.ptp(np.nonzero(disc())[0]) + 10
    assert np.ptp(columns) <= np.ptp(np.nonzero(disc())[1]) + 6


def test_either_sign_goes_inwards_as_often_as_outwards():
    fault = Border(offset=(0.3, 0.3), either_sign=True)
    larger = [annotate(disc(), fault, rng(i)).sum() > disc().sum() for i in range(60)]
    assert 15 < sum(larger) < 45


def test_jitter_moves_the_border_both_ways_and_keeps_the_size_in_the_mean():
    sizes = [annotate(disc(), Border(jitter=0.15), rng(i)).sum() / disc().sum() for i in range(40)]
    drawn = annotate(disc(), Border(jitter=0.15), rng())
    assert (drawn & ~disc()).any() and (disc() & ~drawn).any()
    assert np.mean(sizes) == pytest.approx(1, abs=0.06)


def test_amounts_mean_the_same_at_any_resolution():
    recipe = Border(jitter=0.15)
    small = np.mean([dice(annotate(disc(), recipe, rng(i)), disc()) for i in range(30)])
    large = disc(256, 52.0, (128, 128))
    assert np.mean([dice(annotate(large, recipe, rng(i)), large) for i in range(30)]) == pytest.approx(small, abs=0.02)


def test_a_shift_moves_the_drawing_by_its_share_of_the_radius():
    for spacing in ((1.0, 1.0), (1.0, 2.0)):
        radius = equivalent_radii(disc(), spacing)[1]
        drawn = annotate(disc(), Displacement(shift=(0.5, 0.5)), rng(), spacing)
        moved = (np.argwhere(drawn).mean(0) - np.argwhere(disc()).mean(0)) * spacing
        assert np.linalg.norm(moved) == pytest.approx(0.5 * radius, abs=0.6)


def test_a_rotation_turns_about_the_centre_and_keeps_the_size():
    bar = np.zeros((64, 64), np.uint8)
    bar[30:34, 12:52] = 1
    drawn = annotate(bar, Displacement(rotation=60.0), rng(3))
    assert np.argwhere(drawn).mean(0) == pytest.approx(np.argwhere(bar).mean(0), abs=0.5)
    assert np.count_nonzero(drawn) == pytest.approx(np.count_nonzero(bar), rel=0.1)
    assert np.ptp(np.nonzero(drawn)[0]) > 8


def test_a_missed_object_is_one_lung():
    drawn = annotate(lungs(), MissedObject(), rng())
    assert 0.25 < drawn.sum() / lungs().sum() < 0.75
    assert not (drawn & ~lungs()).any()


def test_a_missed_object_of_several_classes_is_one_of_one_class():
    drawn = annotate(volume(), MissedObject(), rng())
    lost = [k for k in (1, 2) if not (drawn == k).any()]
    assert len(lost) == 1
    kept = 3 - lost[0]
    assert ((drawn == kept) == (volume() == kept)).all()


def test_an_extra_object_lies_elsewhere_and_leaves_the_rest_alone():
    drawn = annotate(disc(centre=(20, 20)), ExtraObject(), rng())
    extra = drawn - disc(centre=(20, 20))
    assert 0.03 < extra.sum() / disc().sum() < 0.6
    assert np.linalg.norm(np.argwhere(extra).mean(0) - 20) > 13


def test_a_wrong_structure_hardly_overlaps_the_right_one():
    off_centre, centred = disc(centre=(16, 20), radius=10), disc(centre=(31.5, 31.5))
    assert dice(annotate(off_centre, WrongStructure(), rng()), off_centre) < 0.1
    assert dice(annotate(centred, WrongStructure(), rng()), centred) < 0.1


def test_a_class_swap_changes_the_classes_and_not_the_foreground():
    drawn = annotate(volume(), ClassSwap(), rng())
    assert ((drawn == 1) == (volume() == 2)).all() and ((drawn == 2) == (volume() == 1)).all()


def test_slices_jitter_one_by_one():
    tube = np.repeat(disc(48, 10.0, (24, 24))[..., None], 12, axis=2)

    def changes(drawn):
        return np.mean(drawn[..., 1:] != drawn[..., :-1])

    smooth = annotate(tube, Border(jitter=0.2), rng())
    assert changes(annotate(tube, SliceJitter(jitter=0.2), rng())) > 2 * changes(smooth)


def test_classes_that_touch_keep_touching():
    halves = disc()
    halves[:, 32:] *= 2
    drawn = annotate(halves, Border(jitter=0.3), rng())
    assert {1, 2} <= set(np.unique(drawn))
    # Between two classes there is no gap: a row through the middle has background only at its ends.
    row = np.trim_zeros(drawn[32])
    assert row.all()


def test_one_of_several_faults_comes_with_its_share():
    fault = OneOf(((Empty(), 0.3), (Border(), 0.7)))
    empty = [not annotate(disc(), fault, rng(i)).any() for i in range(300)]
    assert np.mean(empty) == pytest.approx(0.3, abs=0.08)


def test_the_recipes_of_the_scenarios_are_as_bad_as_their_names():
    good, over, under, sloppy, wrong = (mean_dice(r) for r in (GOOD, OVER, UNDER, SLOPPY, WRONG))
    assert 0.93 < good < 0.98
    assert 0.70 < over < 0.85
    assert 0.50 < under < 0.80
    assert 0.60 < sloppy < 0.82
    assert 0.30 < wrong < 0.55


def test_a_recipe_describes_itself_in_plain_values():
    described = OVER.describe()
    assert described["fault"] == "Recipe"
    assert described["faults"][0] == {"fault": "Border", "offset": [0.16, 0.39], "jitter": 0.12, "either_sign": False}
