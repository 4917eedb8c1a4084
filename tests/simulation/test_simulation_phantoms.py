import functools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from umanet.simulation.phantoms import brain_tumour, breast_dce, chest_xray, ellipsoids, fundus, write_phantoms
from umanet.simulation.phantoms.shading import tubes

PHANTOMS = [chest_xray(np.random.default_rng(i), 96) for i in range(30)]


def test_a_phantom_has_two_lungs_of_a_plausible_size():
    for image, labels in PHANTOMS:
        assert image.shape == labels.shape == (96, 96)
        assert image.min() >= 0 and image.max() <= 1
        assert ndimage.label(labels)[1] == 2
        assert 0.12 < labels.mean() < 0.45


def test_lungs_are_darker_than_the_tissue_around_them():
    for image, labels in PHANTOMS:
        ring = ndimage.binary_dilation(labels, iterations=6) & ~ndimage.binary_dilation(labels, iterations=2)
        assert image[labels > 0].mean() < image[ring].mean() - 0.05


def test_phantoms_differ_in_shape_and_exposure():
    sizes = [labels.mean() for _, labels in PHANTOMS]
    assert np.std(sizes) > 0.01
    assert np.std([image.mean() for image, _ in PHANTOMS]) > 0.02


def test_a_threshold_does_not_find_the_lungs():
    # Else the image alone would be trivial and nothing could be learned from annotators.
    def best_dice(image, labels):
        masks = [image < t for t in np.linspace(0.05, 0.95, 40)]
        return max(2 * (m & (labels > 0)).sum() / (m.sum() + labels.sum()) for m in masks)

    assert np.mean([best_dice(*phantom) for phantom in PHANTOMS]) < 0.9


def test_a_phantom_looks_the_same_at_another_size():
    small, large = (chest_xray(np.random.default_rng(1), size)[1] for size in (64, 128))
    assert large.mean() == pytest.approx(small.mean(), rel=0.2)


@pytest.mark.parametrize(("shape", "classes"), [((24, 28, 20), 3), ((32, 32, 16), 2), ((40, 40), 4)])
def test_ellipsoids_hold_every_class_brighter_than_the_one_before(shape, classes):
    image, labels = ellipsoids(np.random.default_rng(0), shape, classes)
    assert image.shape == labels.shape == shape
    means = [image[labels == k].mean() for k in range(classes)]
    assert means == sorted(means)
    assert all((labels == k).mean() > 0.02 for k in range(classes))


def test_written_phantoms_are_pairs_of_the_same_name(tmp_path):
    write_phantoms(tmp_path, cases=3, size=48, seed=1)
    images, truths = (sorted(p.name for p in (tmp_path / f).iterdir()) for f in ("images", "truth"))
    assert images == truths == ["phantom_000.png", "phantom_001.png", "phantom_002.png"]
    truth = np.asarray(Image.open(tmp_path / "truth" / "phantom_000.png"))
    assert truth.shape == (48, 48) and set(np.unique(truth)) == {0, 255}


def test_more_phantoms_leave_the_first_ones_as_they_are(tmp_path):
    write_phantoms(tmp_path / "few", cases=1, size=32)
    write_phantoms(tmp_path / "many", cases=2, size=32)
    name = "images/phantom_000.png"
    assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


KINDS = {
    "fundus": (fundus, (3, 96, 96), (96, 96), 2),
    "breast": (breast_dce, (3, 48, 48, 24), (48, 48, 24), 1),
    "brain": (brain_tumour, (4, 96, 96), (96, 96), 3),
}


