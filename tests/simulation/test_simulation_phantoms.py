import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from umanet.simulation.phantoms import chest_xray, ellipsoids, write_phantoms

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