@functools.cache
def drawn(kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    draw, _, shape, _ = KINDS[kind]
    return [draw(np.random.default_rng(i), shape if len(shape) == 3 else shape[0]) for i in range(30)]


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_between_0_and_1_and_labels_are_those_that_are_promised(kind):
    _, of_image, of_labels, classes = KINDS[kind]
    for image, labels in drawn(kind):
        assert image.shape == of_image and labels.shape == of_labels and labels.dtype == np.uint8
        assert image.min() >= 0 and 0.3 < image.max() <= 1 and np.isfinite(image).all()
        assert labels.max() == classes and (labels == 0).mean() > 0.5
    assert {value for _, labels in drawn(kind) for value in np.unique(labels)} == set(range(classes + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_phantom_and_another_one_another(kind):
    draw = KINDS[kind][0]
    image, labels = draw(np.random.default_rng(3))
    again, same = draw(np.random.default_rng(3))
    other, different = draw(np.random.default_rng(4))
    assert (image == again).all() and (labels == same).all()
    assert (image != other).mean() > 0.5 and (labels != different).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_structure_with_those_inside_it_is_one_piece(kind):
    for _, labels in drawn(kind):
        assert ndimage.label(labels)[1] == 1
        assert len(labels[labels > 0]) > 30


def dice_of(mask: np.ndarray, other: np.ndarray) -> float:
    return 2 * (mask & other).sum() / (mask.sum() + other.sum())


def best_threshold(image: np.ndarray, mask: np.ndarray) -> float:
    return max(dice_of(image > t, mask) for t in np.linspace(0.05, 0.95, 40))


@pytest.mark.parametrize("kind", KINDS)
def test_a_threshold_of_any_channel_does_not_find_the_structure(kind):
    best = [max(best_threshold(channel, labels > 0) for channel in image) for image, labels in drawn(kind)]
    assert 0.2 < np.mean(best) < 0.9


def test_the_cup_lies_in_the_disc_and_nowhere_at_its_border():
    for _, labels in drawn("fundus"):
        cup = labels == 2
        assert cup.any() and not (ndimage.binary_dilation(cup, np.ones((3, 3))) & (labels == 0)).any()
        assert 0.04 < cup.sum() / (labels > 0).sum() < 0.75


def test_the_cup_is_paler_than_the_rim_and_the_rim_than_the_retina():
    for image, labels in drawn("fundus"):
        around = ndimage.binary_dilation(labels > 0, iterations=8) & ~ndimage.binary_dilation(labels > 0, iterations=3)
        green = image[1]
        # The upper quartile: vessels cross all three.
        cup, rim, retina = (np.quantile(green[where], 0.75) for where in (labels == 2, labels == 1, around))
        assert cup > rim > retina + 0.02


def test_a_lesion_takes_up_contrast_early_and_more_than_what_is_around_it():
    for (before, early, _), labels in drawn("breast"):
        lesion, uptake = labels > 0, early - before
        around = ndimage.binary_dilation(lesion, iterations=5) & ~ndimage.binary_dilation(lesion, iterations=2)
        assert uptake[lesion].mean() > 0.1
        assert uptake[lesion].mean() > 2 * uptake[around].mean()


def test_something_that_is_no_lesion_enhances_as_much_as_one():
    def distractors(image, labels):
        uptake = ndimage.gaussian_filter(image[1] - image[0], 0.7)
        far = ~ndimage.binary_dilation(labels > 0, iterations=3)
        return (far & (uptake > uptake[labels > 0].mean())).sum()

    assert np.mean([distractors(*phantom) > 5 for phantom in drawn("breast")]) > 0.3


def test_glandular_tissue_enhances_later_than_a_lesion():
    gains = []
    for (before, early, late), labels in drawn("breast"):
        lesion = labels > 0
        gland = (before > 0.24) & ~ndimage.binary_dilation(lesion, iterations=4)
        gland[:, :12] = False  # the chest wall
        gains.append(((late - early)[lesion].mean(), (late - early)[gland].mean()))
    of_lesion, of_gland = np.mean(gains, axis=0)
    assert of_lesion < 0 < of_gland


def test_contrasts_show_of_a_tumour_what_they_show_in_a_scanner():
    for (plain, contrast, _, flair), labels in drawn("brain"):
        around = ndimage.binary_dilation(labels > 0, iterations=5) & ~ndimage.binary_dilation(labels > 0, iterations=2)
        assert contrast[labels == 3].mean() > contrast[labels == 1].mean() + 0.1
        assert flair[labels == 1].mean() > flair[around].mean() + 0.1
        assert contrast[labels == 3].mean() / contrast[around].mean() > plain[labels == 3].mean() / plain[around].mean()


def test_an_enhancing_rim_lies_around_the_middle_of_the_core():
    with_middle = 0
    for _, labels in drawn("brain"):
        assert (labels == 3).any() and (labels == 1).any()
        middle = labels == 2
        assert not (ndimage.binary_dilation(middle) & (labels < 2)).any()
        with_middle += middle.any()
    assert with_middle > 20


def test_written_phantoms_in_colour_keep_their_channels_and_labels(tmp_path):
    write_phantoms(tmp_path, cases=1, size=48, seed=1, draw=fundus)
    picture = np.asarray(Image.open(tmp_path / "images" / "phantom_000.png"))
    assert picture.shape == (48, 48, 3) and picture[..., 0].mean() > picture[..., 2].mean()
    assert set(np.unique(Image.open(tmp_path / "truth" / "phantom_000.png"))) == {0, 1, 2}


def test_a_vessel_thinner_than_a_pixel_is_faint_and_not_dotted():
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    points = np.stack([np.linspace(-1, 1, 200), np.linspace(-0.3, 0.3, 200)], axis=1)
    thin, wide = (tubes((y, x), points, np.full(200, width)).max(axis=1) for width in (0.002, 0.05))
    assert thin.min() > 0 and thin.max() < 0.3 and thin.max() < 3 * thin.min()
    assert wide.min() > 0.8
